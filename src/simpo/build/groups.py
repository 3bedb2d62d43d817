"""What is compared among the kept pairs: copies of pairs, and prompts that stay together in one split."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.audit.copies.compared import Compared
from simpo.audit.copies.duplicates import near_duplicates, repeated
from simpo.build.repairs import COPIES
from simpo.build.spool import Kept, Spool
from simpo.records import Pair

Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

EXACT_DUPLICATE, NORMALISED_DUPLICATE, NEAR_DUPLICATE = COPIES


@dataclass(frozen=True, slots=True)
class Likeness:
    """copies: for each kind that was asked for, the numbers of the pairs to leave out, ascending, none in two kinds.

    key, group: the P different prompts by their keys, and a number for each one's group.
    """

    copies: dict[str, Ints]
    key: Keys
    group: Ints


def compare_pairs(
    kept: Kept, spool: Spool, kinds: Collection[str], near_prompts: bool, first: Collection[int] = ()
) -> Likeness:
    """Find copies of the wanted kinds among the kept pairs, and the groups of their prompts.

    Of several copies the one stays whose id is among `first` (ids of the parent's pairs), then the one with the
    smallest id: so what stays does not depend on the order in which they were read. Prompts are grouped with those
    nearly equal (see `simpo.audit.copies.prompts`), or each is a group by itself where `near_prompts` is off.
    """
    copies = {EXACT_DUPLICATE: _doubles(kept)} if EXACT_DUPLICATE in kinds else {}
    if not near_prompts and not {NORMALISED_DUPLICATE, NEAR_DUPLICATE} & set(kinds):
        keys = np.unique(kept.prompt)
        return Likeness(copies, keys, np.arange(len(keys), dtype=np.int64))
    compared = Compared()
    numbers = []
    for number, pair in _in_order(kept, spool, first):
        compared.add(pair)
        numbers.append(number)
    order = np.array(numbers, dtype=np.int64)
    verified, coarse = compared.prompts.near()
    columns = compared.columns()
    findings = repeated(compared, columns) if NORMALISED_DUPLICATE in kinds else []
    findings += near_duplicates(compared, columns, coarse) if NEAR_DUPLICATE in kinds else []
    taken = copies.get(EXACT_DUPLICATE, np.empty(0, np.int64))
    for finding in findings:
        if finding.kind in kinds and finding.kind != EXACT_DUPLICATE:
            copies[finding.kind] = np.setdiff1d(order[finding.rows], taken)
            taken = np.union1d(taken, copies[finding.kind])
    keys = compared.prompts.keys
    return Likeness(copies, keys, verified.labels if near_prompts else np.arange(len(keys), dtype=np.int64))


def _in_order(kept: Kept, spool: Spool, first: Collection[int]) -> Iterator[tuple[int, Pair]]:
    if not first:
        yield from spool.pairs()
        return
    ids = kept.id
    known = np.isin(ids, np.fromiter(first, np.uint64, len(first)))
    for turn in (True, False):
        yield from ((number, pair) for number, pair in spool.pairs() if bool(known[number]) == turn)


def _doubles(kept: Kept) -> Ints:
    """The pairs that are there before, by their numbers, ascending: the first of each stays."""
    again = np.ones(len(kept), dtype=bool)
    again[np.unique(kept.id, return_index=True)[1]] = False
    return np.flatnonzero(again)
