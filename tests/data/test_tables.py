"""Tables and packed files: every row is read in its place, whatever stands in its cells."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.data.opening import explain_format
from simpo.data.read import read_rows
from simpo.data.tables import csv_rows
from simpo.errors import DataError
from tests.data.written import GOOD, LINE, error_of, put, texts

HEADER = "prompt,chosen,rejected\n"


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("packed.jsonl.zst", zstd(f"{LINE}\n{LINE}\n".encode())),
        ("two_parts.jsonl.zst", zstd(f"{LINE}\n".encode()) + zstd(LINE.encode())),
        ("packed_unsaid.jsonl", zstd(f"{LINE}\n{LINE}\n".encode())),
        ("table.csv.zst", zstd((HEADER + f"{','.join(GOOD.values())}\n" * 2).encode())),
        ("table.csv", HEADER + f"{','.join(GOOD.values())}\r\n" * 2),
        ("blank_lines.csv", "\n" + HEADER + f"\n{','.join(GOOD.values())}\n\n\n" * 2),
        ("bom.csv", "\ufeff" + HEADER + f"{','.join(GOOD.values())}\n" * 2),
        ("quoted.csv", '"prompt",chosen ,rejected\n' + '"Where is my parcel?",On its way.,"No idea."\n' * 2),
        ("semicolons.csv", HEADER.replace(",", ";") + f"{';'.join(GOOD.values())}\n" * 2),
        ("tabs.csv", HEADER.replace(",", "\t") + "\t".join(GOOD.values()) + "\n" + "\t".join(GOOD.values())),
        ("tabs.tsv", HEADER.replace(",", "\t") + ("\t".join(GOOD.values()) + "\n") * 2),
    ],
)
def test_two_rows_are_read_whatever_packs_or_parts_them(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    dataset = read_rows(put(tmp_path, content, name))
    assert texts(dataset) == [tuple(GOOD.values())] * 2
    assert dataset.dropped == ()


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), quoting=st.sampled_from([0, 1]))
def test_any_cells_written_by_rfc_4180_read_back_with_the_lines_they_begin_on(
    rows: list[tuple[str, str, str]], quoting: int
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=quoting)  # type: ignore[arg-type]
    places = []
    for row in [("prompt", "chosen", "rejected"), *rows]:
        places.append(file.getvalue().count("\n") + 1)
        writer.writerow(row)
    lines = enumerate(re.split(rb"(?<=\n)", file.getvalue().encode()), 1)
    assert list(csv_rows(lines, "a.csv", ",")) == [
        (place, dict(zip(("prompt", "chosen", "rejected"), row, strict=True)))
        for place, row in zip(places[1:], rows, strict=True)
    ]


def test_a_cell_may_hold_lines_quotes_and_a_megabyte(tmp_path: Path) -> None:
    long = "x" * 2**20
    path = put(tmp_path, f'{HEADER}"a\n""b"", c",{long},"\r\n d"\ne,f,g\n', "a.csv")
    first, second = read_rows(path).rows
    assert first.prompt[0].content == 'a\n"b", c' and first.completions == (long, "\r\n d")
    assert [str(row.source).rpartition(":")[2] for row in (first, second)] == ["2", "5"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b", "2 fields where the header has 3; the first is 'a'"),
        ("a,b,c,d", "4 fields where the header has 3; the first is 'a'"),
        ('"a"b,c,d', "not valid CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_line_of_csv_is_named_and_costs_no_other(line: str, said: str, tmp_path: Path) -> None:
    path = put(tmp_path, f"{HEADER}{line}\ne,f,g\n", "a.csv")
    assert error_of(path).startswith(f"a.csv:2: {said}\n")
    dataset = read_rows(path, on_bad_row="drop")
    assert (texts(dataset), dataset.dropped_counts()) == ([("e", "f", "g")], {"bad_csv": 1})


def test_messages_written_into_cells_are_refused_and_not_taken_for_text(tmp_path: Path) -> None:
    cells = ["[{'content': 'Hi', 'role': 'user'}]", "[{'role': 'assistant', 'content': 'a'}]", "b"]
    file = io.StringIO()
    csv.writer(file).writerow(cells)
    message = error_of(put(tmp_path, HEADER + file.getvalue(), "a.csv"))
    assert message.startswith(
        "a.csv:2: the cell of 'prompt' holds a list of messages as text: write JSON Lines"
    )


def test_a_pattern_is_all_files_that_it_matches_by_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        put(tmp_path, json.dumps({**GOOD, "prompt": name}), name)
    (tmp_path / "d.jsonl").mkdir()
    dataset = read_rows(str(tmp_path / "*.jsonl"))
    assert [row.prompt[0].content for row in dataset.rows] == ["a.jsonl", "b.jsonl"]
    assert dataset.files == (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with pytest.raises(DataError, match="the file is given twice"):
        read_rows([str(tmp_path / "[ab].jsonl"), tmp_path / "a.jsonl"])
    assert error_of(tmp_path / "*.parquet") == "*.parquet: no file matches this pattern"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    put(tmp_path, LINE, "a[1].jsonl")
    put(tmp_path, LINE, "a1.jsonl")
    assert read_rows(tmp_path / "a[1].jsonl").files == (tmp_path / "a[1].jsonl",)


def test_why_a_format_was_taken_is_said_for_each_file(tmp_path: Path) -> None:
    two = json.dumps({"question": "a", "chosen": "b", "rejected": "c"})
    one = put(tmp_path, f"{LINE}\n{LINE}\n{two}\n", "one.jsonl")
    assert explain_format(one) == (
        f"{one}: trl_standard (prompt, chosen, rejected (text)): 2 of the first 3 rows have these columns, the "
        "narrowest that they fit; of the others 1 look like axolotl_intel"
    )
    assert explain_format([one], format="hh").endswith("0 of the first 3 rows have these columns, as told")
    assert explain_format(put(tmp_path, "oops", "two.jsonl")).endswith(
        "none of the first rows is a JSON object"
    )
