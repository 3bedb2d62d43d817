"""Rows one after another, each read or left out with its reason, so that memory does not grow with the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from simpo.data.opening import Opened, open_source
from simpo.data.pairing import check_margin, merged, pairs_of, stated_margin
from simpo.data.reasons import BadRow, shown
from simpo.data.shapes import Format, Found, Kind, Pairing, Parts, Ranked
from simpo.data.toolcalls import tools_of
from simpo.errors import DataError
from simpo.records import Dropped, Example, Pair, Row, Source


@dataclass(frozen=True, slots=True)
class Options:
    """How rows become records; see `simpo.data.read.iter_rows`, which checks them."""

    kind: Kind
    limit: int | None
    last_turn: bool
    pairing: Pairing
    min_margin: float
    format: str | None
    columns: Mapping[str, str] | None


Tools = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One row of an item that is spread over several rows."""

    source: Source
    ranked: Ranked
    row: Mapping[str, Any]
    tools: Tools


_Pool = dict[Hashable, list[_Piece]]


class RowStream(Iterator[Row | Dropped]):
    """The rows of some files in their order: records, and a `Dropped` for each row (or part of one) that gives none.

    Once it is used up, or as far as it was: num_rows rows were read, of which num_used gave records (alone or with the
    other rows of their item) and num_dropped gave none; the latter two add up to the first, unless a limit stopped the
    reading. num_records is how many records came. formats and explanations: of each file that was opened, the format
    taken and the sentence that says why. hashes: the sha256 of each file that was read to its end, as it was read.

    One file's rows are in memory only where the format spreads an item over several rows that may stand anywhere
    (annotator_labels, helpsteer_ratings, the unpaired formats): their items come after the file's last row.
    """

    def __init__(self, name: str, sources: Sequence[Path | str], options: Options) -> None:
        self.name = name
        self.files = tuple(source for source in sources if isinstance(source, Path))
        self.num_rows = self.num_used = self.num_dropped = self.num_records = 0
        self.formats: list[str] = []
        self.explanations: list[str] = []
        self.hashes: dict[Path, str] = {}
        self._began_at: dict[str, int] = {}  # name of each source that was opened -> rows read before it
        self._options = options
        self._scored = False  # whether any row said by how much one reply is better
        self._outcomes = self._limited(sources)

    def rows_by_source(self) -> dict[str, int]:
        """How many rows were read of each file or hub id that was opened."""
        starts = [*self._began_at.values(), self.num_rows]
        return {
            name: end - begin for name, (begin, end) in zip(self._began_at, pairwise(starts), strict=True)
        }

    def __next__(self) -> Row | Dropped:
        return next(self._outcomes)

    def _limited(self, sources: Sequence[Path | str]) -> Iterator[Row | Dropped]:
        limit = self._options.limit
        for outcome in self._all(sources) if limit != 0 else ():
            if not isinstance(outcome, Dropped):
                self.num_records += 1
            yield outcome
            if self.num_records == limit:
                break
        self._check_margin_meant_something()

    def _all(self, sources: Sequence[Path | str]) -> Iterator[Row | Dropped]:
        options = self._options
        for source in sources:
            digest = hashlib.sha256()
            opened = open_source(
                source, kind=options.kind, format=options.format, columns=options.columns, digest=digest
            )
            self.explanations.append(opened.reason(options.kind))
            self._began_at[opened.name] = self.num_rows
            yield from self._source(opened)
            if isinstance(source, Path):
                self.hashes[source] = digest.hexdigest()

    def _source(self, opened: Opened) -> Iterator[Row | Dropped]:
        pool: _Pool = {}
        if opened.entry is not None:
            self.formats.append(opened.entry.name)
        for number, row in opened.rows:
            self.num_rows += 1
            source = Source(opened.name, number)
            if isinstance(row, BadRow):
                yield self._left_out(source, row)
            elif opened.entry is not None:
                yield from self._row(opened.entry, row, source, pool)
        for key in list(pool):  # each item is let go once it was read
            if opened.entry is not None:
                yield from self._item(pool.pop(key), opened.entry)

    def _left_out(self, source: Source, bad: BadRow, about: str = "") -> Dropped:
        self.num_dropped += 1
        return Dropped(source, bad.reason, bad.detail + about, extra=bad.extra)

    def _row(
        self, entry: Format, row: Mapping[str, Any], source: Source, pool: _Pool
    ) -> Sequence[Row | Dropped]:
        try:
            found = list(entry.read(row))
            tools = tools_of(row)
            pooled = [part for part in found if isinstance(part, Ranked) and part.key is not None]
            for part in pooled:
                pool.setdefault((part.key, _text(tools)), []).append(_Piece(source, part, row, tools))
            if pooled:
                return ()  # such a row brings one answer or one opinion, and nothing else
            parts = [part for one in found for part in self._parts(one, row)]
        except BadRow as bad:
            return [self._left_out(source, bad, _about(row))]
        if self._options.last_turn:
            parts = _from_last_usable(parts)
        bad_parts = [part for part in parts if isinstance(part, BadRow)]
        if bad_parts and len(bad_parts) == len(parts):
            return [self._left_out(source, bad_parts[0], _about(row))]
        self.num_used += 1
        return self._kept(parts, source, row.get("category"), _others(entry, row, tools), tools)

    def _parts(self, one: Found, row: Mapping[str, Any]) -> list[Parts | BadRow]:
        """What one record of a row gives: itself, the pairs of its answers, or the reason why it gives none."""
        options = self._options
        try:
            if isinstance(one, Ranked):
                self._scored = True
                return pairs_of(one, options.pairing, options.min_margin)
            if options.kind == "pairs" and isinstance(one, Parts) and options.min_margin > 0:
                self._scored = self._scored or stated_margin(row) is not None
                check_margin(row, options.min_margin)
        except BadRow as bad:
            return [bad]
        return [one]

    def _item(self, pieces: Sequence[_Piece], entry: Format) -> Iterator[Row | Dropped]:
        """The pairs of an item in several rows; its other columns are what all of them agree on."""
        options = self._options
        first = pieces[0]
        self._scored = True
        try:
            whole = merged([_with_line(piece) for piece in pieces])
            parts = pairs_of(whole, options.pairing, options.min_margin)
        except BadRow as bad:
            if first.ranked.rated and bad.reason in ("tie", "unranked"):
                bad = BadRow("unpaired", _one_sided(pieces))
            yield self._left_out(first.source, bad, _about(first.row))
            # The item's opinions are told once, with its first row.
            again = BadRow(bad.reason, bad.detail)
            yield from (self._left_out(piece.source, again, _about(piece.row)) for piece in pieces[1:])
            return
        taken = {text for part in parts if isinstance(part, Parts) for text in part.completions}
        unused = [(piece, why) for piece in pieces if (why := _unused(piece, taken)) is not None]
        yield from (self._left_out(piece.source, why, _about(piece.row)) for piece, why in unused)
        self.num_used += len(pieces) - len(unused)
        parts = [
            part for part in parts if isinstance(part, Parts)
        ]  # the others were told with their own rows
        extra = {
            key: value
            for key, value in _others(entry, first.row, first.tools).items()
            if all(key in piece.row and piece.row[key] == value for piece in pieces)
        }
        yield from self._kept(parts, first.source, extra.get("category"), extra, first.tools)

    def _kept(
        self,
        parts: Sequence[Parts | BadRow],
        source: Source,
        category: object,
        extra: Mapping[str, Any],
        tools: Tools,
    ) -> list[Row | Dropped]:
        """The records of a row, with those of its parts that gave none."""
        kept: list[Row | Dropped] = []
        for part in parts:
            if isinstance(part, BadRow):
                kept.append(Dropped(source, part.reason, part.detail, part=True, extra=part.extra))
            else:
                others = {**extra, **part.extra} if part.extra else extra
                kept.append(_record(part, source, category, others, tools, self._options.kind))
        return kept

    def _check_margin_meant_something(self) -> None:
        margin = self._options.min_margin
        if margin > 0 and not self._scored and self.num_records:
            raise DataError(
                f"min_margin {margin:g} has no effect: no row says by how much a reply is better",
                where=self.name,
                fix="remove data.min_margin, or give scores (score_chosen and score_rejected, or margin)",
            )


