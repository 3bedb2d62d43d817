"""Intervals: hand-worked numbers, scipy, coverage by simulation, and honesty where a bootstrap claims certainty."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simpo.core.intervals import (
    Interval,
    cluster_bootstrap,
    paired_difference,
    share_interval,
    wilson,
)

outcomes = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 5)), min_size=1, max_size=40)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 20), (1, 7), (50, 100), (63, 64), (64, 64)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_scipy(successes: int, n: int, level: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    found = wilson(successes, n, level=level)
    assert found.value == successes / n
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: centre (0.8 + 0.19208) / 1.38416 = 0.71674,
    # half 1.96 / 1.38416 * sqrt(0.016 + 0.009604) = 0.22658
    found = wilson(8, 10)
    assert (found.low, found.high) == pytest.approx((0.49016, 0.94332), abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes of"):
        wilson(successes, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_between_0_and_1(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=level)


def test_independent_values_get_the_interval_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=400)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=2
    ).confidence_interval
    found = cluster_bootstrap(values, range(400), num_resamples=4000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)


def test_copies_of_a_prompts_pair_are_no_new_evidence() -> None:
    values = np.random.default_rng(3).random(60)
    once = cluster_bootstrap(values, range(60))
    thrice = cluster_bootstrap(np.repeat(values, 3), np.repeat(np.arange(60), 3).tolist())
    blind = cluster_bootstrap(np.repeat(values, 3), range(180))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert blind.high - blind.low < 0.7 * (once.high - once.low)


def test_a_large_cluster_weighs_by_its_pairs() -> None:
    # Cluster a: 1, 1, 1; cluster b: 0. Resamples: aa -> 1, ab -> 3/4 (not 1/2), bb -> 0.
    found = cluster_bootstrap([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert found == Interval(0.75, 0.0, 1.0)


def _clustered_outcomes(
    rng: np.random.Generator, num_clusters: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """1 to 5 outcomes a cluster, correlated within it (0.3)."""
    spread = 1 / 0.3 - 1
    labels = np.repeat(np.arange(num_clusters), rng.integers(1, 6, num_clusters))
    shares = rng.beta(share * spread, (1 - share) * spread, num_clusters)
    return (rng.random(len(labels)) < shares[labels]).astype(float), labels


@pytest.mark.parametrize(("num_clusters", "share"), [(40, 0.6), (100, 0.75), (60, 0.93)])
def test_95_percent_intervals_of_a_share_cover_about_95_percent(num_clusters: int, share: float) -> None:
    rng = np.random.default_rng(5)
    covered = []
    for repeat in range(600):
        values, labels = _clustered_outcomes(rng, num_clusters, share)
        found = share_interval(values, labels.tolist(), num_resamples=500, seed=repeat)
        covered.append(found.low <= share <= found.high)
    # Standard error of 600 draws: 0.9 points.
    assert 0.925 <= np.mean(covered) <= 0.98


def test_95_percent_intervals_of_a_mean_cover_about_95_percent() -> None:
    rng = np.random.default_rng(6)
    covered = []
    for repeat in range(600):
        labels = np.repeat(np.arange(30), rng.integers(1, 5, 30))
        values = rng.normal(size=30)[labels] + rng.normal(size=len(labels))
        found = cluster_bootstrap(values, labels.tolist(), num_resamples=500, seed=repeat)
        covered.append(found.low <= 0 <= found.high)
    assert 0.925 <= np.mean(covered) <= 0.975


def test_intervals_that_ignore_clusters_would_cover_far_less() -> None:
    rng = np.random.default_rng(7)
    covered = []
    for repeat in range(300):
        labels = np.repeat(np.arange(30), 8)
        values = rng.normal(size=30)[labels] + 0.3 * rng.normal(size=len(labels))
        found = cluster_bootstrap(values, range(len(labels)), num_resamples=500, seed=repeat)
        covered.append(found.low <= 0 <= found.high)
    assert np.mean(covered) < 0.75


def test_64_of_64_does_not_claim_certainty() -> None:
    found = share_interval([1.0] * 64, range(64))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(64, 64).low)


def test_63_of_64_is_not_surer_than_64_of_64() -> None:
    almost, all_of_them = (
        share_interval([float(n != 9 or full) for n in range(64)], range(64)) for full in (0, 1)
    )
    assert almost.low == pytest.approx(wilson(63, 64).low, abs=0.003)
    assert almost.low < all_of_them.low


def test_64_pairs_of_one_prompt_are_one_observation() -> None:
    found = share_interval([1.0] * 64, ["same"] * 64)
    assert (found.low, found.high) == (pytest.approx(wilson(1, 1).low), 1.0)


def test_only_ties_still_leave_room_on_both_sides() -> None:
    found = share_interval([0.5] * 30, range(30))
    assert found.low < 0.5 < found.high
    assert found.high - 0.5 == pytest.approx(0.5 * wilson(0, 30).high)


def test_ties_carry_less_noise_than_wins_and_losses() -> None:
    tied = share_interval([0.5] * 50 + [1.0] * 30 + [0.0] * 20, range(100))
    decided = share_interval([1.0] * 55 + [0.0] * 45, range(100))
    assert tied.value == decided.value
    assert tied.high - tied.low < 0.8 * (decided.high - decided.low)


def test_one_cluster_of_unbounded_values_has_no_interval() -> None:
    found = cluster_bootstrap([1.0, 2.0, 4.5], ["p", "p", "p"])
    assert found.value == 2.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.to_json() == {"value": 2.5, "low": None, "high": None}


@given(outcomes)
@settings(max_examples=60, deadline=None)
def test_a_share_lies_in_its_interval_and_the_interval_in_0_to_1(pairs: list[tuple[float, int]]) -> None:
    values, clusters = zip(*pairs, strict=True)
    found = share_interval(values, clusters, num_resamples=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@given(outcomes, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_pairs_changes_nothing(pairs: list[tuple[float, int]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = [share_interval(*zip(*rows, strict=True), num_resamples=100) for rows in (pairs, shuffled)]
    assert found[0] == found[1]


@given(outcomes)
@settings(max_examples=40, deadline=None)
def test_swapping_wins_and_losses_mirrors_the_interval(pairs: list[tuple[float, int]]) -> None:
    values, clusters = zip(*pairs, strict=True)
    found = share_interval(values, clusters, num_resamples=100)
    mirrored = share_interval([1 - value for value in values], clusters, num_resamples=100)
    assert mirrored.value == pytest.approx(1 - found.value)
    assert mirrored.low == pytest.approx(1 - found.high)
    assert mirrored.high == pytest.approx(1 - found.low)


def test_a_statistic_of_ones_own_is_resampled_by_cluster_too() -> None:
    values = np.random.default_rng(8).exponential(size=300)
    expected = stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=2000, rng=1
    ).confidence_interval
    found = cluster_bootstrap(values, range(300), statistic=lambda drawn: float(np.median(drawn)))
    assert found.value == np.median(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)


def test_a_mean_given_as_ones_own_statistic_gives_the_same_interval() -> None:
    values, clusters = [1.0, 0.0, 3.0, 2.0, 5.0], ["a", "a", "b", "c", "c"]
    fast = cluster_bootstrap(values, clusters, num_resamples=300)
    slow = cluster_bootstrap(
        values, clusters, num_resamples=300, statistic=lambda drawn: float(drawn.sum() / len(drawn))
    )
    assert (slow.low, slow.high) == pytest.approx((fast.low, fast.high))


def test_paired_models_differ_more_surely_than_two_intervals_say() -> None:
    rng = np.random.default_rng(9)
    first = (rng.random(300) < 0.7).astype(float)
    second = np.where(rng.random(300) < 0.1, 0.0, first)  # worse on a tenth, equal elsewhere
    found = paired_difference(first, second, range(300), bounds=(0, 1))
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.low > 0
    assert share_interval(first, range(300)).low < share_interval(second, range(300)).high


def test_equal_models_may_still_differ_a_little() -> None:
    found = paired_difference([1.0, 0.0] * 32, [1.0, 0.0] * 32, range(64), bounds=(0, 1))
    assert (found.low, found.high) == (pytest.approx(-wilson(0, 64).high), pytest.approx(wilson(0, 64).high))


def test_a_paired_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(10)
    first, second, clusters = rng.random(50), rng.random(50), rng.integers(0, 20, 50).tolist()
    one, other = paired_difference(first, second, clusters), paired_difference(second, first, clusters)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "must be one"),
        ([1.0, 2.0], ["a"], "must be one"),
        ([math.nan], ["a"], "not finite"),
        ([1.5, 0.0], ["a", "b"], "outside"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values: list[float], clusters: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        share_interval(values, clusters)


def test_two_models_on_different_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([1.0], [1.0, 0.0], ["a"])


def test_ten_thousand_pairs_and_two_thousand_resamples_take_less_than_two_seconds() -> None:
    values = np.random.default_rng(11).integers(0, 2, 10_000).astype(float)
    started = time.perf_counter()
    found = share_interval(values, [f"{n:016x}" for n in range(10_000)])
    assert time.perf_counter() - started < 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.005, rel=0.05)
