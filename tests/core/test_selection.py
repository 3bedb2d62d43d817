"""The rule of ties by hand, and what must hold for any candidates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.selection import Candidate, rank, select, standard_error

PROMPTS = [f"prompt {number}" for number in range(10)]


def won(name: str, pattern: str, drift: float | None = None, beta: float | None = None) -> Candidate:
    """Outcomes as a word: 1 won, 0 lost, h half."""
    return Candidate(name, tuple(0.5 if c == "h" else float(c) for c in pattern), drift, beta)


def test_the_standard_error_of_a_paired_difference_by_hand() -> None:
    # differences 1, -1, 1, 0, squared 3 in all: of the mean, with 4 clusters of one, 4/3 * 3 / 16
    error = standard_error([1, 0, 1, 1], [0, 1, 0, 1], PROMPTS[:4])
    assert error == pytest.approx(math.sqrt(4 / 3 * 3 / 16))
    # one prompt of two pairs that differ alike counts once: sums of the clusters 2, 0, over 4 pairs
    assert standard_error([1, 1, 0, 0], [0, 0, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(
        math.sqrt(2 * 2**2 / 16)
    )
    assert standard_error([1, 1], [1, 0], ["a", "a"]) == math.inf


@pytest.mark.parametrize(
    "clusters", [[*range(64)], [at // 3 for at in range(64)], [min(at, 9) for at in range(64)]]
)
def test_what_a_single_pair_tells_apart_is_a_tie_however_the_prompts_are_shared(clusters: list[int]) -> None:
    top = won("top", "1" * 45 + "0" * 19, drift=0.1)
    near = won("near", "0" + "1" * 44 + "0" * 19, drift=0.03)
    assert select([top, near], clusters).chosen is near
    three_fewer = won("three fewer", "000" + "1" * 42 + "0" * 19, drift=0.01)
    assert select([top, three_fewer], [*range(64)]).chosen is top


def test_a_clearly_better_accuracy_wins_whatever_it_costs() -> None:
    good = won("good", "1111111111", drift=5.0, beta=1.0)
    poor = won("poor", "0000011111", drift=0.1, beta=10.0)
    # 5 of 10 lost: difference 0.5, error sqrt(10/9 * 5) / 10 = 0.236
    selection = select([poor, good], PROMPTS)
    assert selection.chosen is good and selection.top is good and selection.ties == ("good",)


def test_within_one_standard_error_the_smaller_drift_wins_and_then_the_larger_beta() -> None:
    # 9 of 10 against 8 of 10, one pair apart: difference 0.1, error sqrt(10/9) / 10 = 0.105
    top = won("top", "1111111110", drift=0.9, beta=2.0)
    near = won("near", "1111111100", drift=0.3, beta=2.0)
    firm = won("firm", "1111111100", drift=0.3, beta=5.0)
    far = won("far", "0000001100", drift=0.0, beta=9.0)
    selection = select([top, near, firm, far], PROMPTS)
    assert selection.chosen is firm and selection.top is top
    assert selection.ties == ("top", "near", "firm")
    assert [candidate.name for candidate in rank([top, near, firm, far], PROMPTS)] == [
        "firm",
        "near",
        "top",
        "far",
    ]


def test_a_drift_that_was_not_measured_counts_as_the_furthest() -> None:
    assert (
        select([won("unknown", "1100"), won("known", "1100", drift=9.0)], PROMPTS[:4]).chosen.name == "known"
    )


def test_of_equals_the_first_is_taken() -> None:
    twins = [won("first", "1h", 0.1, 2.0), won("second", "1h", 0.1, 2.0)]
    assert select(twins, PROMPTS[:2]).chosen.name == "first"
    assert [candidate.name for candidate in rank(twins, PROMPTS[:2])] == ["first", "second"]


def test_nobody_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no candidates"):
        select([], [])


outcomes = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6).map(tuple)


@given(st.lists(st.tuples(outcomes, st.floats(0, 1)), min_size=1, max_size=6))
def test_the_chosen_is_never_worse_than_the_best_by_more_than_its_error(
    found: list[tuple[tuple[float, ...], float]],
) -> None:
    candidates = [Candidate(str(at), wins, drift) for at, (wins, drift) in enumerate(found)]
    selection = select(candidates, PROMPTS[:6])
    best = max(candidate.accuracy for candidate in candidates)
    assert selection.top.accuracy == best
    error = standard_error(selection.top.wins, selection.chosen.wins, PROMPTS[:6])
    assert best - selection.chosen.accuracy <= error + 1e-9
    tied = [candidate for candidate in candidates if candidate.name in selection.ties]
    assert selection.chosen.drift == min(candidate.drift or 0.0 for candidate in tied)
