"""Losses as free functions: scores of B pairs in, B losses out; no reduction, no metric, no device move.

In every function `chosen` and `rejected` are [B] float32 *scores* of the two completions. Which score a method takes
(total or mean log-probability, with or without the reference's subtracted) is said by the table in `methods.py`; passing
the wrong one is the classic mistake and is named in each docstring.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def simpo_loss(
    chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float, label_smoothing: float
) -> Tensor:
    """SimPO: -log sigmoid(beta * (chosen - rejected - gamma)).

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0 (classic mistake: passing sums).
    beta: > 0. gamma: >= 0, nats per token (the paper's margin is beta * gamma). label_smoothing e in [0, 0.5): the
    authors' form, (1 - e) * loss + e * loss with the pair swapped about the same margin.
    Returns [B]; log 2 where chosen - rejected equals gamma. Source: arXiv:2405.14734, eq. 6.
    """
    logits = beta * (chosen - rejected - gamma)
    return -F.logsigmoid(logits) * (1 - label_smoothing) - F.logsigmoid(-logits) * label_smoothing


def simpo_hinge_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float) -> Tensor:
    """SimPO with a hinge: max(0, 1 - beta * (chosen - rejected - gamma)).

    chosen, rejected: [B] *mean* log-probabilities in nats per token. Returns [B]; 1 where chosen - rejected equals gamma,
    0 from 1 / beta above it. Source: the SimPO authors' code (loss_type hinge), after SLiC-HF, arXiv:2305.10425.
    """
    return F.relu(1 - beta * (chosen - rejected - gamma))


def dpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """DPO: -log sigmoid(beta * (chosen - rejected)), on log-ratios policy / reference.

    chosen, rejected: [B] log-ratios in nats, *totals* for DPO, *means* (nats per token) for DPO-norm (classic mistake:
    passing the policy's log-probabilities without the reference's). beta: > 0. label_smoothing in [0, 0.5).
    Returns [B]; log 2 where both log-ratios are equal, so at the first step. Source: arXiv:2305.18290, eq. 7; conservative
    form by the same authors; length-normalised form: arXiv:2411.15124, section 5.1.
    """
    logits = beta * (chosen - rejected)
    return -F.logsigmoid(logits) * (1 - label_smoothing) - F.logsigmoid(-logits) * label_smoothing


def ipo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """IPO: (chosen - rejected - 1 / (2 beta))^2, on log-ratios policy / reference.

    chosen, rejected: [B] *mean* log-ratios in nats per token. beta: > 0, the paper's tau. Returns [B]; 0 where the
    log-ratios differ by exactly 1 / (2 beta). Source: arXiv:2310.12036, eq. 17, averaged over tokens as its authors use it.
    """
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def orpo_loss(chosen: Tensor, rejected: Tensor, *, odds_weight: float) -> Tensor:
    """ORPO's odds-ratio term: -odds_weight * log sigmoid(log odds(chosen) - log odds(rejected)), p = exp(score).

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0. odds_weight: the paper's lambda. Returns [B];
    odds_weight * log 2 where both are equal. The SFT term that ORPO adds is the method's `sft_weight` of 1.
    Source: arXiv:2403.07691, eq. 6 and 7.
    """
    return -odds_weight * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def cpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """CPO's preference term: -log sigmoid(beta * (chosen - rejected)), DPO with a uniform reference.

    chosen, rejected: [B] *total* log-probabilities in nats. Returns [B]; log 2 where both are equal. The SFT term that CPO
    adds is the method's `sft_weight` of 1. Source: arXiv:2401.08417, eq. 5.
    """
    return dpo_loss(chosen, rejected, beta=beta, label_smoothing=label_smoothing)


def simper_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """SimPER: exp(rejected) - exp(chosen), inverse perplexities, no hyper-parameter.

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0. Returns [B] in (-1, 1); 0 where both are equal.
    Source: arXiv:2502.00883, eq. 3.
    """
    return rejected.exp() - chosen.exp()


def repo_loss(chosen: Tensor, rejected: Tensor, *, gamma: float) -> Tensor:
    """RePO: max(0, gamma - (chosen - rejected)), SimPO as beta goes to infinity.

    chosen, rejected: [B] *mean* log-probabilities in nats per token. gamma: >= 0, nats per token. Returns [B]; 0 once the
    margin is reached. Source: arXiv:2503.07426, eq. 7.
    """
    return F.relu(gamma - (chosen - rejected))


def alphapo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float, alpha: float) -> Tensor:
    """AlphaPO: -log sigmoid(beta * (r(chosen) - r(rejected) - gamma)), r(a) = (1 - exp(-alpha * a)) / alpha.

    chosen, rejected: [B] *mean* log-probabilities in nats per token. alpha: any real; alpha = 0 is r(a) = a, SimPO. The
    paper's margin is beta * gamma. Returns [B]; log 2 where the shaped rewards differ by gamma.
    Source: arXiv:2501.03884, eq. 8.
    """
    return -F.logsigmoid(beta * (alphapo_reward(chosen, alpha) - alphapo_reward(rejected, alpha) - gamma))


def alphapo_reward(score: Tensor, alpha: float) -> Tensor:
    """AlphaPO's shaped reward r(a) = (1 - exp(-alpha * a)) / alpha of [B] mean log-probabilities; a itself at alpha 0."""
    return score if alpha == 0 else -torch.expm1(-alpha * score) / alpha


def _log_odds(log_p: Tensor) -> Tensor:
    """log(p / (1 - p)) from log p <= 0, finite where rounding makes log p exactly 0."""
    below_zero = log_p.clamp(max=-torch.finfo(log_p.dtype).tiny)
    return below_zero - torch.log(-torch.expm1(below_zero))
