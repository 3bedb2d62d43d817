"""A batch divided among ranks: nothing lost, nothing twice, and nobody has much more to do than the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.data.batches import micro_batches, micro_batches_of_tokens
from simpo.records import TokenGroup
from simpo.runs.ranks import ALONE, Ranks
from simpo.train.balance import Division, divide, own_turns
from tests.model.made import make_group

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=40)


def groups_of(lengths: list[int]) -> list[TokenGroup]:
    return [make_group(2, length, 1, seed=number) for number, length in enumerate(lengths)]


def tokens(groups: Sequence[TokenGroup]) -> int:
    return sum(group.longest for group in groups)


def cost(group: TokenGroup) -> float:
    return float(group.longest)


def shares(division: Division, size: int) -> list[list[TokenGroup]]:
    """What each rank is given."""
    own = [own_turns(division.batches, Ranks(rank, size)) for rank in range(size)]
    return [[group for batch in batches for group in batch] for batches in own]


@given(LENGTHS, st.integers(2, 9), st.integers(1, 500))
def test_every_group_is_dealt_once_and_every_rank_has_as_many_turns(
    lengths: list[int], size: int, budget: int
) -> None:
    groups = groups_of(lengths)
    division = divide(groups, Ranks(0, size), lambda own: micro_batches_of_tokens(own, budget, tokens), cost)
    assert len(division.batches) % size == 0
    dealt = [group for share in shares(division, size) for group in share]
    assert sorted(map(id, dealt)) == sorted(map(id, groups))


@given(LENGTHS, st.integers(2, 9))
def test_no_rank_has_more_than_four_thirds_of_the_best_that_could_be(lengths: list[int], size: int) -> None:
    """Graham's bound for the longest first; the best possible is at least the mean and the longest group."""
    groups = groups_of(lengths)
    division = divide(groups, Ranks(0, size), lambda own: micro_batches(own, 4), cost)
    loads = [sum(map(cost, share)) for share in shares(division, size)]
    total = sum(map(cost, groups))
    longest = sorted(map(cost, groups), reverse=True)
    two_of_the_first = longest[size - 1] + longest[size] if len(longest) > size else 0.0
    assert max(loads) <= 4 / 3 * max(total / size, longest[0], two_of_the_first) + 1e-9
    assert division.imbalance == pytest.approx(max(loads) / (total / size) - 1)


def test_pairs_of_all_lengths_are_dealt_within_a_few_percent() -> None:
    division = divide(groups_of(list(range(20, 148))), Ranks(0, 8), lambda own: micro_batches(own, 4), cost)
    assert division.imbalance < 0.02


def test_fewer_groups_than_ranks_leave_ranks_with_empty_turns() -> None:
    division = divide(groups_of([5, 9]), Ranks(0, 4), lambda own: micro_batches(own, 8), cost)
    assert sorted(len(batch) for batch in division.batches) == [0, 0, 1, 1]
    assert division.imbalance == pytest.approx(12 / (20 / 4) - 1, abs=1)


def test_one_rank_cuts_what_it_is_given_as_it_always_has() -> None:
    groups = groups_of([7, 30, 12, 4, 90])
    division = divide(groups, ALONE, lambda own: micro_batches(own, 2), cost)
    assert list(division.batches) == list(micro_batches(groups, 2)) and division.imbalance == 0.0
