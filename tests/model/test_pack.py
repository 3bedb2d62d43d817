"""Packs: every completion can be read back from the row, and no token is in it twice that need not be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.model.pack import Pack, num_packed_tokens, pack_groups
from simpo.records import Message, Pair, Source, TokenGroup

CPU = torch.device("cpu")
ROW = Pair((Message("user", "?"),), "yes", "no", Source("made.jsonl", 1))


def group(prompt: list[int], *completions: list[int]) -> TokenGroup:
    return TokenGroup(np.array(prompt, np.int32), tuple(np.array(ids, np.int32) for ids in completions), ROW)


# Three kinds of token, so that completions often begin alike and one is often the beginning of another.
ids = st.lists(st.integers(2, 4), min_size=1, max_size=6)
groups = st.builds(lambda p, c: group(p, *c), ids, st.lists(ids, min_size=1, max_size=5))
packs = st.lists(groups, min_size=1, max_size=8)


def branches(pack: Pack) -> list[tuple[list[int], list[int]]]:
    """(places, tokens) of each whole sequence: its block's prefix and its own branch."""
    found, start = [], 0
    for block in pack.layout.blocks:
        own = start + block.prefix
        for length in block.branches:
            places = [*range(start, start + block.prefix), *range(own, own + length)]
            found.append((places, pack.input_ids[0, places].tolist()))
            own += length
        start = own
    return found


@given(packs)
@settings(max_examples=30)
def test_every_sequence_is_in_the_row_with_its_positions_and_its_targets_after_what_predicts_them(
    drawn: list[TokenGroup],
) -> None:
    pack = pack_groups(drawn, CPU)
    sequences = [(g.prompt, completion) for g in drawn for completion in g.completions]
    assert pack.num_completions == len(sequences)
    for owner, ((prompt, completion), (places, tokens)) in enumerate(
        zip(sequences, branches(pack), strict=True)
    ):
        assert tokens == [*prompt, *completion]
        assert pack.position_ids[0, places].tolist() == list(range(len(places)))
        mine = pack.owner == owner
        order = pack.rows[pack.pick_row[mine]].argsort()
        assert pack.rows[pack.pick_row[mine]][order].tolist() == places[len(prompt) - 1 : -1]
        assert pack.targets[mine][order].tolist() == completion.tolist()
        assert int(pack.tokens[owner]) == len(completion)


@given(packs)
@settings(max_examples=30)
def test_the_row_is_as_long_as_it_is_said_to_be_and_never_longer_than_the_sequences(
    drawn: list[TokenGroup],
) -> None:
    pack = pack_groups(drawn, CPU)
    assert pack.layout.num_tokens == pack.input_ids.shape[1] == sum(num_packed_tokens(g) for g in drawn)
    assert pack.input_ids.shape[1] <= sum(len(g.prompt) + len(c) for g in drawn for c in g.completions)


@given(packs)
@settings(max_examples=30)
def test_rows_and_picks_ascend_and_every_row_is_picked_from(drawn: list[TokenGroup]) -> None:
    pack = pack_groups(drawn, CPU)
    assert bool((pack.rows.diff() > 0).all()) and bool((pack.pick_row.diff() >= 0).all())
    assert set(pack.pick_row.tolist()) == set(range(len(pack.rows)))


@pytest.mark.parametrize(
    ("made", "prefix", "own"),
    [
        (group([5, 6, 7], [8, 9], [9]), 3, (2, 1)),
        (group([5, 6, 7], [8, 9, 2], [8, 9, 3, 2]), 5, (1, 2)),  # answers that begin alike
        (group([5, 6, 7], [8, 9], [8]), 3, (2, 1)),  # one the beginning of the other keeps a token of its own
        (group([5], [8], [9]), 1, (1, 1)),
        (group([5, 6], [8, 9]), 3, (1,)),
    ],
)
def test_what_begins_alike_is_held_once(made: TokenGroup, prefix: int, own: tuple[int, ...]) -> None:
    (block,) = pack_groups([made], CPU).layout.blocks
    assert (block.prefix, block.branches) == (prefix, own)
