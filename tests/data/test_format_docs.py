"""docs/formats.md says what the code says: every format has a row, and every example there reads as it promises."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from simpo.data.formats import FORMATS, format_named
from simpo.data.opening import explain_format
from simpo.data.read import read_rows
from simpo.data.reasons import NO_PAIR
from simpo.data.shapes import Format, Kind
from tests.data.written import put

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
TABLE = {
    cells[0].split("`")[1]: cells
    for line in PAGE.splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 4
}
ENTRIES: list[tuple[Kind, Format]] = [(kind, entry) for kind, entries in FORMATS.items() for entry in entries]
by_name = pytest.mark.parametrize(("kind", "entry"), ENTRIES, ids=[entry.name for _, entry in ENTRIES])


def example_of(entry: Format) -> list[dict[str, Any]]:
    return [json.loads(row) for row in re.findall("`(.*?)`", TABLE[entry.name][2])]


def test_every_format_has_a_row_and_no_row_is_of_another() -> None:
    assert list(TABLE) == [entry.name for _, entry in ENTRIES]


@by_name
def test_a_row_says_what_a_format_is_recognised_by_and_its_other_names(kind: Kind, entry: Format) -> None:
    name, looks, _, becomes = TABLE[entry.name]
    assert re.findall("`(.*?)`", name) == [entry.name, *entry.also]
    assert looks == entry.looks and becomes
    assert all(format_named(alias, kind) is entry for alias in entry.also)


def write(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".jsonl":
        put(folder, "\n".join(map(json.dumps, rows)), path.name)
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".feather":
        feather.write_feather(pa.Table.from_pylist(rows), path)
    elif suffix == ".arrow":
        with pa.ipc.new_stream(path, pa.Table.from_pylist(rows).schema) as sink:
            sink.write_table(pa.Table.from_pylist(rows))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    return path


@by_name
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".feather", ".arrow", ".csv"])
def test_the_example_of_every_format_is_recognised_and_reads_as_its_one_record(
    kind: Kind, entry: Format, suffix: str, tmp_path: Path
) -> None:
    rows = example_of(entry)
    if suffix == ".csv" and any(isinstance(value, (list, dict)) for row in rows for value in row.values()):
        pytest.skip("CSV holds no lists")
    path = write(tmp_path, suffix, rows)
    for told in (None, entry.name):
        dataset = read_rows(path, kind=kind, format=told)
        assert (dataset.format, dataset.dropped) == (entry.name, ())
        (row,) = dataset.rows
        assert row.prompt[-1].content == "Where is my parcel?" and row.prompt[-1].role == "user"
        # Where the prompt is what two texts share, the blank between prompt and reply belongs to the reply.
        completions = tuple(text.strip() for text in row.completions)
        assert completions == ("On its way.", "No idea.")[: 2 if kind == "pairs" else 1]
    assert explain_format(path, kind=kind).startswith(f"{path}: {entry.name} ({entry.looks}): ")


@by_name
def test_columns_of_other_names_are_read_by_their_map(kind: Kind, entry: Format, tmp_path: Path) -> None:
    rows = example_of(entry)
    columns = {name: f"my {name}" for name in rows[0]}
    path = write(tmp_path, ".jsonl", [{columns[name]: value for name, value in row.items()} for row in rows])
    (row,) = read_rows(path, kind=kind, columns=columns).rows
    (same,) = read_rows(write(tmp_path, ".jsonl", rows), kind=kind).rows
    assert row == same and row.extra == same.extra


@by_name
def test_a_format_with_annotators_keeps_what_each_said(kind: Kind, entry: Format, tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, ".jsonl", example_of(entry)), kind=kind).rows
    votes = {
        "label_studio": [("7", "rejected", "second")],
        "argilla": [("ann", "rejected", "second")],
        "argilla_columns": [("ann", "rejected", "second")],
        "pandalm": [
            ("annotator1", "rejected", "second"),
            ("annotator2", "rejected", "second"),
            ("annotator3", "rejected", "tie"),
        ],
        "alpaca_eval": [("judge", "rejected", "second")],
        "judgments": [("a", "chosen", "first")],
        "annotator_labels": [("ann", "chosen", "first"), ("bob", "chosen", "first")],
    }
    notes = row.extra.get("annotations", [])
    assert [(note["annotator"], note["first"], note["choice"]) for note in notes] == votes.get(entry.name, [])
    unknown = entry.name in ("alpaca_eval", "judgments")
    assert all(note.get("order") == ("unknown" if unknown else None) for note in notes)


def test_the_reasons_for_making_no_pair_are_on_the_page() -> None:
    assert all(f"`{reason}`" in PAGE for reason in NO_PAIR)
