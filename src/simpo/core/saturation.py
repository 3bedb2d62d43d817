"""Which pairs a loss has done with: those of which next to no gradient is left."""

from __future__ import annotations

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.core.objective import Objective

LITTLE = 0.01


def saturated_pairs(
    objective: Objective,
    policy: SequenceLogps,
    reference: SequenceLogps | None = None,
    *,
    little: float = LITTLE,
) -> Tensor:
    """[B] bool for B pairs from [2B] completions: whether the loss has less than `little` of its slope at a tie.

    The slope is the loss's derivative by the difference of the two scores, at the pair's own scores and where both
    would have their mean. With SimPO at beta 2 and gamma 0.5 a pair is done with at a margin of 2.96 nats per token.
    Raises ValueError for SFT, which has no pairs.
    """
    scores = objective.scores(policy, reference).detach().double()
    chosen, rejected = scores[0::2], scores[1::2]
    middle = (chosen + rejected) / 2
    return _slope(objective, chosen, rejected) < little * _slope(objective, middle, middle)


def _slope(objective: Objective, chosen: Tensor, rejected: Tensor) -> Tensor:
    with torch.enable_grad():
        c, r = chosen.clone().requires_grad_(), rejected.clone().requires_grad_()
        losses = objective.method.loss(c, r, **objective.parameters)
        by_chosen, by_rejected = torch.autograd.grad(losses.sum(), (c, r))
    return ((by_chosen - by_rejected) / 2).abs()
