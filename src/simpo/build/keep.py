"""The second reading: every pair repaired or dropped as planned, counted and listed, and the kept ones put by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from simpo.audit.copies.prompts import asked
from simpo.build.repairs import Plan, apply
from simpo.build.spool import Kept, Spool
from simpo.data.stream import RowStream
from simpo.errors import DataError
from simpo.records import Dropped, Pair

PROGRESS_EVERY = 1000

Progress = Callable[[int], None]


@dataclass(slots=True)
class Tallies:
    """What was left out and repaired, by reason and kind; `pairs` by source file."""

    rows_dropped: Counter[str] = field(default_factory=Counter)
    parts_dropped: Counter[str] = field(default_factory=Counter)
    pairs_dropped: Counter[str] = field(default_factory=Counter)
    pairs_repaired: dict[str, Counter[str]] = field(default_factory=dict)
    pairs_read: int = 0
    pairs_of_file: Counter[str] = field(default_factory=Counter)

    def repaired(self, kind: str, action: str) -> None:
        """Count one repair that left a pair."""
        self.pairs_repaired.setdefault(kind, Counter())[action] += 1


class RepairList:
    """repairs.jsonl: a line for each row that was left out and each pair that was changed, with where it came from."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> RepairList:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(
        self, source: str, kind: str, action: str, *, before: str | None, after: str | None, detail: str = ""
    ) -> None:
        """List one repair; the ids are content hashes, None where there is no pair."""
        line = {
            "source": source,
            "kind": kind,
            "action": action,
            "id_before": before,
            "id_after": after,
            **({"detail": detail} if detail else {}),
        }
        text = json.dumps(line, ensure_ascii=False)
        self._file.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def keep_pairs(
    stream: RowStream,
    plan: Plan,
    names: Mapping[str, str],
    spool: Spool,
    listed: RepairList,
    progress: Progress | None = None,
) -> tuple[Kept, Tallies]:
    """Read every row once more, make the planned repairs, and put by what is kept.

    names: of the files, as the version calls them. Raises as reading does.
    """
    kept, tallies = Kept(), Tallies()
    files = {file: number for number, file in enumerate(names)}
    for index, row in enumerate(stream, 1):
        if progress is not None and index % PROGRESS_EVERY == 0:
            progress(stream.num_rows)
        source = f"{names[row.source.file]}:{row.source.line}"
        if isinstance(row, Dropped):
            counted = tallies.parts_dropped if row.part else tallies.rows_dropped
            counted[row.reason] += 1
            action = "drop_part" if row.part else "drop"
            listed.add(source, row.reason, action, before=None, after=None, detail=row.detail)
        elif isinstance(row, Pair):
            number = tallies.pairs_read
            tallies.pairs_read += 1
            tallies.pairs_of_file[row.source.file] += 1
            pair = _repaired(row, plan, number, source, tallies, listed)
            if pair is not None:
                key = asked(pair.prompt, pair.tools).key
                spool.add(kept.add(pair, key, files[row.source.file]), pair, source)
    return kept, tallies


def _repaired(
    row: Pair, plan: Plan, number: int, source: str, tallies: Tallies, listed: RepairList
) -> Pair | None:
    outcome = apply(plan.steps.get(number, ()), row)
    pair = outcome.pair
    done = outcome.done
    if pair is not None and not _writable(pair):
        # No file of UTF-8 can hold it, whatever was asked for.
        pair, done = None, (*done, ("lone_surrogate", "drop", "no UTF-8 file can hold it"))
    for kind, action, detail in done:
        if action == "drop":
            tallies.pairs_dropped[kind] += 1
        elif pair is not None:
            tallies.repaired(kind, action)
        if action == "drop" or pair is not None:
            after = None if action == "drop" or pair is None else pair.id
            listed.add(source, kind, action, before=row.id, after=after, detail=detail)
    return pair


def _writable(pair: Pair) -> bool:
    try:
        for text in (
            pair.chosen,
            pair.rejected,
            pair.category or "",
            *(turn.content for turn in pair.prompt),
        ):
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where pairs are counted and listed that a later stage leaves out; `names` of the files they came from."""

    kept: Kept
    names: Sequence[str]
    tallies: Tallies
    listed: RepairList

    def drop(self, numbers: Sequence[int], kind: str) -> None:
        """Count and list pairs by their numbers among the kept."""
        ids = self.kept.id
        for number in numbers:
            file, line = self.kept.place(number)
            self.tallies.pairs_dropped[kind] += 1
            before = f"{int(ids[number]):016x}"
            self.listed.add(f"{self.names[file]}:{line}", kind, "drop", before=before, after=None)


def require_unchanged(before: Mapping[Path, str], after: Mapping[Path, str]) -> None:
    """DataError where a file had other bytes when it was read for the second time."""
    for path, digest in after.items():
        if before.get(path, digest) != digest:
            raise DataError(
                "the file was changed while it was read", where=str(path), fix="build from a copy that rests"
            )


__all__ = ["Leaving", "RepairList", "Tallies", "keep_pairs", "require_unchanged"]
