"""Agreement beyond chance: tables of the literature, the `krippendorff` package, bounds, invariances, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

tables = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=30)

# Fleiss 1971, table 1: 10 patients put into 5 categories by 14 raters each; kappa 0.210.
FLEISS = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)

# Krippendorff 2011, example C: 4 observers, 12 units, 5 values, missing data; nominal alpha 0.743.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def _counts(observers: tuple[tuple[int | None, ...], ...], categories: int) -> np.ndarray:
    by_unit = zip(*observers, strict=True)
    return np.array([[unit.count(value) for value in range(1, categories + 1)] for unit in by_unit])


def test_alpha_of_krippendorffs_own_example() -> None:
    assert krippendorff_alpha(_counts(OBSERVERS, 5)).value == pytest.approx(0.743, abs=5e-4)


def test_alpha_by_hand() -> None:
    # Two votes on 3 items: aa, ab, bb. Unequal pairs 2 of 6; expected (36 - 9 - 9) / (6 * 5) = 0.6.
    assert krippendorff_alpha([[2, 0], [1, 1], [0, 2]]).value == pytest.approx(1 - (2 / 6) / 0.6)


def test_fleiss_kappa_of_the_table_of_1971() -> None:
    assert fleiss_kappa(FLEISS).value == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_by_hand() -> None:
    # 20 both yes, 15 both no, 5 and 10 unequal: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    first = [0] * 25 + [1] * 25
    second = [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15
    assert cohen_kappa(first, second, 2).value == pytest.approx(0.4)


@given(tables)
def test_alpha_is_that_of_the_krippendorff_package(rows: list[list[int]]) -> None:
    package = pytest.importorskip("krippendorff")
    counts = np.array(rows)
    found = krippendorff_alpha(counts).value
    values_used = (counts[counts.sum(1) >= 2].sum(0) > 0).sum()
    if values_used < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(package.alpha(value_counts=counts, level_of_measurement="nominal"))


@given(tables, st.randoms())
def test_alpha_does_not_depend_on_names_of_categories_or_order_of_items(
    rows: list[list[int]], random: object
) -> None:
    counts = np.array(rows)
    found, turned = krippendorff_alpha(counts), krippendorff_alpha(counts[::-1, [2, 0, 1]])
    assert turned.value == pytest.approx(found.value, nan_ok=True)
    assert found.value <= 1 or math.isnan(found.value)


def test_alpha_ignores_items_with_one_vote() -> None:
    assert krippendorff_alpha([[2, 0], [1, 1], [0, 2], [1, 0], [0, 0]]) == krippendorff_alpha(
        [[2, 0], [1, 1], [0, 2]]
    )


@pytest.mark.parametrize("counts", [[[1, 0], [0, 1]], [[3, 0], [2, 0]], [[0, 0]]])
def test_where_nothing_could_disagree_alpha_is_no_number(counts: list[list[int]]) -> None:
    assert math.isnan(krippendorff_alpha(counts).value)


def test_perfect_agreement_on_few_items_is_no_certainty() -> None:
    counts = [[2, 0], [0, 2]] * 10
    found = krippendorff_alpha(counts)
    assert (found.value, found.high) == (1.0, 1.0)
    # Wilson's bound of 0 of 20 is 0.161; the expected disagreement is (40^2 - 2 * 20^2) / (40 * 39) = 0.513.
    assert found.low == pytest.approx(1 - 0.1611 / 0.5128, abs=1e-3)


def test_kappas_agree_where_two_annotators_have_the_same_habits() -> None:
    counts = np.array([[2, 0], [1, 1], [1, 1], [0, 2]])
    assert fleiss_kappa(counts).value == pytest.approx(cohen_kappa([0, 0, 1, 1], [0, 1, 0, 1], 2).value)


def test_fleiss_refuses_items_with_different_numbers_of_votes() -> None:
    with pytest.raises(ValueError, match="one number of votes"):
        fleiss_kappa([[2, 0], [1, 0]])


def test_cohen_refuses_judgements_that_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        cohen_kappa([0, 1], [0], 2)


def test_no_common_items_make_no_kappa() -> None:
    assert math.isnan(cohen_kappa([], [], 2).value)


def test_items_of_one_prompt_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    counts = np.repeat(rng.multinomial(3, [0.5, 0.5], size=60), 5, axis=0)
    alone, together = krippendorff_alpha(counts), krippendorff_alpha(counts, np.arange(300) // 5)
    assert together.value == alone.value
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_alphas_interval_covers_the_truth() -> None:
    # Three annotators who are each right with 0.85 on equally likely answers: any two agree with 0.745, so that
    # alpha of many items is 1 - 0.255 / 0.5 = 0.49. Of 200 simulated sets of 150 items 95 % should cover it; fewer than
    # 180 would come once in 1,000 times.
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        truth = rng.integers(0, 2, size=(150, 1))
        votes = np.where(rng.random((150, 3)) < 0.85, truth, 1 - truth)
        found = krippendorff_alpha(np.stack([(votes == 0).sum(1), (votes == 1).sum(1)], 1))
        covered += found.low <= 0.49 <= found.high
    assert covered >= 180
