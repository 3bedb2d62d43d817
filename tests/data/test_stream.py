"""The stream of rows: each row comes once, read or left out, and the stream says what it has seen."""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simpo.data.read import iter_rows, read_rows
from simpo.errors import DataError
from simpo.records import Dropped, Pair
from tests.data.written import GOOD, LINE, put


def pandalm(*votes: int) -> dict[str, Any]:
    answers = {"response1": "On its way.", "response2": "No idea."}
    annotators = {f"annotator{index}": vote for index, vote in enumerate(votes, 1)}
    return {"instruction": "Where is my parcel?", "input": "", **answers, **annotators}


def label(item: str, annotator: str, choice: str) -> dict[str, Any]:
    answers = {"response_first": "On its way.", "response_second": "No idea."}
    return {"item_id": item, "prompt": "Where?", **answers, "annotator_id": annotator, "label": choice}


def lines(folder: Path, rows: list[Any], name: str = "train.jsonl") -> Path:
    return put(folder, "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), name)


def test_rows_come_in_their_order_with_those_that_are_left_out_in_their_places(tmp_path: Path) -> None:
    path = lines(tmp_path, [GOOD, "{", {**GOOD, "chosen": ""}, GOOD])
    stream = iter_rows(path)
    outcomes = list(stream)
    assert [one.source.line for one in outcomes] == [1, 2, 3, 4]
    reasons = [one.reason if isinstance(one, Dropped) else None for one in outcomes]
    assert reasons == [None, "bad_json", "empty_chosen", None]
    assert (stream.num_rows, stream.num_used, stream.num_dropped, stream.num_records) == (4, 2, 2, 2)


def test_a_stream_names_the_format_of_each_file_and_says_why(tmp_path: Path) -> None:
    hh = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: What"}
    one, two = put(tmp_path, LINE, "one.jsonl"), lines(tmp_path, [hh], "two.jsonl")
    stream = iter_rows([one, two])
    assert len(list(stream)) == 2
    assert (stream.name, stream.files) == (f"{one}, {two}", (one, two))
    assert stream.formats == ["trl_standard", "hh"]
    assert [told.split(": ")[:2] for told in stream.explanations] == [
        [str(one), "trl_standard (prompt, chosen, rejected (text))"],
        [str(two), 'hh (chosen, rejected (whole dialogues "\\n\\nHuman'],
    ]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f"{LINE}\n\n{LINE}\n".encode()),
        ("a.json", f"[{LINE},\n{LINE}]".encode()),
        ("a.jsonl.gz", gzip.compress(f"{LINE}\n{LINE}".encode(), mtime=0)),
        ("a.jsonl.zst", bytes(pa.compress(f"{LINE}\n{LINE}".encode(), codec="zstd", asbytes=True))),
        ("a.csv", b"prompt,chosen,rejected\na,b,c\nd,e,f\n"),
        ("a.parquet", parquet([GOOD] * 2)),
        ("a.parquet.gz", gzip.compress(parquet([GOOD] * 2), mtime=0)),
    ],
)
def test_the_hash_of_a_file_is_that_of_its_bytes(name: str, content: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, content, name)
    stream = iter_rows(path)
    assert stream.hashes == {}
    assert len(list(stream)) == 2
    assert stream.hashes == {path: hashlib.sha256(content).hexdigest()}


def test_a_file_that_was_not_read_to_its_end_has_no_hash(tmp_path: Path) -> None:
    stream = iter_rows(lines(tmp_path, [GOOD] * 3), limit=2)
    assert len(list(stream)) == 2
    assert (stream.hashes, stream.num_records) == ({}, 2)


def test_a_tie_says_what_its_annotators_chose(tmp_path: Path) -> None:
    pair, tie = iter_rows(lines(tmp_path, [pandalm(1, 1, 2), pandalm(1, 2, 0)]))
    assert isinstance(pair, Pair) and isinstance(tie, Dropped)
    assert [note["choice"] for note in pair.extra["annotations"]] == ["first", "first", "second"]
    assert (tie.reason, tie.extra) == (
        "tie",
        {
            "annotations": [
                {"annotator": "annotator1", "choice": "first"},
                {"annotator": "annotator2", "choice": "second"},
                {"annotator": "annotator3", "choice": "tie"},
            ]
        },
    )


def test_the_votes_on_a_tie_in_several_rows_are_told_once(tmp_path: Path) -> None:
    rows = [label("a", "ann", "first"), label("b", "ann", "tie"), label("a", "bob", "second")]
    stream = iter_rows(lines(tmp_path, rows))
    outcomes = list(stream)
    votes = [one.extra.get("annotations") for one in outcomes]
    assert votes == [
        [{"annotator": "ann", "choice": "first"}, {"annotator": "bob", "choice": "second"}],
        None,
        [{"annotator": "ann", "choice": "tie"}],
    ]
    assert [one.source.line for one in outcomes] == [1, 3, 2]
    assert (stream.num_rows, stream.num_used, stream.num_dropped) == (3, 0, 3)


