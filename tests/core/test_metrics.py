"""Accuracy, strata, diversity and repetition: by hand, and properties that must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.metrics import (
    Summary,
    distinct_n,
    is_repetitive,
    length_quartiles,
    pair_wins,
    pairwise_accuracy,
    repeated_ngrams,
    strata,
)

scores = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=50)
sizes = st.lists(
    st.tuples(st.integers(1, 500), st.integers(1, 500), st.sampled_from([None, "billing", "shipping"])),
    min_size=1,
    max_size=60,
)
tokens = st.lists(st.integers(0, 3), max_size=30)


def test_accuracy_by_hand() -> None:
    # win, tie, loss, win: (1 + 0.5 + 0 + 1) / 4
    assert pairwise_accuracy([2.0, 1.0, -5.0, 0.1], [1.0, 1.0, 5.0, 0.0]) == 0.625
    assert pair_wins([2.0, 1.0, -5.0], [1.0, 1.0, 5.0]).tolist() == [1.0, 0.5, 0.0]


@given(scores)
def test_swapping_chosen_and_rejected_gives_one_minus_the_accuracy(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = zip(*pairs, strict=True)
    assert pairwise_accuracy(rejected, chosen) == pytest.approx(1 - pairwise_accuracy(chosen, rejected))


@given(scores, st.randoms(use_true_random=False))
def test_accuracy_does_not_depend_on_the_order_of_the_pairs(
    pairs: list[tuple[int, int]], random: object
) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pairwise_accuracy(*zip(*shuffled, strict=True)) == pairwise_accuracy(*zip(*pairs, strict=True))


@given(scores)
def test_an_increasing_function_of_the_scores_changes_no_accuracy(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    assert pairwise_accuracy(np.exp(chosen), np.exp(rejected)) == pairwise_accuracy(chosen, rejected)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_no_silent_loss(broken: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        pair_wins([broken], [0.0])


def test_scores_of_different_numbers_of_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one \[B\]"):
        pair_wins([1.0, 2.0], [0.0])


def test_no_pairs_have_no_accuracy() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        pairwise_accuracy([], [])


def test_quartiles_by_hand() -> None:
    # Eight lengths, two a quarter; the bounds are the 2nd, 4th and 6th of the sorted lengths.
    found = length_quartiles([80, 10, 20, 30, 40, 50.5, 60, 70])
    assert [(part.name, part.members.tolist()) for part in found] == [
        ("Q1: up to 20 chars", [1, 2]),
        ("Q2: over 20 to 40 chars", [3, 4]),
        ("Q3: over 40 to 60 chars", [5, 6]),
        ("Q4: over 60 chars", [0, 7]),
    ]


def test_equal_lengths_stay_together() -> None:
    found = length_quartiles([7, 7, 7, 7, 7, 9])
    assert [(part.name, len(part.members)) for part in found] == [
        ("Q1: up to 7 chars", 5),
        ("Q4: over 7 chars", 1),
    ]


def test_strata_by_hand() -> None:
    found = strata([10, 30, 5, 9], [20, 10, 5, 8], ["shipping", "billing", None, "shipping"])
    cut = {(part.by, part.name): part.members.tolist() for part in found if part.by != "length_quartile"}
    assert cut == {
        ("longer", "chosen longer"): [1, 3],
        ("longer", "rejected longer"): [0],
        ("longer", "equal"): [2],
        ("category", "shipping"): [0, 3],
        ("category", "(none)"): [2],
        ("category", "billing"): [1],
    }


def test_data_without_categories_is_not_cut_by_category() -> None:
    assert {part.by for part in strata([1, 2], [2, 1], [None, None])} == {"length_quartile", "longer"}


def test_no_pairs_have_no_strata() -> None:
    assert strata([], [], []) == []


def test_lengths_and_categories_of_different_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not one number of pairs"):
        strata([1, 2], [1], [None, None])


@given(sizes)
def test_each_way_of_cutting_holds_every_pair_once(rows: list[tuple[int, int, str | None]]) -> None:
    chosen, rejected, categories = zip(*rows, strict=True)
    found = strata(chosen, rejected, categories)
    for way in {part.by for part in found}:
        members = sorted(place for part in found if part.by == way for place in part.members)
        assert members == list(range(len(rows)))
    assert all(len(part.members) > 0 for part in found)


def test_distinct_n_by_hand() -> None:
    # Unigrams a b a, a c: 5, of which a, b, c are distinct. Bigrams ab, ba, ac: all distinct.
    replies = [["a", "b", "a"], ["a", "c"]]
    assert distinct_n(replies, 1) == 0.6
    assert distinct_n(replies, 2) == 1.0
    assert distinct_n(replies, 4) == 0.0
    assert distinct_n([], 1) == 0.0


def test_repeated_ngrams_by_hand() -> None:
    # 1 2 3 4 1 2 3 4 has five 4-grams, the last equal to the first.
    assert repeated_ngrams([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(0.2)
    assert repeated_ngrams([1, 2, 3]) == 0.0
    assert repeated_ngrams([7] * 103) == pytest.approx(0.99)


def test_a_loop_is_repetitive_and_a_greeting_said_twice_is_not() -> None:
    assert is_repetitive([1, 2] * 20)
    assert not is_repetitive([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4])


def test_a_gram_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="n is 0"):
        distinct_n([[1]], 0)


@given(tokens)
def test_repetition_is_a_share_and_grows_when_a_reply_is_said_again(reply: list[int]) -> None:
    assert 0 <= repeated_ngrams(reply) < 1
    assert repeated_ngrams(reply * 8) >= repeated_ngrams(reply)


def test_summary_by_hand() -> None:
    # 0 to 10: the 10th percentile is 1, the median 5, the 90th 9.
    found = Summary.of(list(range(10, -1, -1)))
    assert (found.median, found.p10, found.p90) == (5.0, 1.0, 9.0)
    assert found.to_json() == {"median": 5.0, "p10": 1.0, "p90": 9.0, "values": list(range(10, -1, -1))}


def test_no_values_have_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        Summary.of([])
