"""Length matching: length alone says nothing in what is left, and no more is left out than must be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.matching import length_matched

lengths = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30)


def choosing_the_longer(chosen: np.ndarray, rejected: np.ndarray) -> float:
    return float((0.5 * (1 + np.sign(chosen - rejected))).mean())


def test_by_hand() -> None:
    # 20/10 goes with 10/19 (log 0.69 and 0.64); 90/10 has nobody; 5/5 favours neither side.
    assert length_matched([20, 90, 10, 5], [10, 10, 19, 5]).tolist() == [0, 2, 3]


@given(lengths)
def test_choosing_the_longer_is_right_for_half_of_what_is_left(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    kept = length_matched(chosen, rejected)
    assert kept.tolist() == sorted(set(kept.tolist()))
    if len(kept):
        assert choosing_the_longer(chosen[kept], rejected[kept]) == 0.5


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=7))
def test_as_many_are_matched_as_can_be(pairs: list[tuple[int, int]]) -> None:
    ratios = [math.log(a) - math.log(b) for a, b in pairs]
    longer = [ratio for ratio in ratios if ratio > 0]
    shorter = [-ratio for ratio in ratios if ratio < 0]
    few, many = sorted((longer, shorter), key=len)
    most = max(
        sum(abs(a - b) <= 0.3 for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    kept = length_matched([a for a, _ in pairs], [b for _, b in pairs], caliper=0.3)
    assert len(kept) == 2 * most + ratios.count(0.0)


def test_what_is_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="one \\[N\\]"):
        length_matched([1, 2], [1])
    with pytest.raises(ValueError, match="not positive"):
        length_matched([1, 0], [1, 1])
