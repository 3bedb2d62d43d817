"""Clustered intervals in linear time: hand numbers, the slower bootstrap of the same, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.clustered import bootstrap_of_sums, clustered_share, dense, independent_difference
from simpo.core.intervals import cluster_bootstrap, share_interval, student_t, wilson

outcomes = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9)), min_size=1, max_size=60)


def test_labels_become_numbers_from_0() -> None:
    assert dense(np.array([9, -3, 9, 2**40])).tolist() == [1, 0, 1, 2]


def test_a_share_of_many_independent_outcomes_has_wilsons_interval() -> None:
    values = np.repeat([1.0, 0.0], [3000, 7000])
    found, expected = clustered_share(values, np.arange(10_000)), wilson(3000, 10_000)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_outcomes_that_repeat_in_clusters_count_as_clusters() -> None:
    # 100 clusters of 50 equal outcomes: the interval of 100 outcomes, with t of 99 degrees for z (and 100 / 99).
    values, clusters = np.repeat(np.repeat([1.0, 0.0], [40, 60]), 50), np.repeat(np.arange(100), 50)
    n = 99 * (1.959964 / student_t(0.95, 99)) ** 2
    found, expected = clustered_share(values, clusters), wilson(0.4 * n, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_no_failure_seen_is_no_proof_that_there_are_none() -> None:
    found = clustered_share(np.ones(640), np.repeat(np.arange(64), 10))
    assert found.low == pytest.approx(wilson(64, 64).low, abs=5e-3)
    assert found.high == 1.0


def test_one_cluster_gives_no_interval() -> None:
    found = clustered_share([1.0, 0.0, 1.0], np.zeros(3, np.int64))
    assert found.value == pytest.approx(2 / 3)
    assert math.isnan(found.low) and math.isnan(found.high)


@given(outcomes)
def test_an_interval_holds_its_share_and_lies_in_0_to_1(rows: list[tuple[float, int]]) -> None:
    values, clusters = zip(*rows, strict=True)
    found = clustered_share(values, np.array(clusters))
    if len(set(clusters)) > 1:
        assert 0 <= found.low <= found.value + 1e-12 and found.value - 1e-12 <= found.high <= 1
        assert found.high > found.low


@pytest.mark.parametrize("values", [[], [1.5], [math.nan], [1.0, 0.0]])
def test_what_is_no_share_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"values|outside"):
        clustered_share(values, np.arange(min(len(values), 1)))


def test_the_closed_form_is_near_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 400, 1500)
    values = (rng.random(1500) < 0.3 + 0.4 * (clusters % 2)).astype(np.float64)
    closed, bootstrap = clustered_share(values, clusters), share_interval(values, clusters.tolist())
    assert (closed.low, closed.high) == pytest.approx((bootstrap.low, bootstrap.high), abs=0.004)


def test_sums_drawn_by_their_distinct_values_are_the_bootstrap_over_clusters() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 300, 900)
    values = rng.integers(0, 3, 900) / 2
    terms = np.column_stack([values, np.ones(900)])
    found = bootstrap_of_sums(terms, clusters, lambda sums: sums[:, 0] / sums[:, 1], num_resamples=4000)
    expected = cluster_bootstrap(values, clusters.tolist(), num_resamples=4000, seed=5)
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_resamples_without_a_value_are_left_out() -> None:
    # The statistic is undefined unless both clusters were drawn.
    terms, clusters = np.eye(2), np.arange(2)
    found = bootstrap_of_sums(terms, clusters, lambda sums: np.where(sums.min(1) > 0, 1.0, math.nan))
    assert (found.low, found.high) == (1.0, 1.0)


def test_a_statistic_that_never_has_a_value_has_no_interval() -> None:
    found = bootstrap_of_sums(np.eye(2), np.arange(2), lambda sums: np.full(len(sums), math.nan))
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_difference_of_shares_is_that_of_newcombes_paper() -> None:
    # Newcombe 1998, table II (a): 56 of 70 and 48 of 80 differ by 0.2, method 10 gives 0.0524 to 0.3339.
    found = independent_difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_clustered_share_covers_the_truth() -> None:
    # 80 prompts with their own shares from Beta(2, 2), mean 0.5, five pairs each. Fewer than 361 of 400 covered would
    # come about once in 10,000 times at a true level of 0.95.
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(80), 5)
    covered = 0
    for _ in range(400):
        values = (rng.random(400) < np.repeat(rng.beta(2, 2, 80), 5)).astype(np.float64)
        found = clustered_share(values, clusters)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 361
