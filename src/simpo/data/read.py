"""The front door: files or a hub id to records, one after another or as a `Dataset`."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from simpo.data.locate import locate
from simpo.data.pairing import PAIRINGS
from simpo.data.reasons import NO_PAIR, TO_UTF8
from simpo.data.shapes import Kind, Pairing
from simpo.data.stream import Options, RowStream
from simpo.errors import DataError, RecipeError
from simpo.records import Dataset, Dropped, Row

Spec = str | Path | Sequence[str | Path]

_FIX_BAD_ROW = (
    "mend or remove the row, or set data.on_bad_row: drop, which leaves such rows out and counts them"
)
_FIX_NO_ROWS = {
    "unpaired": "a pair needs a good and a bad reply to the same prompt, word for word: rate more replies to each "
    "prompt, or give prompt, chosen and rejected; the good replies alone can serve SFT, without their label",
    "tie": "every row is a tie: give rows in which one answer is better",
    "small_margin": "lower data.min_margin",
    "bad_encoding": f"convert the file to UTF-8, for example with {TO_UTF8}",
}


def iter_rows(
    spec: Spec,
    *,
    kind: Kind = "pairs",
    limit: int | None = None,
    sft_turns: Literal["all", "last"] = "all",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    pairing: Pairing = "best_worst",
    min_margin: float = 0.0,
) -> RowStream:
    """Preference pairs or SFT examples of files, patterns (`data/*.jsonl`) or a hub id (`org/name:split`), in order.

    Files are JSON Lines, a JSON array, CSV, Parquet or Arrow, plain, gzip or zstd, each in one of the formats of
    `simpo.data.formats`, recognised by its first rows or named by `format`. `columns` maps the format's names of
    columns to the user's. `limit` stops after so many records. Text is kept as it is.

    Ranked or scored answers become pairs by `pairing` (see `simpo.data.pairing`), ties never, and neither two whose
    scores differ by less than `min_margin`, in the format's own unit. With `kind="examples"` each assistant turn of a
    conversation is one record, or the last that has text (`sft_turns="last"`).

    A row that gives no record comes as a `Dropped` in its place: one that cannot be used, one that makes no pair (a
    tie, with what its annotators said in `extra["annotations"]`), and a turn of a conversation of which other turns
    can be used (`part`). The stream counts rows, names formats and hashes files: see `RowStream`.

    Raises `DataError`, which names file, line, value and what to do, for a file that is missing, cannot be read or is
    of no known format; some of that is only found on the way. Raises `RecipeError` for an option that is none.
    """
    options = Options(
        kind, limit, sft_turns == "last", _pairing(pairing), _margin(min_margin), format, columns
    )
    specs = [str(one) for one in ([spec] if isinstance(spec, (str, Path)) else spec)]
    return RowStream(", ".join(specs), locate(specs), options)


def read_rows(
    spec: Spec,
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
    """All rows of files, patterns or a hub id in memory: see `iter_rows`, which has the same options.

    Rows that cannot be used are in `dropped` with `on_bad_row="drop"`; with "error" they raise, after all was read.
    A row that makes no pair, and a turn of a conversation whose other turns can be used, always go there.

    Raises as `iter_rows` does, and `DataError` for bad rows and where no row is left.
    """
    stream = iter_rows(
        spec,
        kind=kind,
        limit=limit,
        sft_turns=sft_turns,
        format=format,
        columns=columns,
        pairing=pairing,
        min_margin=min_margin,
    )
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for outcome in stream:
        if isinstance(outcome, Dropped):
            dropped.append(outcome)
        else:
            rows.append(outcome)
    bad = [row for row in dropped if not row.part and row.reason not in NO_PAIR]
    if bad and on_bad_row == "error":
        raise _bad_rows(bad)
    if not rows:
        raise _no_rows(dropped, stream.name)
    formats = ", ".join(dict.fromkeys(stream.formats))
    return Dataset(stream.name, tuple(rows), tuple(dropped), formats, stream.files)


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


def _bad_rows(bad: Sequence[Dropped]) -> DataError:
    first, *others = bad
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in others).items())
    rows = "1 more row" if len(others) == 1 else f"{len(others)} more rows"
    more = f" (and {rows} that cannot be used: {counts})" if others else ""
    fix = f"{_FIX_BAD_ROW}; or convert the file: {TO_UTF8}" if "UTF-8: byte" in first.detail else _FIX_BAD_ROW
    return DataError(first.detail + more, where=str(first.source), fix=fix)


def _no_rows(dropped: Sequence[Dropped], name: str) -> DataError:
    if not dropped:
        return DataError("the file holds no rows", where=name)
    counts = Counter(row.reason for row in dropped)
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    first = f"the first, {dropped[0].source}: {dropped[0].detail}"
    fix = _FIX_NO_ROWS.get(counts.most_common(1)[0][0])
    return DataError(f"no row can be used ({listed}); {first}", where=name, fix=fix)


__all__ = ["RowStream", "iter_rows", "read_rows"]
