"""From the kept pairs to the split of each: by the parent or by the hash, conflicts left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from simpo.audit.copies.prompts import asked
from simpo.build.groups import Ints, Keys, Likeness
from simpo.build.recipe import SplitRecipe
from simpo.build.split import (
    LEFT_OUT,
    NEW,
    Prompts,
    assign,
    exact_thresholds,
    quartile,
    quartile_edges,
    strata_of_groups,
)
from simpo.build.spool import Kept
from simpo.data.manifest import SPLITS, Conflict, Grouping, SplitRule, Stratum
from simpo.data.read import iter_rows
from simpo.data.version import Version
from simpo.records import Pair


@dataclass(frozen=True, slots=True)
class Placed:
    """The split of each of the N kept pairs, LEFT_OUT for one that would join two splits; group: [N] its anchor."""

    split: Ints
    group: Keys
    rule: SplitRule
    conflicts: tuple[Conflict, ...]
    grouping: Grouping


def place_pairs(
    kept: Kept, staying: Ints, likeness: Likeness, settings: SplitRecipe, parent: Version | None
) -> Placed:
    """Decide the split of every pair among `staying` (numbers of kept pairs); the others are left out.

    With a parent its rule holds, and its prompts keep their splits; see `simpo.build.split`.
    """
    keys, groups = likeness.key, likeness.group
    by_key = np.argsort(keys)
    number = by_key[np.searchsorted(keys, kept.prompt, sorter=by_key)]  # of the prompt of each pair
    here, compact = np.unique(number[staying], return_inverse=True)
    group_of_pair = groups[number[staying]]
    lengths = kept.chosen[staying]
    edges = parent.manifest.split_rule.length_edges if parent else quartile_edges(lengths)
    names = kept.category_names()
    strata = strata_of_groups(group_of_pair, [names[pair] for pair in staying], lengths, edges)
    prompts = Prompts(
        key=keys[here],
        group=groups[here],
        stratum=[strata[group] for group in groups[here].tolist()],
        rows=np.bincount(compact, minlength=len(here)).astype(np.int64),
        old=np.full(len(here), NEW, dtype=np.int64) if parent is None else _old_splits(parent, keys[here]),
    )
    rule = parent.manifest.split_rule if parent else _new_rule(prompts, settings, edges)
    assigned = assign(prompts, rule)
    split = np.full(len(kept), LEFT_OUT, dtype=np.int64)
    group = np.zeros(len(kept), dtype=np.uint64)
    split[staying], group[staying] = assigned.split[compact], assigned.anchor[compact]
    inside = group[split != LEFT_OUT]
    sizes = np.unique(inside, return_counts=True)[1]
    grouping = Grouping(
        prompts=int((assigned.split != LEFT_OUT).sum()),
        groups=len(sizes),
        largest_rows=int(sizes.max(initial=0)),
    )
    return Placed(split, group, rule, assigned.conflicts, grouping)


def _new_rule(prompts: Prompts, settings: SplitRecipe, edges: tuple[float, float, float]) -> SplitRule:
    rule = SplitRule(
        seed=settings.seed,
        validation=settings.validation,
        test=settings.test,
        stratify=settings.stratify,
        group=settings.group,
        length_edges=edges,
        thresholds={},
    )
    if settings.stratify == "stable":
        return rule
    return rule.model_copy(update={"thresholds": exact_thresholds(prompts, rule)})


def _old_splits(parent: Version, keys: Keys) -> Ints:
    """The split that the parent has for each prompt; a prompt that it has in two counts for the first."""
    old = np.full(len(keys), NEW, dtype=np.int64)
    place = {int(key): number for number, key in enumerate(keys)}
    for code, split in enumerate(SPLITS):
        path = parent.file(split)
        if path is None:
            continue
        for row in iter_rows(path):
            if isinstance(row, Pair):
                number = place.get(asked(row.prompt, row.tools).key)
                if number is not None and old[number] == NEW:
                    old[number] = code
    return old


def strata_table(kept: Kept, split: Ints, edges: tuple[float, float, float]) -> tuple[Stratum, ...]:
    """The rows of each category and quartile of length in each split."""
    quartiles = quartile(kept.chosen, edges)
    names = kept.category_names()
    counts: dict[tuple[str | None, int], Counter[str]] = defaultdict(Counter)
    for number in np.flatnonzero(split != LEFT_OUT).tolist():
        counts[names[number], int(quartiles[number])][SPLITS[split[number]]] += 1
    ordered = sorted(counts, key=lambda one: (one[0] is None, one[0] or "", one[1]))
    return tuple(
        Stratum(category=name, quartile=which, rows={part: counts[name, which][part] for part in SPLITS})
        for name, which in ordered
    )
