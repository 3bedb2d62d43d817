"""Which split each group of prompts goes to: by a hash, by the parent, and what happens where two old groups meet.

What holds, for one seed and one rule:

* No group is in two splits.
* The split of a group is a function of its anchor (the smallest key among its prompts), the seed and the rule's
  thresholds. With `stable` the thresholds are the shares alone, so that rows added later move no row whose group gets
  no new prompt; the order of the rows says nothing.
* With a parent, no row whose prompt the parent has moves, whatever is added: a group with a prompt of the parent goes
  where that prompt is. Where a group has prompts of the parent in several splits, these stay, and its new prompts are
  left out: in either split they would be near to rows of the other.
* Where a stratum has n rows in groups of one row, `stable` gives a split of share p about n p rows, up to chance with
  a standard deviation of sqrt(n p (1 - p)); `exact` is off by no more than half a group, carried to the next stratum.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.data.manifest import SPLITS, Conflict, SplitRule

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

TRAIN, VALIDATION, TEST = range(3)
LEFT_OUT = -1
NEW = -1


@dataclass(frozen=True, slots=True)
class Prompts:
    """P different prompts.

    key: [P] the hash of each, none twice. group: [P] a number for each group of near duplicates. stratum: [P] the
    stratum of the prompt's group. rows: [P] how many pairs each has. old: [P] its split in the parent, NEW if none.
    """

    key: Keys
    group: Ints
    stratum: Sequence[str]
    rows: Ints
    old: Ints


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of each prompt, [P], LEFT_OUT for one that would join splits; anchor: [P] names its group."""

    split: Ints
    anchor: Keys
    conflicts: tuple[Conflict, ...]


def place(anchor: int, seed: int) -> float:
    """Where a group falls in [0, 1): a hash of the seed and its anchor."""
    digest = hashlib.sha256(f"{seed}:{anchor:016x}".encode()).digest()
    # 53 bits, so that the quotient is exact and never rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def assign(prompts: Prompts, rule: SplitRule) -> Assignment:
    """The split of each prompt by the rule, and by the parent where it has the prompt's group."""
    groups, member = np.unique(prompts.group, return_inverse=True)
    known = np.zeros((len(groups), len(SPLITS)), dtype=bool)
    old = np.flatnonzero(prompts.old != NEW)
    known[member[old], prompts.old[old]] = True
    count = known.sum(axis=1)
    anchors = _anchors(prompts.key, member, len(groups))
    split_of_group = np.where(count == 1, known.argmax(axis=1), TRAIN)
    first = np.unique(member, return_index=True)[1]
    for group in np.flatnonzero(count == 0):
        stratum = prompts.stratum[first[group]]
        split_of_group[group] = _by_hash(place(int(anchors[group]), rule.seed), thresholds(rule, stratum))
    split = split_of_group[member].astype(np.int64)
    torn = count[member] > 1
    split[torn] = np.where(prompts.old[torn] == NEW, LEFT_OUT, prompts.old[torn])
    # The parts of a torn group are groups of their own.
    part = member * (len(SPLITS) + 1) + split - LEFT_OUT
    parts, of_part = np.unique(part, return_inverse=True)
    conflicts = tuple(_conflicts(prompts, member, torn, known, anchors))
    return Assignment(split, _anchors(prompts.key, of_part, len(parts))[of_part], conflicts)


def _anchors(key: Keys, member: Ints, num: int) -> Keys:
    anchors = np.full(num, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(anchors, member, key)
    return anchors


def thresholds(rule: SplitRule, stratum: str) -> tuple[float, float]:
    """Below which place a group of this stratum is tested on, and below which it validates."""
    return rule.thresholds.get(stratum, (rule.test, rule.test + rule.validation))


def _by_hash(at: float, limits: tuple[float, float]) -> int:
    return TEST if at < limits[0] else VALIDATION if at < limits[1] else TRAIN


def _conflicts(
    prompts: Prompts, member: Ints, torn: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], anchors: Keys
) -> list[Conflict]:
    found = []
    for group in np.unique(member[torn]):
        inside = np.flatnonzero(member == group)
        new = inside[prompts.old[inside] == NEW]
        names = tuple(name for name, there in zip(SPLITS, known[group], strict=True) if there)
        found.append(
            Conflict(
                splits=names,
                group=f"{anchors[group]:016x}",
                prompts=len(inside),
                rows_left_out=int(prompts.rows[new].sum()),
            )
        )
    return sorted(found, key=lambda conflict: conflict.group)


