"""The held-out side is decided by the prompt and the seed alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.data.split import split_by_prompt
from simpo.records import Message, Pair, Source


def pair(prompt: int, reply: int = 0) -> Pair:
    return Pair(
        (Message("user", f"prompt {prompt}"),), f"good {reply}", "bad", Source("rows.jsonl", reply + 1)
    )


rows_of = st.lists(st.builds(pair, st.integers(0, 8), st.integers(0, 3)), max_size=20)
fractions = st.floats(0, 1, exclude_max=True)


@given(rows=rows_of, fraction=fractions, seed=st.integers(0, 5))
def test_every_row_is_on_one_side_in_order_and_all_of_a_prompt_on_the_same(
    rows: list[Pair], fraction: float, seed: int
) -> None:
    train, held = split_by_prompt(rows, fraction, seed)
    sides = {row.prompt_id for row in train}, {row.prompt_id for row in held}
    assert not sides[0] & sides[1]
    assert list(train) == [row for row in rows if row.prompt_id in sides[0]]
    assert list(held) == [row for row in rows if row.prompt_id in sides[1]]
    if fraction > 0 and len({row.prompt_id for row in rows}) > 1:
        assert train and held


@given(fraction=st.floats(0.2, 0.8), seed=st.integers(0, 5), more=rows_of)
def test_adding_rows_moves_no_old_row(fraction: float, seed: int, more: list[Pair]) -> None:
    old = [pair(number) for number in range(60)]
    train, held = split_by_prompt(old, fraction, seed)
    new_train, new_held = split_by_prompt([*more, *old], fraction, seed)
    assert set(row.id for row in train) <= set(row.id for row in new_train)
    assert set(row.id for row in held) <= set(row.id for row in new_held)


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    rows = [pair(number) for number in range(200)]
    held = {row.id for row in split_by_prompt(rows, 0.2, 0)[1]}
    assert held == {row.id for row in split_by_prompt(rows[::-1], 0.2, 0)[1]}
    assert held != {row.id for row in split_by_prompt(rows, 0.2, 1)[1]}


def test_the_share_held_out_is_near_the_fraction() -> None:
    rows = [pair(number) for number in range(4000)]
    share = len(split_by_prompt(rows, 0.1)[1]) / len(rows)
    # Four standard deviations of a binomial share: 4 * sqrt(0.1 * 0.9 / 4000) = 0.019.
    assert abs(share - 0.1) < 0.019


def test_the_split_is_the_same_on_any_machine() -> None:
    rows = [pair(number) for number in range(12)]
    held = [row.prompt[0].content for row in split_by_prompt(rows, 0.25)[1]]
    assert held == ["prompt 3", "prompt 6", "prompt 8"]


def test_a_larger_fraction_holds_out_the_same_prompts_and_more() -> None:
    rows = [pair(number) for number in range(100)]
    small, large = ({row.id for row in split_by_prompt(rows, fraction)[1]} for fraction in (0.1, 0.3))
    assert small < large


def test_fraction_zero_holds_nothing_out_and_one_prompt_is_never_torn() -> None:
    rows = [pair(1, 0), pair(1, 1)]
    assert split_by_prompt(rows, 0) == (tuple(rows), ())
    assert () in split_by_prompt(rows, 0.5)
    assert split_by_prompt([], 0.5) == ((), ())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_its_domain_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
        split_by_prompt([pair(1)], fraction)
