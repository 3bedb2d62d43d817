"""The beginning of a source: its first rows, the format they are of and why, or why they are of none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from simpo.data.files import read_file
from simpo.data.formats import format_named, nearest, recognise, votes
from simpo.data.formats_judged import UNPAIRED
from simpo.data.locate import hub_rows, locate
from simpo.data.reasons import BadRow, shown
from simpo.data.shapes import Format, Kind
from simpo.data.tables import NumberedRow
from simpo.data.unpack import Digest
from simpo.errors import DataError

_ROWS_TO_RECOGNISE = 20
_ROWS_HELD = 10_000  # until then, and where none of them is an object this is no file of rows


@dataclass(frozen=True, slots=True)
class Opened:
    """A source about to be read: its rows from the first on, and their format.

    entry: None where all the first rows are bad. told: whether the user named the format. first: the first rows that
    are objects.
    """

    name: str
    entry: Format | None
    told: bool
    first: tuple[Mapping[str, Any], ...]
    rows: Iterator[NumberedRow]

    def reason(self, kind: Kind) -> str:
        """Which format was taken and why, in a sentence."""
        if self.entry is None:
            return f"{self.name}: none of the first rows is a JSON object"
        fitting = sum(self.entry.matches(row) for row in self.first)
        taken = votes(self.first, kind)
        others = [f"{count} look like {name}" for name, count in taken.items() if name != self.entry.name]
        why = "as told" if self.told else "the narrowest that they fit"
        also = f"; of the others {', '.join(others)}" if others and not self.told else ""
        return (
            f"{self.name}: {self.entry.name} ({self.entry.looks}): {fitting} of the first {len(self.first)} rows "
            f"have these columns, {why}{also}"
        )


def open_source(
    source: Path | str,
    *,
    kind: Kind,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    digest: Digest | None = None,
) -> Opened:
    """The format of a source by its first rows, or the one that the user named.

    columns: the format's names of columns -> the user's. digest: takes in the file's bytes as they are read.
    Raises `DataError` where no format fits or a column is missing, `RecipeError` for a format there is not.
    """
    told = None if format is None else format_named(format, kind)
    rows = read_file(source, digest) if isinstance(source, Path) else hub_rows(source)
    if columns:
        rows = ((number, _renamed(row, columns)) for number, row in rows)
    first: list[NumberedRow] = []
    objects: list[dict[str, Any]] = []
    for numbered in rows:
        first.append(numbered)
        if not isinstance(numbered[1], BadRow):
            objects.append(numbered[1])
        if len(objects) == _ROWS_TO_RECOGNISE or (objects and len(first) >= _ROWS_HELD):
            break
        if len(first) == _ROWS_HELD:
            raise _no_rows_at_all(first, str(source))
    if columns and objects:
        _check_columns(objects, columns, str(source))
    entry = told or recognise(objects, kind)
    if entry is None and objects:
        raise _unrecognised(objects, kind, str(source))
    return Opened(str(source), entry, told is not None, tuple(objects), chain(first, rows))


def explain_format(
    spec: str | Path | Sequence[str | Path],
    *,
    kind: Kind = "pairs",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> str:
    """Which format each file is read as and why: a line for each. Reads the first rows only; raises as reading does."""
    specs = [spec] if isinstance(spec, (str, Path)) else spec
    sources = locate([str(one) for one in specs])
    return "\n".join(
        open_source(one, kind=kind, format=format, columns=columns).reason(kind) for one in sources
    )


def _no_rows_at_all(first: Sequence[NumberedRow], name: str) -> DataError:
    number, bad = first[0]
    detail = bad.detail if isinstance(bad, BadRow) else ""
    return DataError(
        f"none of the first {len(first):,} rows is a JSON object; the first: {detail}",
        where=f"{name}:{number}",
        fix="give JSON Lines, one object a line; a table of commas has the ending .csv",
    )


def _renamed(row: dict[str, Any] | BadRow, columns: Mapping[str, str]) -> dict[str, Any] | BadRow:
    """A row with the user's columns under the format's names, all at once, so that two can be swapped."""
    if isinstance(row, BadRow):
        return row
    ours = {theirs: name for name, theirs in columns.items() if theirs in row}
    for theirs, name in ours.items():
        if name in row and name not in ours:
            return BadRow(
                "duplicate_key",
                f'data.columns makes "{theirs}" the "{name}" of a row that has a "{name}" too',
            )
    return {ours.get(key, key): value for key, value in row.items()}


def _check_columns(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], name: str) -> None:
    """Raise for a column that the user named and that is nowhere, neither under their name nor under ours."""
    there = dict.fromkeys(key for row in rows for key in row)
    for ours, theirs in columns.items():
        if ours not in there:
            near = difflib.get_close_matches(theirs, there, n=1)
            raise DataError(
                f"data.columns names the column {theirs!r}, which is in none of the first {len(rows)} rows",
                where=name,
                fix=f"{f'did you mean {near[0]}? ' if near else ''}The columns are {_listed(list(there))}",
            )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(shown(key, 40) for key in columns[:20]) or "none"


def _unrecognised(rows: Sequence[Mapping[str, Any]], kind: Kind, name: str) -> DataError:
    other: Kind = "examples" if kind == "pairs" else "pairs"
    meant = recognise(rows, other)
    compared = any("chosen" in key or "reject" in key for row in rows for key in row)
    if meant is not None and other == "examples" and not compared:
        return DataError(
            f"these are SFT examples ({meant.name}), and the method needs pairs",
            where=name,
            fix="give prompt, chosen and rejected, or train on them as examples with method.name: sft",
        )
    if meant in UNPAIRED:
        return DataError(
            'each row rates one completion ("label"), which is no example to imitate where it is rated bad',
            where=name,
            fix="keep the completions that are rated good, without their label, or take a method that learns from "
            "pairs: a prompt's good and bad completions are paired",
        )
    if meant is not None and other == "pairs":
        return DataError(
            f"these are preference pairs ({meant.name}), and SFT needs examples",
            where=name,
            fix='give "messages", or "prompt" and "completion", or a method that learns from pairs',
        )
    columns = list(rows[0])
    looks = "".join(f"\n    {entry.name}: {entry.looks}" for entry in nearest(columns, kind))
    return DataError(
        f"no known format of {kind}; the columns are {_listed(columns)}",
        where=name,
        fix="rename the columns to those of a format that is read, or name them: --map prompt=your_column, in a "
        f"recipe data.columns; docs/formats.md has all formats, the nearest are{looks}",
    )
