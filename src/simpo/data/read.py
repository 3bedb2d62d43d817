"""Files or a hub id to a `Dataset`: which format, which rows are whole, and why each other row is not."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from simpo.data.files import SUFFIXES, NumberedRow, read_file
from simpo.data.formats import FORMATS, Format, Kind, Parts, recognise
from simpo.data.reasons import BadRow, shown
from simpo.errors import DataError
from simpo.records import Dataset, Dropped, Example, Pair, Row, Source

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[^:/]\S*)?")
_ROWS_TO_RECOGNISE = 20
_FIX_BAD_ROW = (
    "mend or remove the row, or set data.on_bad_row: drop, which leaves such rows out and counts them"
)


@dataclass(slots=True)
class _Found:
    """What has been read so far. A bad row stops `on_bad_row="error"`; a skipped turn of a good row does not."""

    rows: list[Row] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    bad: list[Dropped] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)

    def leave_out(self, source: Source, bad: BadRow, about: str = "") -> None:
        """Note a whole row that cannot be used."""
        self.bad.append(Dropped(source, bad.reason, bad.detail + about))
        self.dropped.append(self.bad[-1])


def read_rows(
    spec: str | Path | Sequence[str | Path],
    *,
    kind: Kind = "pairs",
    on_bad_row: Literal["error", "drop"] = "error",
    limit: int | None = None,
    sft_turns: Literal["all", "last"] = "all",
) -> Dataset:
    """Read preference pairs or SFT examples from a file, several files, or a hub id (`org/name`, `org/name:split`).

    Files are JSON Lines, a JSON array or Parquet, plain or gzip, each in one of the formats of
    `simpo.data.formats`, recognised by its first rows. `limit` keeps the first so many records and reads no further.
    With `kind="examples"` each assistant turn of a conversation is one record, or the last that has text
    (`sft_turns="last"`). Text is kept as it is.

    Rows that cannot be used are in `dropped` with `on_bad_row="drop"`; with "error" they raise, after all was read.
    A turn that cannot be used in a conversation whose other turns can is in `dropped` in both cases.

    Raises `DataError`, which names file, line, value and what to do: for a file that cannot be read or is of no known
    format, for bad rows, and where no row is left.
    """
    specs = [spec] if isinstance(spec, (str, Path)) else list(spec)
    name = ", ".join(map(str, specs))
    sources = [_locate(str(one)) for one in specs]
    _refuse_repeats(sources)
    found = _Found()
    for source in sources:
        rows = read_file(source) if isinstance(source, Path) else _hub_rows(source)
        _read_source(str(source), rows, found, kind=kind, limit=limit, last_turn=sft_turns == "last")
    if found.bad and on_bad_row == "error":
        raise _bad_rows(found.bad)
    if not found.rows:
        raise _no_rows(found.dropped, name)
    files = tuple(source for source in sources if isinstance(source, Path))
    formats = ", ".join(dict.fromkeys(found.formats))
    return Dataset(name, tuple(found.rows), tuple(found.dropped), formats, files)


def _locate(spec: str) -> Path | str:
    """A local path, or the hub id that the text is when no such path exists."""
    path = Path(os.path.expanduser(spec))
    try:
        if path.is_dir():
            inside = sorted(one.name for one in path.iterdir() if one.suffixes and _is_data(one.name))
            fix = f"name its files, for example {path / inside[0]}" if inside else "name a file"
            raise DataError("a folder, not a file", where=spec or "''", fix=fix)
        # os.stat and not Path.exists, which takes a folder that may not be entered for a missing file.
        path.stat()
        return path
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read: {reason}", where=shown(spec)) from error
    if _HUB_ID.fullmatch(spec) and not _is_data(spec):
        return spec
    siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    raise DataError(
        "no such file", where=spec, fix=f"did you mean {path.parent / near[0]}?" if near else None
    )


def _is_data(name: str) -> bool:
    return name.removesuffix(".gz").endswith((*SUFFIXES, ".csv", ".tsv", ".txt")) or name.endswith(".gz")


def _refuse_repeats(sources: Sequence[Path | str]) -> None:
    if not sources:
        raise DataError("no file is given")
    seen: set[str] = set()
    for source in sources:
        key = str(source.resolve()) if isinstance(source, Path) else source
        if key in seen:
            raise DataError("the file is given twice", where=str(source), fix="name each file once")
        seen.add(key)


def _hub_rows(spec: str) -> Iterator[NumberedRow]:
    import datasets
    from datasets.exceptions import DatasetsError

    name, _, split = spec.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"no such file here, and the hub did not give it: {reason}",
            where=spec,
            fix="check the name, the split (`org/name:split`) and the connection, or download it and give the files",
        ) from error
    yield from enumerate(rows, 1)


def _read_source(
    name: str, rows: Iterator[NumberedRow], found: _Found, *, kind: Kind, limit: int | None, last_turn: bool
) -> None:
    if limit is not None and len(found.rows) >= limit:
        return
    first: list[NumberedRow] = []
    objects: list[dict[str, Any]] = []
    for numbered in rows:
        first.append(numbered)
        if not isinstance(numbered[1], BadRow):
            objects.append(numbered[1])
        if len(objects) == _ROWS_TO_RECOGNISE:
            break
    entry = recognise(objects, kind)
    if entry is None:
        if objects:
            raise _unrecognised(objects, kind, name)
        for number, row in first:
            assert isinstance(row, BadRow)
            found.leave_out(Source(name, number), row)
        return
    found.formats.append(entry.name)
    for number, row in chain(first, rows):
        _read_row(entry, row, Source(name, number), found, kind=kind, last_turn=last_turn)
        if limit is not None and len(found.rows) >= limit:
            del found.rows[limit:]
            return


def _read_row(
    entry: Format, row: dict[str, Any] | BadRow, source: Source, found: _Found, *, kind: Kind, last_turn: bool
) -> None:
    if isinstance(row, BadRow):
        found.leave_out(source, row)
        return
    try:
        parts = list(entry.read(row))
    except BadRow as bad:
        found.leave_out(source, bad, _about(row))
        return
    if last_turn:
        parts = _from_last_usable(parts)
    if all(isinstance(part, BadRow) for part in parts):
        found.leave_out(source, next(part for part in parts if isinstance(part, BadRow)), _about(row))
        return
    extra = {key: value for key, value in row.items() if key not in entry.columns}
    for part in parts:
        if isinstance(part, BadRow):
            found.dropped.append(Dropped(source, part.reason, part.detail))
        else:
            found.rows.append(_record(part, source, row.get("category"), extra, kind))


def _record(part: Parts, source: Source, category: object, extra: Mapping[str, Any], kind: Kind) -> Row:
    name = category if isinstance(category, str) else None
    if kind == "pairs":
        chosen, rejected = part.completions
        return Pair(part.prompt, chosen, rejected, source, name, extra)
    (completion,) = part.completions
    return Example(part.prompt, completion, source, name, extra)


def _from_last_usable(parts: list[Parts | BadRow]) -> list[Parts | BadRow]:
    usable = [index for index, part in enumerate(parts) if isinstance(part, Parts)]
    return parts[usable[-1] :] if usable else parts


def _about(row: Mapping[str, Any]) -> str:
    """What a reader finds the row by, besides its line: its own id, or how it begins."""
    for key in ("id", "prompt", "chosen", "messages"):
        if row.get(key):
            return f" ({key} {shown(row[key], 60)})"
    return ""


def _bad_rows(bad: Sequence[Dropped]) -> DataError:
    first, *others = bad
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in others).items())
    rows = "1 more row" if len(others) == 1 else f"{len(others)} more rows"
    more = f" (and {rows} that cannot be used: {counts})" if others else ""
    return DataError(first.detail + more, where=str(first.source), fix=_FIX_BAD_ROW)


def _no_rows(dropped: Sequence[Dropped], name: str) -> DataError:
    if not dropped:
        return DataError("the file holds no rows", where=name)
    counts = Counter(row.reason for row in dropped)
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    first = f"the first, {dropped[0].source}: {dropped[0].detail}"
    return DataError(f"no row can be used ({listed}); {first}", where=name)


def _unrecognised(rows: Sequence[Mapping[str, Any]], kind: Kind, name: str) -> DataError:
    if any(isinstance(row.get("label"), int) and ("completion" in row or "messages" in row) for row in rows):
        return DataError(
            'each row rates one completion ("label"), which is neither a pair nor an example to imitate',
            where=name,
            fix="give pairs: prompt, chosen, rejected",
        )
    other: Kind = "examples" if kind == "pairs" else "pairs"
    meant = recognise(rows, other)
    compared = any("chosen" in key or "reject" in key for row in rows for key in row)
    if meant is not None and other == "examples" and not compared:
        return DataError(
            f"these are SFT examples ({meant.name}), and the method needs pairs",
            where=name,
            fix="give prompt, chosen and rejected, or set method.name: sft",
        )
    if meant is not None and other == "pairs":
        return DataError(
            f"these are preference pairs ({meant.name}), and SFT needs examples",
            where=name,
            fix='give "messages", or "prompt" and "completion", or a method that learns from pairs',
        )
    looks = "".join(f"\n    {entry.name}: {entry.looks}" for entry in FORMATS[kind])
    columns = ", ".join(shown(key, 40) for key in list(rows[0])[:20]) or "none"
    return DataError(
        f"no known format of {kind}; the columns are {columns}",
        where=name,
        fix=f"rename the columns to those of a format that is read:{looks}",
    )
