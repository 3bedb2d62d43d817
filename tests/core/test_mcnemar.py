"""McNemar's test against scipy's binomial, by hand, and its clustered form by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simpo.core.mcnemar import exact_p, mcnemar, mid_p


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (3, 9), (9, 3), (12, 12), (0, 30), (180, 140), (1, 0)])
def test_exact_and_mid_p_are_those_of_the_binomial(wins: int, losses: int) -> None:
    n, low = wins + losses, min(wins, losses)
    assert exact_p(wins, losses) == pytest.approx(stats.binomtest(wins, n).pvalue, abs=1e-12)
    point = stats.binom.pmf(low, n, 0.5)
    expected = 2 * stats.binom.cdf(low, n, 0.5) - point if wins != losses else 1 - point / 2
    assert mid_p(wins, losses) == pytest.approx(min(1.0, expected), abs=1e-12)


def test_by_hand() -> None:
    # 1 against 5: 2 (1 + 6) / 64 = 0.21875; mid-p takes 6 / 64 off: 0.125.
    assert exact_p(1, 5) == pytest.approx(14 / 64)
    assert mid_p(1, 5) == pytest.approx(8 / 64)


def test_no_discordant_pair_is_no_evidence() -> None:
    found = mcnemar([1, 0, 1], [1, 0, 1], ["a", "b", "c"])
    assert (found.first_only, found.second_only) == (0, 0)
    assert found.exact == found.mid_p == found.clustered == 1.0


def test_ties_are_counted_and_decide_nothing() -> None:
    found = mcnemar([1, 0.5, 1, 0], [0, 0, 0.5, 1], "abcd")
    assert (found.first_only, found.second_only, found.ties) == (1, 1, 2)


def test_where_every_prompt_has_one_pair_the_clustered_test_is_the_plain_one() -> None:
    first, second = [1.0] * 20 + [0.0] * 10, [0.0] * 20 + [1.0] * 10
    expected = stats.chi2.sf((20 - 10) ** 2 / 30, 1)
    assert mcnemar(first, second, range(30)).clustered == pytest.approx(expected)


def test_pairs_of_one_prompt_do_not_count_as_independent() -> None:
    # Ten prompts of four pairs that all agree are ten observations, not forty.
    first = np.repeat([1.0] * 7 + [0.0] * 3, 4)
    found = mcnemar(first, 1 - first, np.repeat(range(10), 4).tolist())
    assert found.exact < 0.02
    assert found.clustered == pytest.approx(stats.chi2.sf((7 - 3) ** 2 / 10, 1))


def test_under_no_difference_the_clustered_test_rejects_about_one_in_twenty() -> None:
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(60), 4)
    rejected = {"clustered": 0, "exact": 0}
    for _ in range(1000):
        # What helps one method on a prompt helps it on all four of its pairs.
        lean = np.where(rng.random(60) < 0.5, 0.8, 0.2)[prompts]
        first = (rng.random(240) < lean).astype(float)
        found = mcnemar(first, 1 - first, prompts.tolist())
        rejected["clustered"] += found.clustered < 0.05
        rejected["exact"] += found.exact < 0.05
    assert 30 <= rejected["clustered"] <= 70
    assert rejected["exact"] > 120


@pytest.mark.parametrize(
    ("first", "second", "clusters"), [([1], [1, 0], "ab"), ([1, 0], [1, 0], "a"), ([0.3], [1], "a")]
)
def test_what_is_no_outcome_is_refused(first: list[float], second: list[float], clusters: str) -> None:
    with pytest.raises(ValueError, match=r"not one|none of"):
        mcnemar(first, second, clusters)
