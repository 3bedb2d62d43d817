"""Files or a hub id to a `Dataset`: which format, which rows are whole, and why each other row is not."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from simpo.data.locate import locate
from simpo.data.opening import Opened, open_source
from simpo.data.pairing import PAIRINGS, check_margin, merged, pairs_of, stated_margin
from simpo.data.reasons import NO_PAIR, BadRow, shown
from simpo.data.shapes import Format, Found, Kind, Pairing, Parts, Ranked
from simpo.errors import DataError, RecipeError
from simpo.records import Dataset, Dropped, Example, Pair, Row, Source

_FIX_BAD_ROW = (
    "mend or remove the row, or set data.on_bad_row: drop, which leaves such rows out and counts them"
)
_FIX_NO_ROWS = {
    "unpaired": "a pair needs a good and a bad reply to the same prompt, word for word: rate more replies to each "
    "prompt, or give prompt, chosen and rejected; the good replies alone can serve SFT, without their label",
    "tie": "every row is a tie: give rows in which one answer is better",
    "small_margin": "lower data.min_margin",
}


@dataclass(frozen=True, slots=True)
class _Options:
    """How rows become records."""

    kind: Kind
    limit: int | None
    last_turn: bool
    pairing: Pairing
    min_margin: float


@dataclass(frozen=True, slots=True)
class _Piece:
    """One row of an item that is spread over several rows."""

    source: Source
    ranked: Ranked
    row: Mapping[str, Any]


@dataclass(slots=True)
class _Found:
    """What has been read so far. A bad row stops `on_bad_row="error"`; a skipped turn of a good row does not.

    scored: whether any row said by how much one reply is better.
    """

    rows: list[Row] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    bad: list[Dropped] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    scored: bool = False

    def leave_out(self, source: Source, bad: BadRow, about: str = "") -> None:
        """Note a whole row that cannot be used, or that makes no pair, which is no fault of it."""
        self.dropped.append(Dropped(source, bad.reason, bad.detail + about))
        if bad.reason not in NO_PAIR:
            self.bad.append(self.dropped[-1])


def read_rows(
    spec: str | Path | Sequence[str | Path],
    *,
    kind: Kind = "pairs",
    on_bad_row: Literal["error", "drop"] = "error",
    limit: int | None = None,
    sft_turns: Literal["all", "last"] = "all",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    pairing: Pairing = "best_worst",
    min_margin: float = 0.0,
) -> Dataset:
    """Read preference pairs or SFT examples from files, patterns (`data/*.jsonl`) or a hub id (`org/name:split`).

    Files are JSON Lines, a JSON array, CSV, Parquet or Arrow, plain, gzip or zstd, each in one of the formats of
    `simpo.data.formats`, recognised by its first rows or named by `format`. `columns` maps the format's names of
    columns to the user's. `limit` keeps the first so many records and reads no further. Text is kept as it is.

    Ranked or scored answers become pairs by `pairing` (see `simpo.data.pairing`), ties never, and neither two whose
    scores differ by less than `min_margin`, in the format's own unit. With `kind="examples"` each assistant turn of a
    conversation is one record, or the last that has text (`sft_turns="last"`).

    Rows that cannot be used are in `dropped` with `on_bad_row="drop"`; with "error" they raise, after all was read.
    A row that makes no pair (a tie), and a turn of a conversation whose other turns can be used, always go there.

    Raises `DataError`, which names file, line, value and what to do: for a file that cannot be read or is of no known
    format, for bad rows, and where no row is left. Raises `RecipeError` for an option that is none.
    """
    options = _Options(kind, limit, sft_turns == "last", _pairing(pairing), _margin(min_margin))
    specs = [str(one) for one in ([spec] if isinstance(spec, (str, Path)) else spec)]
    name = ", ".join(specs)
    sources = locate(specs)
    found = _Found()
    for source in sources:
        if limit is None or len(found.rows) < limit:
            opened = open_source(source, kind=kind, format=format, columns=columns)
            _read_source(opened, found, options)
    if found.bad and on_bad_row == "error":
        raise _bad_rows(found.bad)
    if not found.rows:
        raise _no_rows(found.dropped, name)
    if min_margin > 0 and not found.scored:
        raise DataError(
            f"min_margin {min_margin:g} has no effect: no row says by how much a reply is better",
            where=name,
            fix="remove data.min_margin, or give scores (score_chosen and score_rejected, or margin)",
        )
    files = tuple(source for source in sources if isinstance(source, Path))
    formats = ", ".join(dict.fromkeys(found.formats))
    return Dataset(name, tuple(found.rows), tuple(found.dropped), formats, files)


def _pairing(name: str) -> Pairing:
    for pairing in PAIRINGS:
        if name == pairing:
            return pairing
    near = difflib.get_close_matches(name, PAIRINGS, n=1)
    fix = f"did you mean {near[0]}?" if near else None
    raise RecipeError(f"pairing {name!r} is not one of {', '.join(PAIRINGS)}", fix=fix)


def _margin(value: float) -> float:
    if not 0 <= value < math.inf:
        raise RecipeError(f"min_margin {value} is not a number from 0 on")
    return value


def _read_source(opened: Opened, found: _Found, options: _Options) -> None:
    pool: dict[Hashable, list[_Piece]] = {}
    if opened.entry is not None:
        found.formats.append(opened.entry.name)
    for number, row in opened.rows:
        source = Source(opened.name, number)
        if isinstance(row, BadRow):
            found.leave_out(source, row)
        elif opened.entry is not None:
            _read_row(opened.entry, row, source, found, pool, options)
        if _full(found, options):
            return
    for pieces in pool.values():
        _read_item(pieces, found, options, opened.entry)
        if _full(found, options):
            return


def _full(found: _Found, options: _Options) -> bool:
    if options.limit is None or len(found.rows) < options.limit:
        return False
    del found.rows[options.limit :]
    return True


def _read_row(
    entry: Format,
    row: Mapping[str, Any],
    source: Source,
    found: _Found,
    pool: dict[Hashable, list[_Piece]],
    options: _Options,
) -> None:
    try:
        whole = [part for part in entry.read(row) if not _pooled(part, source, row, pool)]
        parts = [part for one in whole for part in _parts(one, row, found, options)]
    except BadRow as bad:
        found.leave_out(source, bad, _about(row))
        return
    if options.last_turn:
        parts = _from_last_usable(parts)
    if parts and all(isinstance(part, BadRow) for part in parts):
        found.leave_out(source, next(part for part in parts if isinstance(part, BadRow)), _about(row))
        return
    _keep(parts, source, row.get("category"), _others(entry, row), found, options.kind)


def _pooled(part: Found, source: Source, row: Mapping[str, Any], pool: dict[Hashable, list[_Piece]]) -> bool:
    """Put a row that is only a part of an item with the others of it."""
    if not isinstance(part, Ranked) or part.key is None:
        return False
    pool.setdefault(part.key, []).append(_Piece(source, part, row))
    return True


def _parts(one: Found, row: Mapping[str, Any], found: _Found, options: _Options) -> list[Parts | BadRow]:
    """What one record of a row gives: itself, the pairs of its answers, or the reason why it gives none."""
    try:
        if isinstance(one, Ranked):
            found.scored = True
            return pairs_of(one, options.pairing, options.min_margin)
        if options.kind == "pairs" and isinstance(one, Parts) and options.min_margin > 0:
            found.scored = found.scored or stated_margin(row) is not None
            check_margin(row, options.min_margin)
    except BadRow as bad:
        return [bad]
    return [one]


def _read_item(pieces: Sequence[_Piece], found: _Found, options: _Options, entry: Format | None) -> None:
    """The pairs of an item whose answers or opinions stand in several rows; its other columns are what all agree on."""
    assert entry is not None
    first = pieces[0]
    found.scored = True
    try:
        parts = pairs_of(
            merged([_with_lines(piece) for piece in pieces]), options.pairing, options.min_margin
        )
    except BadRow as bad:
        if first.ranked.rated and bad.reason in ("tie", "unranked"):
            bad = BadRow("unpaired", _one_sided(pieces))
        for piece in pieces:
            found.leave_out(piece.source, bad, _about(piece.row))
        return
    extra = {
        key: value
        for key, value in _others(entry, first.row).items()
        if all(key in piece.row and piece.row[key] == value for piece in pieces)
    }
    _keep(parts, first.source, extra.get("category"), extra, found, options.kind)


def _with_lines(piece: _Piece) -> Ranked:
    """The row's answer with its line, which a pair of two rows keeps as `line_chosen` and `line_rejected`."""
    line = {"line": piece.source.line}
    answers = tuple(
        answer if answer.score is None else replace(answer, extra={**answer.extra, **line})
        for answer in piece.ranked.answers
    )
    return replace(piece.ranked, answers=answers)


def _one_sided(pieces: Sequence[_Piece]) -> str:
    scores = {answer.score for piece in pieces for answer in piece.ranked.answers}
    if len(scores) > 1:
        return "the prompt's good and bad ratings are of the same reply"
    return f"the prompt has only {'good' if scores == {1} else 'bad'} ratings"


def _others(entry: Format, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in entry.columns}


def _keep(
    parts: Sequence[Parts | BadRow],
    source: Source,
    category: object,
    extra: Mapping[str, Any],
    found: _Found,
    kind: Kind,
) -> None:
    for part in parts:
        if isinstance(part, BadRow):
            found.dropped.append(Dropped(source, part.reason, part.detail))
        else:
            others = {**extra, **part.extra} if part.extra else extra
            found.rows.append(_record(part, source, category, others, kind))


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
    for key in ("id", "prompt", "instruction", "question", "chosen", "messages", "conversations"):
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
    fix = _FIX_NO_ROWS.get(counts.most_common(1)[0][0])
    return DataError(f"no row can be used ({listed}); {first}", where=name, fix=fix)
