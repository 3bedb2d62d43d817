"""Files that nobody meant to write: a clear error or a clean read, and no row that nobody counts."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simpo.data import unpack
from simpo.data.read import RowStream, iter_rows, read_rows
from simpo.errors import DataError
from simpo.records import Dropped
from tests.data.written import GOOD, LINE, error_of, put, texts

BOTH = [tuple(GOOD.values())] * 2


def used_up(stream: RowStream) -> dict[str, int]:
    """Rows left out by reason, all rows being accounted for."""
    counts: dict[str, int] = {}
    for outcome in stream:
        if isinstance(outcome, Dropped):
            counts[outcome.reason] = counts.get(outcome.reason, 0) + 1
    assert stream.num_rows == stream.num_used + stream.num_dropped
    return counts


# Sizes


def test_a_line_of_megabytes_is_a_row_like_any_other(tmp_path: Path) -> None:
    long = json.dumps({**GOOD, "chosen": "x" * (2 << 20)})
    rows = read_rows(put(tmp_path, f"{LINE}\n{long}\n{LINE}\n")).rows
    assert [len(row.completions[0]) for row in rows] == [11, 2 << 20, 11]
    rows = read_rows(put(tmp_path, f"{long}\n{LINE}\n")).rows
    assert [(row.source.line, len(row.completions[0])) for row in rows] == [(1, 2 << 20), (2, 11)]
    (row,) = read_rows(put(tmp_path, f"[{long}]")).rows
    assert len(row.completions[0]) == 2 << 20


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", LINE + "x" * 200), ("a.csv", f"prompt,chosen,rejected\n{'x' * 200}")],
)
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simpo.data.files.MAX_ROW_BYTES", 128)
    number = content.count("\n") + 1
    assert error_of(put(tmp_path, content, name)) == f"{name}:{number}: a line of more than 0 MiB"


def test_a_row_of_an_array_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simpo.data.arrays.MAX_ROW_BYTES", 1 << 20)
    path = put(tmp_path, f'[{LINE}, {{"prompt": "{"x" * (5 << 20)}')
    assert error_of(path) == "train.jsonl: a row of more than 1 MiB"


@pytest.mark.parametrize("depth", [99, 101, 990, 100_000])
@pytest.mark.parametrize("marks", ["[]", "{}"])
def test_brackets_of_any_depth_cost_one_row(depth: int, marks: str, tmp_path: Path) -> None:
    open_, close = ('{"a":', "}") if marks == "{}" else ("[", "]")
    nested = open_ * depth + "1" + close * depth
    path = put(tmp_path, f'{LINE}\n{LINE[:-1]}, "x": {nested}}}\n')
    dataset = read_rows(path, on_bad_row="drop")
    assert dataset.dropped_counts() == ({} if depth < 100 else {"bad_json": 1})
    # In an array nothing can be read after what is too deep even to be parsed.
    path = put(tmp_path, f'[{LINE},\n{LINE[:-1]}, "x": {nested}}}]', "a.json")
    if depth < 990:
        assert read_rows(path, on_bad_row="drop").dropped_counts() == dataset.dropped_counts()
    else:
        assert error_of(path) == "a.json:2: not a valid JSON array: nested too deeply"


# Numbers


@pytest.mark.parametrize(
    ("number", "detail"),
    [
        ("NaN", "NaN is not valid JSON; write null (in 'score')"),
        ("Infinity", "Infinity is not valid JSON; write null (in 'score')"),
        ("1e999", "the number '1e999' is too large (in 'score')"),
        ("-1" + "0" * 400 + ".5", "the number '-100000000000000... is too large (in 'score')"),
        ("9" * 5000, "a number of 5000 digits (in 'score')"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "[{}]"])
def test_numbers_that_are_none_cost_their_row(number: str, detail: str, form: str, tmp_path: Path) -> None:
    row = f'{LINE[:-1]}, "score": {number}}}'
    content = f"{LINE}\n{row}" if form == "{}" else f"[{LINE}, {row}]"
    dataset = read_rows(put(tmp_path, content), on_bad_row="drop")
    (bad,) = dataset.dropped
    assert (bad.reason, bad.detail) == ("bad_json", detail)


def test_integers_of_any_length_that_python_reads_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    number = int("1234567890" * 40)
    (row,) = read_rows(put(tmp_path, json.dumps({**GOOD, "id": number}))).rows
    assert row.extra["id"] == number


# Names that do not say what is inside


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.parquet", "a.arrow", "a.feather", "a.bin", "a.txt", "a"]
)
@pytest.mark.parametrize("content", [f"{LINE}\n{LINE}\n", f"[{LINE},\n{LINE}]"])
def test_json_is_read_whatever_the_file_is_called(name: str, content: str, tmp_path: Path) -> None:
    assert texts(read_rows(put(tmp_path, content, name))) == BOTH


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.arrow", "a.txt"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_tables_are_read_whatever_the_file_is_called(kind: str, name: str, tmp_path: Path) -> None:
    assert texts(read_rows(put(tmp_path, table(kind), name))) == BOTH
    assert texts(read_rows(put(tmp_path, gzip.compress(table(kind), mtime=0), name))) == BOTH


def table(kind: str) -> bytes:
    rows = pa.Table.from_pylist([GOOD] * 2)
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(rows, sink)
    else:
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with make(sink, rows.schema) as writer:
            writer.write_table(rows)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("kind", ["parquet", "arrow", "gzip", "zstd", "array"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_an_error_or_all_that_is_left_of_it(
    kind: str, share: float, tmp_path: Path
) -> None:
    lines = "".join(
        f"{json.dumps({**GOOD, 'chosen': f'{index} {os.urandom(20).hex()}'})}\n" for index in range(200)
    )
    whole = {
        "parquet": lambda: table("parquet"),
        "arrow": lambda: table("arrow"),
        "gzip": lambda: gzip.compress(lines.encode(), mtime=0),
        "zstd": lambda: bytes(pa.compress(lines.encode(), codec="zstd", asbytes=True)),
        "array": lambda: f"[{lines.strip().replace(chr(10), ',')}]".encode(),
    }[kind]()
    message = error_of(put(tmp_path, whole[: int(len(whole) * share)], "a"), on_bad_row="drop")
    assert message.startswith("a: ") or message.startswith("a:1: not a valid JSON array")


@pytest.mark.parametrize("kind", ["arrow", "stream"])
@pytest.mark.parametrize("byte", [0x00, 0x7F, 0xFF])
def test_no_byte_of_an_arrow_file_leads_out_of_it(kind: str, byte: int, tmp_path: Path) -> None:
    # Arrow itself believes any offset: a wrong one made Python's text of a negative length.
    whole = bytearray(table(kind))
    for place in range(8, len(whole), 5):
        spoilt = bytes([*whole[:place], byte, *whole[place + 1 :]])
        try:
            dataset = read_rows(put(tmp_path, spoilt, "a.arrow"), on_bad_row="drop", format="trl_standard")
        except DataError as error:
            assert str(error).startswith(f"{tmp_path}/a.arrow")
        else:
            assert len(dataset.rows) + len(dataset.dropped) <= 2


def test_a_column_of_a_type_that_python_lacks_is_refused(tmp_path: Path) -> None:
    rows = pa.table({**{key: [value] for key, value in GOOD.items()}, "when": pa.array([3], pa.time32("s"))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    whole, time, interval = bytes(sink.getvalue()), 9, 11  # the numbers of two types in Arrow's schemas
    refused = []
    for place in (index for index, byte in enumerate(whole) if byte == time):
        try:
            read_rows(put(tmp_path, bytes([*whole[:place], interval, *whole[place + 1 :]]), "a.arrow"))
        except DataError as error:
            refused.append(str(error))
    assert any("Python has no values of one of its types: string, month_interval" in said for said in refused)


# What is no file


def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    for content in (
        f"{LINE}\n{LINE}\n".encode(),
        gzip.compress(f"{LINE}\n{LINE}".encode(), mtime=0),
        table("parquet"),
    ):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)

        def write(content: bytes = content, pipe: Path = pipe) -> None:
            with pipe.open("wb", buffering=0) as file:
                for index in range(len(content)):  # the first bytes come one by one
                    file.write(content[index : index + 1])

        writer = threading.Thread(target=write)
        writer.start()
        dataset = read_rows(pipe)
        writer.join()
        assert texts(dataset) == BOTH
        pipe.unlink()


def test_a_pipe_that_nobody_writes_into_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_WAIT_S", 0.0)
    os.mkfifo(tmp_path / "pipe")
    assert error_of(tmp_path / "pipe") == (
        "pipe: a pipe into which nobody writes (0 s waited)\n  fix: start what writes into it first, or give a file"
    )


def test_a_pipe_whose_writer_left_without_a_word_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").open("wb").close())
    writer.start()
    assert error_of(tmp_path / "pipe") == "pipe: the file is empty"
    writer.join()


@pytest.mark.parametrize(("path", "said"), [("/dev/null", "a device, not a file"), ("/dev/zero", "a device")])
def test_a_device_is_no_file(path: str, said: str) -> None:
    assert f"{said}" in error_of(path)


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
        assert error_of("s") == "s: a socket, not a file"


def test_a_file_that_grows_meanwhile_is_read_as_it_was(tmp_path: Path) -> None:
    path = put(tmp_path, f"{LINE}\n" * 30)
    stream = iter_rows(path)
    next(stream)
    with path.open("a") as file:
        file.write(f"{LINE}\n" * 30)
    assert used_up(stream) == {}
    assert stream.num_rows == 30


def test_a_file_that_shrinks_meanwhile_gives_what_is_left(tmp_path: Path) -> None:
    path = put(tmp_path, f"{LINE}\n" * 40_000)
    stream = iter_rows(path)
    next(stream)
    os.truncate(path, 200)
    assert used_up(stream) == {"bad_json": 1}
    assert 1000 < stream.num_rows < 40_000


def test_what_the_system_makes_up_as_it_is_read_is_read_to_its_end() -> None:
    # Its size is said to be 0.
    assert "neither JSON" in error_of("/proc/self/status")


# No row that nobody counts

ODD = [
    LINE,
    "",
    "{",
    "[1]",
    '"x"',
    "null",
    json.dumps({**GOOD, "chosen": ""}),
    json.dumps({**GOOD, "rejected": GOOD["chosen"]}),
    json.dumps({"prompt": 3}),
    "\x00",
    "\ufeff" + LINE,
    LINE[:-1] + ', "x": NaN}',
    LINE.replace("way", "\\ud800"),
]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("first", range(len(ODD)))
def test_rows_read_are_rows_used_and_rows_left_out(first: int, ends: str, tmp_path: Path) -> None:
    lines = [*ODD[first:], *ODD[:first]]
    stream = iter_rows(put(tmp_path, ends.join(lines)), format="trl_standard")
    counts = used_up(stream)
    assert stream.num_rows == len(ODD) - 1 and stream.num_used == 2
    assert counts == {
        "bad_json": 3, "not_an_object": 3, "empty_chosen": 1, "identical": 1, "wrong_type": 1, "bad_encoding": 1,
    }  # fmt: skip


def long_form(index: int) -> list[dict[str, Any]]:
    row = {"prompt": f"p{index}", "response_first": "a", "response_second": "b", "item_id": index}
    return [{**row, "annotator_id": who, "label": said} for who, said in (("x", "first"), ("y", "second"))]


@pytest.mark.parametrize("pairing", ["best_worst", "all", "adjacent"])
def test_rows_of_items_and_of_many_answers_are_all_counted(pairing: Any, tmp_path: Path) -> None:
    rated = [{"prompt": "p", "completion": text, "label": text < "c"} for text in "aabbccd"]
    both = [
        {"prompt": "p", "completion": "a", "label": False},
        {"prompt": "q", "completion": "a", "label": True},
    ]
    ranked = {
        "context": "p",
        "completions": [{"rank": rank, "completion": str(rank % 3)} for rank in range(5)],
    }
    for rows in (
        [one for index in range(3) for one in long_form(index)],
        [*rated, *both],
        [ranked, {**ranked, "completions": ranked["completions"][:1]}],
    ):
        stream = iter_rows(put(tmp_path, "\n".join(map(json.dumps, rows))), pairing=pairing)
        used_up(stream)
        assert stream.num_rows == len(rows)
