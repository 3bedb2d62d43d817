"""Which pairs a loss has done with, against slopes worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from simpo.core.logps import SequenceLogps
from simpo.core.methods import METHODS
from simpo.core.objective import Objective
from simpo.core.saturation import saturated_pairs


def logps(*margins: float) -> SequenceLogps:
    """Pairs whose mean log-probabilities differ by so much; 10 tokens each."""
    means = [value for margin in margins for value in (-2.0 + margin / 2, -2.0 - margin / 2)]
    return SequenceLogps(torch.tensor(means, dtype=torch.float64) * 10, torch.full((len(means),), 10))


def test_simpo_has_done_with_a_pair_where_its_sigmoid_is_a_hundredth_of_that_at_a_tie() -> None:
    # slope: beta * sigmoid(-beta * (d - gamma)); at a tie sigmoid(1) = 0.7311; a hundredth of it at
    # beta * d - 1 = log(1 / 0.007311 - 1) = 4.9111, d = 2.9555
    edge = (1 + math.log(1 / (0.01 / (1 + math.exp(-1))) - 1)) / 2
    found = saturated_pairs(Objective.of("simpo"), logps(edge - 1e-6, edge + 1e-6, 0.0, -5.0))
    assert found.tolist() == [False, True, False, False]


def test_a_target_that_is_out_of_reach_saturates_nothing() -> None:
    assert not saturated_pairs(Objective.of("simpo", {"gamma": 5.0}), logps(0.0, 2.0, 4.0)).any()


def test_the_hinge_has_done_with_a_pair_beyond_its_corner() -> None:
    """At gamma + 1 / beta = 0.5 + 0.5."""
    assert saturated_pairs(Objective.of("simpo_hinge"), logps(0.99, 1.01)).tolist() == [False, True]


def test_a_reference_is_subtracted_first() -> None:
    policy, reference = logps(8.0, 8.0), logps(8.0, -2.0)
    assert saturated_pairs(Objective.of("dpo"), policy, reference).tolist() == [False, True]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.pairwise])
def test_a_tie_is_never_done_with(name: str) -> None:
    objective = Objective.of(name)
    reference = logps(0.0, 0.0) if objective.method.reference else None
    assert saturated_pairs(objective, logps(0.0, 0.0), reference).tolist() == [False, False]


def test_sft_has_no_pairs() -> None:
    with pytest.raises(ValueError, match="no loss over pairs"):
        saturated_pairs(Objective.of("sft"), logps(0.0))