def test_rows_of_an_item_whose_replies_are_in_no_pair_are_left_out_in_their_places(tmp_path: Path) -> None:
    ratings = [("a", True), ("b", False), ("c", True), ("c", False), ("a", True), (" ", False)]
    rows = [{"prompt": "p", "completion": text, "label": label} for text, label in ratings]
    stream = iter_rows(lines(tmp_path, rows))
    outcomes = list(stream)
    dropped = {one.source.line: (one.reason, one.part) for one in outcomes if isinstance(one, Dropped)}
    assert dropped == {
        3: ("rated_both_ways", False), 4: ("rated_both_ways", False), 6: ("empty_answer", False)
    }  # fmt: skip
    assert (stream.num_rows, stream.num_used, stream.num_dropped, stream.num_records) == (6, 3, 3, 1)


@pytest.mark.parametrize(("pairing", "left_out"), [("best_worst", [2]), ("adjacent", []), ("all", [])])
def test_a_reply_that_the_pairing_passes_over_is_counted(
    pairing: Any, left_out: list[int], tmp_path: Path
) -> None:
    rows = [{"prompt": "p", "response": f"{score}", "helpfulness": score} for score in (4, 2, 0)]
    stream = iter_rows(lines(tmp_path, rows), pairing=pairing)
    dropped = [(one.source.line, one.reason) for one in stream if isinstance(one, Dropped)]
    assert dropped == [(line, "passed_over") for line in left_out]
    assert (stream.num_used, stream.num_dropped) == (3 - len(left_out), len(left_out))


def test_all_rows_with_opinions_on_an_item_count_as_used(tmp_path: Path) -> None:
    rows = [label("a", "ann", "first"), label("a", "bob", "first"), label("b", "bob", "tie")]
    stream = iter_rows(lines(tmp_path, rows))
    list(stream)
    assert (stream.num_rows, stream.num_used, stream.num_dropped, stream.num_records) == (3, 2, 1, 1)


def test_a_part_of_a_row_that_was_left_out_is_told_from_a_whole_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": [*turns, turns[0], {"role": "assistant", "content": ""}]}, {"messages": turns[:1]}]
    stream = iter_rows(lines(tmp_path, rows), kind="examples")
    dropped = [one for one in stream if isinstance(one, Dropped)]
    assert [(one.reason, one.part) for one in dropped] == [("empty_completion", True), ("no_reply", False)]
    assert (stream.num_rows, stream.num_used, stream.num_dropped) == (2, 1, 1)


def test_a_stream_does_not_read_ahead_of_what_is_asked_for(tmp_path: Path) -> None:
    path = lines(tmp_path, [GOOD] * 100)
    stream = iter_rows(path)
    for _ in range(50):
        next(stream)
    assert stream.num_rows == 50


def test_a_file_that_breaks_on_the_way_gives_what_stood_before_it(tmp_path: Path) -> None:
    path = put(tmp_path, "[" + ",\n".join([LINE] * 30) + "\n")
    stream = iter_rows(path)
    seen: list[Any] = []
    with pytest.raises(DataError, match=r"train.jsonl:31: not a valid JSON array: Expecting ','"):
        seen.extend(stream)
    assert len(seen) == stream.num_rows == stream.num_records == 30


def test_a_data_set_holds_what_the_stream_gives(tmp_path: Path) -> None:
    path = lines(tmp_path, [pandalm(1, 1), pandalm(0, 0), "no", pandalm(2, 2)])
    dataset, outcomes = read_rows(path, on_bad_row="drop"), list(iter_rows(path))
    assert list(dataset.rows) == [one for one in outcomes if isinstance(one, Pair)]
    assert list(dataset.dropped) == [one for one in outcomes if isinstance(one, Dropped)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.json.gz"])
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    rows = [{**GOOD, "chosen": f"{index} {'x' * 4000}"} for index in range(5_000)]
    if name == "a.csv":
        text = "prompt,chosen,rejected\n" + "".join(f"{','.join(row.values())}\n" for row in rows)
    else:
        text = json.dumps(rows) if ".json." in f"{name}." else "\n".join(map(json.dumps, rows))
    path = put(tmp_path, gzip.compress(text.encode(), 1, mtime=0) if name.endswith(".gz") else text, name)
    del rows, text
    tracemalloc.start()
    try:
        count = sum(isinstance(row, Pair) for row in iter_rows(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (count, peak < 8 << 20) == (5_000, True)  # of 20 MB of text
