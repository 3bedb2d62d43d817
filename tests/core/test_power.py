"""Pairs needed to see a difference: Connor's formula by hand, and that so many pairs do find it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simpo.core.power import pairs_needed


def test_for_right_and_wrong_it_is_connors_formula() -> None:
    # 100 pairs, 20 won by the first alone, 10 by the second alone: p = 0.3, d = 0.1.
    first = [1.0] * 20 + [0.0] * 10 + [1.0] * 70
    second = [0.0] * 20 + [1.0] * 10 + [1.0] * 70
    expected = (1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.3 - 0.01)) ** 2 / 0.01
    found = pairs_needed(first, second, range(100))
    assert found.difference == pytest.approx(0.1)
    assert found.pairs == math.ceil(expected) == 234
    assert found.design_effect == pytest.approx(1.0)


def test_pairs_that_agree_within_a_prompt_are_worth_one() -> None:
    first = np.repeat([1.0] * 20 + [0.0] * 10 + [1.0] * 70, 4)
    second = np.repeat([0.0] * 20 + [1.0] * 10 + [1.0] * 70, 4)
    found = pairs_needed(first, second, np.repeat(range(100), 4).tolist())
    assert found.design_effect == pytest.approx(4.0, rel=0.02)
    assert found.pairs == pytest.approx(4 * 234, rel=0.02)
    assert found.pairs is not None and found.clusters == math.ceil(found.pairs / 4)


def test_so_many_pairs_find_the_difference_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    discordant, gap = 0.35, 0.1
    chances = [(discordant + gap) / 2, (discordant - gap) / 2, 1 - discordant]
    differences = np.repeat([1.0, -1.0, 0.0], [225, 125, 650])
    planned = pairs_needed(np.maximum(differences, 0), np.maximum(-differences, 0), range(1000)).pairs
    assert planned is not None
    wins, losses, _ = rng.multinomial(planned, chances, size=4000).T
    found = np.abs(wins - losses) / np.sqrt(wins + losses) > 1.959964
    assert 0.77 <= found.mean() <= 0.83


def test_where_no_difference_was_seen_no_number_would_show_it() -> None:
    found = pairs_needed([1, 0, 1, 0], [0, 1, 1, 0], range(4))
    assert found.pairs is found.clusters is None
    assert found.to_json()["difference"] == 0.0


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        pairs_needed([1, 0], [1], "ab")
