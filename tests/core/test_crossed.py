"""Intervals over seeds and prompts: the variance by hand, and that they hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.interval_coverage import cases
from simpo.core.crossed import crossed_difference, crossed_mean
from simpo.core.intervals import paired_difference, share_interval

PROMPTS = [f"p{at // 2}" for at in range(40)]
RIGHT = (np.arange(40) % 3 > 0).astype(float)
WORSE = (np.arange(40) % 4 > 1).astype(float)


def test_one_seed_gives_the_interval_over_prompts() -> None:
    assert crossed_mean([RIGHT], PROMPTS) == share_interval(RIGHT, PROMPTS)
    expected = paired_difference(RIGHT, WORSE, PROMPTS, bounds=(0.0, 1.0))
    assert crossed_difference([RIGHT], [WORSE], PROMPTS) == expected


def test_seeds_that_agree_add_nothing() -> None:
    found = crossed_difference([RIGHT] * 3, [WORSE] * 3, PROMPTS)
    alone = crossed_difference([RIGHT], [WORSE], PROMPTS)
    assert found.value == alone.value
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)


def test_the_variance_of_seeds_and_prompts_add_up_by_hand() -> None:
    # Every prompt alike, so that all variance is between seeds: means 0.5, 0.6, 0.7 of ten prompts with one pair.
    values = [[0.5] * 10, [0.6] * 10, [0.7] * 10]
    found = crossed_difference(values, [[0.4] * 10, [0.4] * 10], range(10), bounds=None)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))


def test_both_parts_give_satterthwaites_degrees_of_freedom() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(1.0, 1.0, (3, 50)), rng.normal(0.0, 1.0, (4, 50))
    items = (a.mean(0) - b.mean(0)).var(ddof=1) / 50
    parts = [(items, 49), (a.mean(1).var(ddof=1) / 3, 2), (b.mean(1).var(ddof=1) / 4, 3)]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / f for v, f in parts)
    found = crossed_difference(a, b, range(50), bounds=None)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


def test_seeds_that_differ_widen_the_interval() -> None:
    flipped = 1 - RIGHT
    calm = crossed_mean([RIGHT, RIGHT, RIGHT], PROMPTS)
    wild = crossed_mean([RIGHT, flipped, RIGHT], PROMPTS)
    assert wild.high - wild.low > 2 * (calm.high - calm.low)
    assert 0 <= wild.low <= wild.value <= wild.high <= 1


def test_every_pair_right_in_every_seed_is_no_certainty() -> None:
    found = crossed_mean(np.ones((3, 20)), range(20))
    assert found.value == found.high == 1.0
    assert found.low == share_interval(np.ones(20), range(20)).low < 0.9


@pytest.mark.parametrize(
    "values", [[1.0, 0.0], [[1.0, 0.0]] * 2, [[1.0, float("nan"), 0.0]], [[2.0, 0.0, 0.0]]]
)
def test_what_is_no_matrix_of_outcomes_is_refused(values: list[object]) -> None:
    with pytest.raises(ValueError, match=r"\[K, N\]|finite|outside"):
        crossed_mean(values, "abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", range(len(cases())))
def test_intervals_of_95_percent_hold_the_truth_about_as_often(place: int) -> None:
    # 250 data sets: 95 % within 4.1 points (three standard errors). The script that this is a part of draws 2,000.
    case = cases(resamples=400)[place]
    assert 0.90 <= case.coverage(250, seed=1) <= 0.995, case.name
