"""Accuracy, AUC and logistic models of pairs: hand numbers, slow definitions, an optimiser of scipy, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from simpo.core.ranking import auc, fit_pairs, pair_accuracy, pair_auc

scores = st.lists(st.integers(-3, 3), min_size=1, max_size=30)


def test_auc_by_hand() -> None:
    # Of 6 comparisons 4 are won, one is a tie, one is lost.
    assert auc([3, 2], [1, 2, 2.5]) == pytest.approx(4.5 / 6)


@given(scores, scores)
def test_auc_is_mann_and_whitneys_u(high: list[int], low: list[int]) -> None:
    expected = stats.mannwhitneyu(high, low, method="asymptotic").statistic if set(high + low) else 0
    assert auc(high, low) == pytest.approx(expected / (len(high) * len(low)))


def test_auc_of_nothing_is_no_number() -> None:
    assert math.isnan(auc([], [1.0]))


@given(scores)
def test_auc_of_pairs_is_that_of_the_pairs_in_both_orders(differences: list[int]) -> None:
    d = np.array(differences)
    assert pair_auc(d, np.arange(len(d))).value == pytest.approx(auc(d, -d))


@given(scores)
def test_turning_all_pairs_mirrors_accuracy_and_auc(differences: list[int]) -> None:
    d, clusters = np.array(differences), np.arange(len(differences))
    assert pair_auc(-d, clusters).value == pytest.approx(1 - pair_auc(d, clusters).value)
    assert pair_accuracy(-d, clusters).value == pytest.approx(1 - pair_accuracy(d, clusters).value)


def test_the_auc_of_pairs_covers_the_truth() -> None:
    # d normal with mean 0.5 and deviation 1, two pairs of a prompt sharing half of the variance: d_i + d_j > 0 for
    # independent i, j with the probability that a normal of mean 1 and variance 2 is positive.
    truth = float(stats.norm.cdf(1 / math.sqrt(2)))
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(150), 2)
    covered = 0
    for _ in range(300):
        d = 0.5 + math.sqrt(0.5) * (np.repeat(rng.normal(size=150), 2) + rng.normal(size=300))
        found = pair_auc(d, clusters)
        covered += found.low <= truth <= found.high
    assert covered >= 268  # fewer would come once in 1,000 times


def test_a_logistic_model_by_hand() -> None:
    # 3 pairs won at d = 1 and 1 at d = -1: sigmoid(w) = 3 / 4, w = log 3; w's variance is 1 / (4 * 3/16).
    fit = fit_pairs([[1.0], [1.0], [1.0], [-1.0]])
    assert fit.weights[0] == pytest.approx(math.log(3))
    assert fit.covariance[0, 0] == pytest.approx(1 / 0.75)
    (at_half,) = fit.chances([[0.5]])
    assert at_half.value == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))
    low = math.exp(0.5 * (math.log(3) - 1.959964 / math.sqrt(0.75)))
    assert at_half.low == pytest.approx(low / (1 + low))


@pytest.mark.parametrize("ridge", [0.0, 0.5, 20.0])
def test_newton_finds_what_a_general_optimiser_finds(ridge: float) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal([0.5, 0, -0.2, 0], size=(200, 4))

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -x @ w).sum() + ridge / 2 * w @ w)

    expected = optimize.minimize(loss, np.zeros(4), tol=1e-10)
    assert fit_pairs(x, ridge=ridge).weights == pytest.approx(expected.x, abs=1e-4)


def test_separated_pairs_are_refused_without_a_ridge() -> None:
    with pytest.raises(ValueError, match="ridge"):
        fit_pairs([[1.0], [2.0]])
    assert fit_pairs([[1.0], [2.0]], ridge=1.0).weights[0] > 0


def test_a_column_that_never_differs_is_refused_without_a_ridge() -> None:
    with pytest.raises(ValueError, match="constant"):
        fit_pairs([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])


def test_repeated_pairs_do_not_narrow_the_clustered_error() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(120, 1)) + 0.3
    once = fit_pairs(x)
    thrice = fit_pairs(np.repeat(x, 3, axis=0), np.repeat(np.arange(120), 3))
    assert thrice.weights == pytest.approx(once.weights)
    assert thrice.covariance == pytest.approx(once.covariance)
