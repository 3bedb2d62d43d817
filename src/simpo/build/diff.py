"""What two dataset versions have and have not in common, by the texts of their pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from simpo.data.manifest import SPLITS, Split
from simpo.data.read import iter_rows
from simpo.data.version import Version
from simpo.errors import DataError
from simpo.records import Dropped, Pair

MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One pair that differs: where it stands in the one version and in the other, and its texts as they are last."""

    id: str
    before: str | None
    after: str | None
    prompt: str
    chosen: str
    rejected: str

    def to_json(self) -> dict[str, Any]:
        """The example with its places as `split file:row`."""
        return {
            "id": self.id,
            "before": self.before,
            "after": self.after,
            "prompt": self.prompt,
            "chosen": self.chosen,
            "rejected": self.rejected,
        }


@dataclass(slots=True)
class Change:
    """How many pairs changed in one way, by split (`train -> test` for moved ones), and the first of them."""

    count: int
    by_split: Counter[str]
    examples: list[Example]

    def to_json(self) -> dict[str, Any]:
        """The change for `--json`."""
        return {
            "count": self.count,
            "by_split": dict(sorted(self.by_split.items())),
            "examples": [example.to_json() for example in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Pairs that are only in the second version, only in the first, with the label turned round, in another split."""

    same: int
    added: Change
    removed: Change
    relabelled: Change
    moved: Change

    def to_json(self) -> dict[str, Any]:
        """The difference for `--json`."""
        return {
            "same": self.same,
            **{name: getattr(self, name).to_json() for name in ("added", "removed", "relabelled", "moved")},
        }


# Where a pair stands: its split, and its row there.
_Place = tuple[Split, int]


def diff_versions(one: Version, other: Version) -> Difference:
    """Compare two versions pair by pair, from `one` to `other`; their ids are computed anew from the texts.

    Some 200 bytes of memory a pair. Raises DataError for a file that cannot be read or holds a row that is no pair.
    """
    before = _places(one)
    after = _places(other)
    kinds = {name: Change(0, Counter(), []) for name in ("added", "removed", "relabelled", "moved")}
    same = 0
    turned: set[str] = set()
    for pair, (split, row) in _pairs(other):
        old = before.get(pair.id)
        place = f"{split} {row}"
        if old is not None and old[0] == split:
            same += 1
        elif old is not None:
            _note(kinds["moved"], pair, f"{old[0]} {old[1]}", place, f"{old[0]} -> {split}")
        else:
            swapped = _swapped_id(pair)
            was = before.get(swapped)
            # Where a version has both orders, neither is a turned label of the other.
            if was is not None and swapped not in after:
                turned.add(swapped)
                _note(kinds["relabelled"], pair, f"{was[0]} {was[1]}", place, split)
            else:
                _note(kinds["added"], pair, None, place, split)
    for pair, (split, row) in _pairs(one):
        if pair.id not in after and pair.id not in turned:
            _note(kinds["removed"], pair, f"{split} {row}", None, split)
    return Difference(same, kinds["added"], kinds["removed"], kinds["relabelled"], kinds["moved"])


def _pairs(version: Version) -> Iterator[tuple[Pair, _Place]]:
    for split in SPLITS:
        path = version.file(split)
        if path is None:
            continue
        for row in iter_rows(path):
            if isinstance(row, Dropped):
                raise DataError(
                    row.detail,
                    where=str(row.source),
                    fix=f"`simpo data verify {version.path}` lists what changed",
                )
            if isinstance(row, Pair):
                yield row, (split, row.source.line)


def _places(version: Version) -> dict[str, _Place]:
    return {pair.id: place for pair, place in _pairs(version)}


def _swapped_id(pair: Pair) -> str:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen).id


def _note(change: Change, pair: Pair, before: str | None, after: str | None, split: str) -> None:
    change.count += 1
    change.by_split[split] += 1
    if len(change.examples) < MAX_EXAMPLES:
        change.examples.append(
            Example(pair.id, before, after, pair.prompt[-1].content, pair.chosen, pair.rejected)
        )
