"""The order of training: each row once an epoch, decided by seed and step alone; micro-batches lose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.data.batches import BatchOrder, micro_batches, micro_batches_of_tokens
from simpo.records import Message, Pair, Source, TokenGroup

rows = st.integers(1, 60)
sizes = st.integers(1, 20)
seeds = st.integers(0, 2**32)


def epoch(order: BatchOrder, number: int) -> list[int]:
    steps = range(number * order.steps_per_epoch, (number + 1) * order.steps_per_epoch)
    return [row for step in steps for row in order.batch(step)]


@given(rows, sizes, seeds)
def test_an_epoch_holds_each_row_once_in_full_batches_but_the_last(
    num_rows: int, size: int, seed: int
) -> None:
    order = BatchOrder(num_rows, size, seed)
    for number in range(3):
        assert sorted(epoch(order, number)) == list(range(num_rows))
    lengths = [len(order.batch(step)) for step in range(order.steps_per_epoch)]
    assert set(lengths[:-1]) <= {size}
    assert lengths[-1] == (num_rows % size or size if num_rows >= size else num_rows)


@given(rows, sizes, seeds, st.lists(st.integers(0, 200), min_size=1, max_size=10))
def test_a_step_is_the_same_whatever_was_asked_before(
    num_rows: int, size: int, seed: int, steps: list[int]
) -> None:
    order = BatchOrder(num_rows, size, seed)
    assert [order.batch(step) for step in steps] == [
        BatchOrder(num_rows, size, seed).batch(step) for step in steps
    ]


def test_the_order_is_pinned() -> None:
    # A run that was begun with one version must be resumed by another with the rows it would have taken.
    order = BatchOrder(10, 4, seed=7)
    assert [order.batch(step) for step in range(4)] == PINNED


PINNED = [[8, 0, 7, 1], [3, 6, 2, 4], [5, 9], [9, 0, 8, 6]]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = BatchOrder(50, 8, seed=0)
    orders = [epoch(order, 0), epoch(order, 1), epoch(BatchOrder(50, 8, seed=1), 0), list(range(50))]
    assert len({tuple(found) for found in orders}) == 4


def test_the_size_of_a_batch_does_not_change_the_order_of_the_rows() -> None:
    assert epoch(BatchOrder(50, 8, seed=3), 1) == epoch(BatchOrder(50, 1, seed=3), 1)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps"),
    [(1, None, 4), (2.5, None, 10), (0.01, None, 1), (3, 5, 5), (1, 9, 4), (0.3, None, 1)],
)
def test_steps_are_counted_from_epochs(epochs: float, max_steps: int | None, steps: int) -> None:
    assert BatchOrder(32, 8, seed=0).num_steps(epochs, max_steps) == steps


@pytest.mark.parametrize(("num_rows", "size"), [(0, 1), (1, 0)])
def test_nothing_makes_no_batches(num_rows: int, size: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        BatchOrder(num_rows, size, seed=0)


def _group(number: int, prompt: int, completion: int) -> TokenGroup:
    row = Pair((Message("user", str(number)),), "yes", "no", Source("pairs.jsonl", number + 1))
    return TokenGroup(
        np.zeros(prompt, np.int32), (np.zeros(completion, np.int32), np.zeros(1, np.int32)), row
    )


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=20), sizes)
def test_micro_batches_hold_each_group_once_the_longest_first(
    shapes: list[tuple[int, int]], size: int
) -> None:
    groups = [_group(number, *shape) for number, shape in enumerate(shapes)]
    cut = list(micro_batches(groups, size))
    assert sorted(group.row.source.line for part in cut for group in part) == [
        n + 1 for n in range(len(groups))
    ]
    assert all(1 <= len(part) <= size for part in cut)
    longest = [group.longest for part in cut for group in part]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=20), st.integers(1, 120))
def test_a_budget_of_tokens_is_kept_and_used_up(shapes: list[tuple[int, int]], budget: int) -> None:
    groups = [_group(number, *shape) for number, shape in enumerate(shapes)]

    def tokens(some: Sequence[TokenGroup]) -> int:
        return sum(group.longest for group in some)

    cut = list(micro_batches_of_tokens(groups, budget, tokens))
    assert [group.longest for part in cut for group in part] == sorted(
        (group.longest for group in groups), reverse=True
    )
    assert {group.row.source.line for part in cut for group in part} == {n + 1 for n in range(len(groups))}
    assert all(tokens(part) <= budget or len(part) == 1 for part in cut)
    assert all(tokens([*part, following[0]]) > budget for part, following in pairwise(cut))