def _with_line(piece: _Piece) -> Ranked:
    """The row's answer with its line, which a pair of two rows keeps as `line_chosen` and `line_rejected`."""
    line = {"line": piece.source.line}
    answers = tuple(
        answer if answer.score is None else replace(answer, extra={**answer.extra, **line})
        for answer in piece.ranked.answers
    )
    return replace(piece.ranked, answers=answers)


def _unused(piece: _Piece, taken: Set[str]) -> BadRow | None:
    """Why the answer that a row brought is not among those taken; None where it is, and for a row with an opinion."""
    answers = [answer for answer in piece.ranked.answers if answer.score is not None]
    if not answers or any(answer.text in taken for answer in answers):
        return None
    if not answers[0].text.strip():
        return BadRow("empty_answer", f"{answers[0].where} is empty")
    if piece.ranked.rated:
        return BadRow("rated_both_ways", "the reply is rated good here and bad elsewhere, or the reverse")
    return BadRow("passed_over", "data.pairing compares other replies to this prompt")


def _one_sided(pieces: Sequence[_Piece]) -> str:
    scores = {answer.score for piece in pieces for answer in piece.ranked.answers}
    if len(scores) > 1:
        return "the prompt's good and bad ratings are of the same reply"
    return f"the prompt has only {'good' if scores == {1} else 'bad'} ratings"


def _others(entry: Format, row: Mapping[str, Any], tools: Tools) -> dict[str, Any]:
    taken = entry.columns | {"tools"} if tools else entry.columns
    return {key: value for key, value in row.items() if key not in taken}


def _record(
    part: Parts, source: Source, category: object, extra: Mapping[str, Any], tools: Tools, kind: Kind
) -> Row:
    name = category if isinstance(category, str) else None
    if kind == "pairs":
        chosen, rejected = part.completions
        return Pair(part.prompt, chosen, rejected, source, name, extra, tools)
    (completion,) = part.completions
    return Example(part.prompt, completion, source, name, extra, tools)


def _text(tools: Tools) -> str:
    return json.dumps(tools, sort_keys=True) if tools else ""


def _from_last_usable(parts: list[Parts | BadRow]) -> list[Parts | BadRow]:
    usable = [index for index, part in enumerate(parts) if isinstance(part, Parts)]
    return parts[usable[-1] :] if usable else parts


def _about(row: Mapping[str, Any]) -> str:
    """What a reader finds the row by, besides its line: its own id, or how it begins."""
    for key in ("id", "prompt", "instruction", "question", "chosen", "messages", "conversations"):
        if row.get(key):
            return f" ({key} {shown(row[key], 60)})"
    return ""


__all__ = ["Options", "RowStream"]
