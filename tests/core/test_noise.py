"""The share of turned labels: found where scores are sure, left open where they are not, covered by its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simpo.core.intervals import Interval
from simpo.core.noise import MAX_RATE, Noise, fit_noise


def _scores(rng: np.random.Generator, n: int, *, rate: float, spread: float) -> np.ndarray:
    """Scores of n labelled pairs: log-odds of a clean label, of which a share `rate` was turned afterwards."""
    log_odds = rng.normal(0, spread, n)
    agrees = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    agrees ^= rng.random(n) < rate
    return np.where(agrees, log_odds, -log_odds)


def test_bayes_rule_by_hand() -> None:
    # Rate 0.1; at log-odds log 4 the chosen reply is better with 0.8: turned 0.1 * 0.2, right 0.9 * 0.8.
    noise = Noise(Interval(0.1, 0.05, 0.15), 2.0, bounded=True)
    found = noise.wrong([math.log(4) / 2, -math.log(4) / 2, 0.0])
    assert found == pytest.approx([0.02 / 0.74, 0.08 / 0.26, 0.1])


def test_without_noise_no_label_is_suspected() -> None:
    noise = Noise(Interval(0.0, 0.0, 0.1), 1.0, bounded=False)
    assert noise.wrong([-30.0, 0.0, 30.0]) == pytest.approx([0, 0, 0])


def test_turned_labels_are_counted_where_scores_are_sure() -> None:
    found = fit_noise(_scores(np.random.default_rng(0), 6000, rate=0.08, spread=4.0) / 1.5, np.arange(6000))
    assert found.bounded
    assert found.rate.low <= 0.08 <= found.rate.high
    assert found.rate.high - found.rate.low < 0.03
    assert found.slope == pytest.approx(1.5, rel=0.15)


def test_where_scores_are_unsure_the_rate_is_left_open() -> None:
    found = fit_noise(_scores(np.random.default_rng(1), 800, rate=0.2, spread=0.4), np.arange(800))
    assert not found.bounded
    assert found.rate.low == 0 or found.rate.high == MAX_RATE


def test_a_score_whose_size_means_nothing_bounds_nothing() -> None:
    # Right in 70 % of the pairs, however large it is: no noise of 30 %, but a poor score.
    rng = np.random.default_rng(5)
    found = fit_noise(np.where(rng.random(2000) < 0.7, 1, -1) * rng.exponential(1.0, 2000), np.arange(2000))
    assert not found.bounded


def test_the_interval_covers_the_rate() -> None:
    # Of 60 sets 95 % should be covered; fewer than 50 would come once in 1,000 times.
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        found = fit_noise(_scores(rng, 1000, rate=0.05, spread=2.5), np.arange(1000))
        covered += found.rate.low <= 0.05 <= found.rate.high
    assert covered >= 50


def test_repeated_pairs_of_a_prompt_narrow_nothing() -> None:
    scores = _scores(np.random.default_rng(3), 600, rate=0.1, spread=4.0)
    once = fit_noise(scores, np.arange(600))
    thrice = fit_noise(np.repeat(scores, 3), np.repeat(np.arange(600), 3))
    assert thrice.rate.low == pytest.approx(once.rate.low, abs=0.003)
    assert thrice.rate.high == pytest.approx(once.rate.high, abs=0.003)


def test_bins_of_many_scores_lose_nothing() -> None:
    scores = _scores(np.random.default_rng(4), 2000, rate=0.1, spread=3.0)
    once, many = (
        fit_noise(scores, np.arange(2000)),
        fit_noise(np.tile(scores, 4), np.tile(np.arange(2000), 4)),
    )
    assert many.rate.value == pytest.approx(once.rate.value, abs=0.003)


@pytest.mark.parametrize("scores", [[], [math.nan], [[1.0]]])
def test_what_is_no_list_of_scores_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_noise(scores, np.arange(len(scores)))
