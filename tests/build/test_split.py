"""Which split a group goes to: by its own hash alone, or where the parent has it; never in two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.build.split import (
    LEFT_OUT,
    NEW,
    TEST,
    TRAIN,
    VALIDATION,
    Prompts,
    assign,
    exact_thresholds,
    place,
    quartile,
    quartile_edges,
    strata_of_groups,
    thresholds,
)
from simpo.data.manifest import SplitRule


def rule(
    *,
    validation: float = 0.2,
    test: float = 0.1,
    seed: int = 0,
    stratify: Literal["stable", "exact"] = "stable",
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> SplitRule:
    return SplitRule(
        seed=seed,
        validation=validation,
        test=test,
        stratify=stratify,
        group="near",
        length_edges=(1.0, 2.0, 3.0),
        thresholds=dict(limits or {}),
    )


@dataclass(frozen=True)
class World:
    """Prompts by key, which of them are near to each other, and where each was; rows of a prompt: key % 3 + 1."""

    keys: tuple[int, ...]
    links: tuple[tuple[int, int], ...]

    def prompts(self, old: Mapping[int, int], stratum: str = "1") -> Prompts:
        label = {key: number for number, key in enumerate(self.keys)}
        for _ in self.keys:
            for one, other in self.links:
                low = min(label[one], label[other])
                label[one] = label[other] = low
        return made(self.keys, [label[key] for key in self.keys], [stratum] * len(self.keys), old)


def made(
    keys: Sequence[int], groups: Sequence[int], strata: Sequence[str], old: Mapping[int, int] | None = None
) -> Prompts:
    return Prompts(
        key=np.array(keys, dtype=np.uint64),
        group=np.array(groups, dtype=np.int64),
        stratum=list(strata),
        rows=np.array([key % 3 + 1 for key in keys], dtype=np.int64),
        old=np.array([(old or {}).get(key, NEW) for key in keys], dtype=np.int64),
    )


def placed(prompts: Prompts, by: SplitRule) -> dict[int, int]:
    return dict(zip(prompts.key.tolist(), assign(prompts, by).split.tolist(), strict=True))


@st.composite
def worlds(draw: st.DrawFn, most: int = 24) -> World:
    keys = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=most, unique=True))
    ends = st.sampled_from(keys)
    links = draw(st.lists(st.tuples(ends, ends), max_size=most // 2))
    return World(tuple(keys), tuple(links))


@given(worlds(), st.integers(0, 3))
def test_a_group_is_in_one_split_and_the_order_of_the_prompts_says_nothing(world: World, seed: int) -> None:
    prompts = world.prompts({})
    split = placed(prompts, rule(seed=seed))
    for one, other in world.links:
        assert split[one] == split[other]
    turned = World(world.keys[::-1], world.links[::-1])
    assert placed(turned.prompts({}), rule(seed=seed)) == split


@given(worlds(), worlds())
def test_without_a_parent_no_group_moves_that_gets_no_new_prompt(old: World, added: World) -> None:
    before = placed(old.prompts({}), rule())
    grown = World(tuple(dict.fromkeys((*old.keys, *added.keys))), (*old.links, *added.links))
    after = placed(grown.prompts({}), rule())
    new = set(added.keys) - set(old.keys)
    group = dict(zip(grown.prompts({}).key.tolist(), grown.prompts({}).group.tolist(), strict=True))
    own = dict(zip(old.prompts({}).key.tolist(), old.prompts({}).group.tolist(), strict=True))
    for key in old.keys:
        with_it = {other for other in grown.keys if group[other] == group[key]}
        if with_it == {other for other in old.keys if own[other] == own[key]} and not with_it & new:
            assert after[key] == before[key]


@st.composite
def grown_worlds(draw: st.DrawFn) -> tuple[World, World]:
    """A world, and the same with more prompts, of which some are near to old ones."""
    old = draw(worlds())
    new = draw(st.lists(st.integers(0, 2**64 - 1), max_size=12, unique=True))
    new = [key for key in new if key not in old.keys]
    keys = (*old.keys, *new)
    ends = st.tuples(st.sampled_from(keys), st.sampled_from(new)) if new else st.nothing()
    links = draw(st.lists(ends, max_size=12)) if new else []
    return old, World(keys, (*old.links, *links))


@given(grown_worlds())
def test_with_a_parent_no_prompt_of_it_ever_moves_and_no_group_is_in_two_splits(
    worlds: tuple[World, World],
) -> None:
    old, grown = worlds
    before = placed(old.prompts({}), rule())
    prompts = grown.prompts(before)
    result = assign(prompts, rule())
    after = dict(zip(prompts.key.tolist(), result.split.tolist(), strict=True))
    assert {key: after[key] for key in old.keys} == before
    inside: dict[int, set[int]] = {}
    for key, group in zip(prompts.key.tolist(), prompts.group.tolist(), strict=True):
        inside.setdefault(group, set()).add(after[key])
    torn = [splits - {LEFT_OUT} for splits in inside.values() if len(splits - {LEFT_OUT}) > 1]
    assert len(result.conflicts) == len(torn)
    # What is new in a torn group is left out, so that what stays was apart in the parent too.
    for one, other in grown.links:
        if after[one] != after[other]:
            assert LEFT_OUT in (after[one], after[other])
            assert {key for key in (one, other) if after[key] == LEFT_OUT} <= set(grown.keys) - set(old.keys)


def test_a_new_prompt_near_to_one_of_the_parent_goes_where_that_is_whatever_its_own_hash() -> None:
    for split in (TRAIN, VALIDATION, TEST):
        assert placed(World((5, 1), ((5, 1),)).prompts({5: split}), rule())[1] == split


def test_a_new_prompt_that_joins_two_old_groups_is_left_out_and_the_conflict_listed() -> None:
    """10 - 20 - 30, of which 10 is trained on and 30 tested: near to both, 20 can be in neither."""
    world = World((10, 20, 30), ((10, 20), (20, 30)))
    result = assign(world.prompts({10: TRAIN, 30: TEST}), rule())
    assert result.split.tolist() == [TRAIN, LEFT_OUT, TEST]
    (conflict,) = result.conflicts
    assert conflict.splits == ("train", "test")
    assert (conflict.prompts, conflict.rows_left_out, conflict.group) == (3, 20 % 3 + 1, f"{10:016x}")
    assert result.anchor.tolist() == [10, 20, 30]  # and the two parts are groups of their own


def test_a_new_prompt_that_joins_two_old_groups_of_one_split_joins_them() -> None:
    result = assign(World((10, 20, 30), ((10, 20), (20, 30))).prompts({10: TEST, 30: TEST}), rule())
    assert result.split.tolist() == [TEST] * 3 and result.conflicts == ()
    assert result.anchor.tolist() == [10] * 3


def test_places_are_even_and_differ_by_seed() -> None:
    places = np.array([place(number, 0) for number in range(20_000)])
    assert places.min() >= 0 and places.max() < 1
    counts = np.histogram(places, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)
    others = np.array([place(number, 1) for number in range(20_000)])
    assert abs(np.corrcoef(places, others)[0, 1]) < 5 / math.sqrt(20_000)


def test_stable_gives_each_split_its_share_up_to_chance() -> None:
    split = placed(made(range(20_000), range(20_000), ["1"] * 20_000), rule())
    counts = Counter(split.values())
    for code, share in ((TRAIN, 0.7), (VALIDATION, 0.2), (TEST, 0.1)):
        assert abs(counts[code] - 20_000 * share) < 4 * math.sqrt(20_000 * share * (1 - share))


strata_of_many = st.lists(
    st.tuples(st.sampled_from(["1/a", "2/a", "1/b", "3"]), st.integers(0, 40)), min_size=1, max_size=120
)


@given(strata_of_many, st.integers(0, 3))
def test_exact_gives_each_stratum_its_shares_as_nearly_as_groups_allow(
    rows: list[tuple[str, int]], seed: int
) -> None:
    """Off by half a group at most, and over all strata too, for what is off in one is made up in the next."""
    group_stratum: dict[int, str] = {}
    for stratum, group in rows:
        group_stratum.setdefault(group, stratum)
    keys = list(range(1, len(rows) + 1))
    groups = [group for _, group in rows]
    prompts = made(keys, groups, [group_stratum[group] for group in groups])
    base = rule(seed=seed, stratify="exact")
    exact = base.model_copy(update={"thresholds": exact_thresholds(prompts, base)})
    split = assign(prompts, exact).split
    sizes = Counter[int]()
    for key, group in zip(keys, groups, strict=True):
        sizes[group] += key % 3 + 1
    largest = max(sizes.values())
    total = sum(sizes.values())
    for code, share in ((VALIDATION, 0.2), (TEST, 0.1)):
        got = int(prompts.rows[split == code].sum())
        assert abs(got - share * total) <= largest / 2 + 1e-9 or (code == VALIDATION and got < share * total)
    for stratum in set(group_stratum.values()):
        inside = np.array([name == stratum for name in prompts.stratum])
        here = int(prompts.rows[inside].sum())
        got = int(prompts.rows[inside & (split == TEST)].sum())
        assert abs(got - 0.1 * here) <= largest + 1e-9


def test_exact_splits_of_single_rows_are_exact() -> None:
    count = 1000
    strata = ["1/a" if number % 4 else "1/b" for number in range(count)]
    prompts = Prompts(
        key=np.arange(1, count + 1, dtype=np.uint64),
        group=np.arange(count, dtype=np.int64),
        stratum=strata,
        rows=np.ones(count, dtype=np.int64),
        old=np.full(count, NEW, dtype=np.int64),
    )
    base = rule(stratify="exact")
    exact = base.model_copy(update={"thresholds": exact_thresholds(prompts, base)})
    split = assign(prompts, exact).split
    for name, size in (("1/a", 750), ("1/b", 250)):
        inside = np.array(strata) == name
        assert [int((split[inside] == code).sum()) for code in (TRAIN, VALIDATION, TEST)] == [
            round(size * share) for share in (0.7, 0.2, 0.1)
        ]


@given(st.integers(1, 30), st.integers(0, 5))
def test_exact_thresholds_are_the_shares_where_these_split_as_well(count: int, seed: int) -> None:
    """So that groups which come later get the shares, not what a handful of groups happened to need."""
    prompts = made(range(1, count + 1), range(count), ["1"] * count)
    base = rule(seed=seed, stratify="exact")
    low, high = exact_thresholds(prompts, base)["1"]
    assert 0 <= low <= high <= 1
    places = sorted(place(key, seed) for key in range(1, count + 1))
    between = [at for at in places if min(low, 0.1) <= at < max(low, 0.1)]
    # Either the share itself, or a place beside one of the groups that had to be on the other side.
    assert low == 0.1 or between


def test_groups_that_come_later_are_split_by_the_thresholds_of_the_first_build() -> None:
    first = made(range(1, 41), range(40), ["1"] * 40)
    base = rule(stratify="exact")
    exact = base.model_copy(update={"thresholds": exact_thresholds(first, base)})
    before = placed(first, exact)
    later = made(range(1, 2001), range(2000), ["1"] * 2000)
    after = placed(later, exact)
    assert {key: after[key] for key in before} == before
    assert thresholds(exact, "4/unknown") == (0.1, pytest.approx(0.3))


def test_a_split_without_a_share_gets_nothing() -> None:
    for how in ("stable", "exact"):
        base = rule(validation=0.0, test=0.0, stratify=how)
        prompts = made(range(1, 201), range(200), ["1"] * 200)
        limits = exact_thresholds(prompts, base) if how == "exact" else {}
        assert set(placed(prompts, base.model_copy(update={"thresholds": limits})).values()) == {TRAIN}


def test_quartiles_are_lengths_of_pairs_and_an_edge_belongs_to_the_lower_one() -> None:
    edges = quartile_edges([1, 2, 3, 4, 5, 6, 7, 8])
    assert edges == (2, 4, 6)
    assert quartile([1, 2, 3, 4, 5, 6, 7, 100], edges).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


def test_the_stratum_of_a_group_is_its_most_frequent_category_and_its_median_length() -> None:
    strata = strata_of_groups(
        np.array([0, 0, 0, 1, 1, 2]),
        ["b", "a", "b", "a", "b", None],
        np.array([1, 3, 9, 2, 2, 5]),
        (2.0, 4.0, 6.0),
    )
    assert strata == {0: "2/b", 1: "1/a", 2: "3"}