def exact_thresholds(prompts: Prompts, rule: SplitRule) -> dict[str, tuple[float, float]]:
    """Thresholds that give each stratum its shares as nearly as groups allow, what is off being made up in the next.

    Of all that split the groups so, the ones nearest to the shares themselves: groups that come later are split by
    them too.
    """
    sizes: dict[int, int] = Counter()
    strata: dict[int, str] = {}
    keys: dict[int, int] = {}
    for number, group in enumerate(prompts.group.tolist()):
        sizes[group] += int(prompts.rows[number])
        strata[group] = prompts.stratum[number]
        keys[group] = min(keys.get(group, 2**64), int(prompts.key[number]))
    inside: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for group, size in sizes.items():
        inside[strata[group]].append((place(keys[group], rule.seed), size))
    found = {}
    owed = [0.0, 0.0]
    for stratum in sorted(inside):
        places, rows = zip(*sorted(inside[stratum]), strict=True)
        found[stratum] = _limits(places, np.cumsum((0, *rows)), rule, owed)
    return found


def _limits(places: Sequence[float], before: Ints, rule: SplitRule, owed: list[float]) -> tuple[float, float]:
    """The thresholds of one stratum: places of its groups, ascending, and how many rows stand before each.

    owed: rows that the test and the validation split are short of so far; it is brought up to date.
    """
    total = float(before[-1])
    shares = (rule.test, rule.validation)
    limits: list[float] = []
    start, least, nominal = 0, 0.0, 0.0
    for which, share in enumerate(shares):
        nominal += share
        wish = share * total + owed[which] if share else 0.0
        cut = start + int(np.argmin(np.abs(before[start:] - before[start] - wish)))
        owed[which] = wish - float(before[cut] - before[start])
        low = max(least, np.nextafter(places[cut - 1], 1.0) if cut else 0.0)
        high = places[cut] if cut < len(places) else 1.0
        limits.append(float(min(max(nominal, low), high)))
        start, least = cut, limits[-1]
    return limits[0], limits[1]


def quartile_edges(lengths: npt.ArrayLike) -> tuple[float, float, float]:
    """The lengths at a quarter, a half and three quarters of the pairs, each the length of a pair."""
    low, middle, high = np.quantile(np.asarray(lengths), (0.25, 0.5, 0.75), method="inverted_cdf")
    return float(low), float(middle), float(high)


def quartile(lengths: npt.ArrayLike, edges: tuple[float, float, float]) -> Ints:
    """The quartile of each length, 1 to 4; a length on an edge is in the lower one."""
    return 1 + np.searchsorted(np.asarray(edges), np.asarray(lengths), side="left").astype(np.int64)


def strata_of_groups(
    group: Ints, category: Sequence[str | None], lengths: Ints, edges: tuple[float, float, float]
) -> dict[int, str]:
    """The stratum of each group by its rows [N]: their most frequent category, the quartile of their median length."""
    categories: dict[int, Counter[str]] = defaultdict(Counter)
    inside: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(group.tolist()):
        categories[one][category[number] or ""] += 1
        inside[one].append(int(lengths[number]))
    return {
        one: stratum_name(
            min(counts, key=lambda name: (-counts[name], name)) or None,
            int(quartile([sorted(inside[one])[(len(inside[one]) - 1) // 2]], edges)[0]),
        )
        for one, counts in categories.items()
    }


def stratum_name(category: str | None, length_quartile: int) -> str:
    """How a stratum is written in the manifest: `2/billing`, `2` without a category."""
    return f"{length_quartile}/{category}" if category else str(length_quartile)


__all__ = [
    "LEFT_OUT",
    "NEW",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Assignment",
    "Mapping",
    "Prompts",
    "assign",
    "exact_thresholds",
    "place",
    "quartile",
    "quartile_edges",
    "strata_of_groups",
    "stratum_name",
    "thresholds",
]
