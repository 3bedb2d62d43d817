"""Pairs, files of them in several formats, and versions built of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simpo.build.recipe import load_build
from simpo.build.run import build
from simpo.data.version import Version

WORDS = (
    "parcel",
    "invoice",
    "refund",
    "address",
    "coupon",
    "carrier",
    "account",
    "delivery",
    "receipt",
    "voucher",
)


def pair(
    number: int, *, category: str | None = None, longer: bool = True, prompt: str | None = None
) -> dict[str, Any]:
    """A row whose prompt is near to no other one's."""
    digits = [(number // 10**place) % 10 for place in range(4)]
    said = " ".join(f"{WORDS[digit]}{place}{digit}" * 3 for place, digit in enumerate(digits))
    short, long = f"{number} no", f"{number} yes, it is on its way" + " and on its way" * (number % 7)
    row = {
        "prompt": prompt or f"{number} {said} {number * 7919 % 10007}",
        "chosen": long if longer else short,
        "rejected": short if longer else long,
        "ticket": number,
    }
    return row if category is None else {**row, "category": category}


def pairs(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows of two categories, of which three quarters prefer the longer reply."""
    names = ("billing", "shipping", "returns")
    return [
        pair(number, category=names[number % 3], longer=number % 4 != 0)
        for number in range(start, start + count)
    ]


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """A file in the format that its name says; a text among the rows of JSON Lines stands as it is."""
    listed = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(listed), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(listed[0]))
            writer.writeheader()
            writer.writerows(listed)
    else:
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in listed))
    return path


def built(out: Path, files: Sequence[Path] | Path, **given: Any) -> Version:
    """A version of these files; options by dotted key, dots as two underscores."""
    listed = [files] if isinstance(files, Path) else list(files)
    options = {key.replace("__", "."): value for key, value in given.items()}
    recipe = load_build(
        None, {"output": str(out), "data.files": [str(file) for file in listed], **options}
    ).recipe
    return build(recipe)


def splits_of(version: Version, key: str = "id") -> dict[str, str]:
    """The value of a column -> the split it stands in, of every row."""
    found: dict[str, str] = {}
    for split in version.manifest.splits:
        for row in rows_of(version, split):
            found[row[key] if isinstance(row[key], str) else json.dumps(row[key])] = split
    return found


def file_of(version: Version, split: Any) -> Path:
    """The file that holds a split of a version, which must have one."""
    path = version.file(split)
    assert path is not None, f"{version.path} has no rows of {split}"
    return path


def rows_of(version: Version, split: Any) -> list[dict[str, Any]]:
    """The rows of a split as they stand in its file."""
    path = version.file(split)
    if path is None:
        return []
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def listed_repairs(version: Version) -> list[dict[str, Any]]:
    """The lines of repairs.jsonl."""
    return [json.loads(line) for line in (version.path / "repairs.jsonl").read_text().splitlines()]
