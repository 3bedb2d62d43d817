"""Batches of like lengths, bounded in number and memory; what comes back is in the order that went in."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.core.logps import SequenceLogps
from simpo.evaluate.scoring import length_batches, score_in_batches
from simpo.records import Message, Pair, Source, TokenGroup

shapes = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=25
)


def _group(prompt: int, chosen: int, rejected: int) -> TokenGroup:
    pair = Pair((Message("user", "a"),), "yes", "no", Source("held-out.jsonl", 1))
    ids = [np.zeros(length, dtype=np.int32) for length in (prompt, chosen, rejected)]
    return TokenGroup(ids[0], (ids[1], ids[2]), pair)


def _lengths(groups: object) -> SequenceLogps:
    lengths = [len(completion) for group in groups for completion in group.completions]  # type: ignore[attr-defined]
    return SequenceLogps(-torch.tensor(lengths, dtype=torch.float32), torch.tensor(lengths))


def test_a_batch_is_cut_where_its_logits_would_be_too_many() -> None:
    # Spans from the end of the prompt: 9 for two groups, 36 logits of a vocabulary of 1; a third would make 54.
    groups = [_group(1, 9, 5)] * 3
    assert length_batches(groups, batch_size=8, vocab_size=1, max_logits=36) == [[0, 1], [2]]
    assert length_batches(groups, batch_size=8, vocab_size=1, max_logits=54) == [[0, 1, 2]]
    assert length_batches(groups, batch_size=1, vocab_size=1) == [[0], [1], [2]]


def test_a_group_that_alone_is_too_large_is_scored_alone() -> None:
    assert length_batches([_group(5, 100, 100)] * 2, batch_size=8, vocab_size=10, max_logits=3) == [[0], [1]]


@given(shapes, st.integers(1, 6), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_every_group_is_in_one_batch_and_batches_keep_their_bounds(
    drawn: list[tuple[int, int, int]], batch_size: int, max_logits: int
) -> None:
    groups = [_group(*shape) for shape in drawn]
    batches = length_batches(groups, batch_size=batch_size, vocab_size=1, max_logits=max_logits)
    assert sorted(index for batch in batches for index in batch) == list(range(len(groups)))
    for batch in batches:
        span = max(groups[index].longest for index in batch) - min(
            len(groups[index].prompt) for index in batch
        )
        assert len(batch) == 1 or (len(batch) <= batch_size and 2 * len(batch) * span <= max_logits)
    longest = [groups[index].longest for batch in batches for index in batch]
    assert longest == sorted(longest, reverse=True)


@given(shapes, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_results_come_in_the_order_of_the_groups(drawn: list[tuple[int, int, int]], batch_size: int) -> None:
    groups = [_group(*shape) for shape in drawn]
    batches = length_batches(groups, batch_size=batch_size, vocab_size=1)
    found = score_in_batches(_lengths, groups, batches)
    assert found.tokens.tolist() == _lengths(groups).tokens.tolist()


def test_what_a_scorer_gives_in_float64_comes_back_in_float32_without_a_graph() -> None:
    def scorer(groups: object) -> SequenceLogps:
        found = _lengths(groups)
        return SequenceLogps(found.total.double().requires_grad_(), found.tokens)

    found = score_in_batches(scorer, [_group(1, 2, 3)], [[0]])
    assert (found.total.dtype, found.total.requires_grad) == (torch.float32, False)
