"""Losses as free functions: scores of B pairs in, B losses out; no reduction, no metric, no device move.

In every function `chosen` and `rejected` are [B] float32 *scores* of the two completions. Which score a
method takes (total or mean log-probability, with or without the reference's subtracted) is said by the table
in `methods.py`; passing the wrong one is the classic mistake and is named in each docstring. Losses come back
in the scores' type, and NaN in is NaN out: nothing here hides it from the check before the optimizer step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def simpo_loss(
    chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float, label_smoothing: float
) -> Tensor:
    """SimPO: -log sigmoid(z), z = beta * (chosen - rejected - gamma).

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0 (classic mistake: passing sums,
    which makes length the reward). beta: > 0. gamma: >= 0, nats per token (the paper's gamma, the reward
    margin, is beta times this one; the authors' code calls this one gamma_beta_ratio). label_smoothing e in
    [0, 0.5), the authors' form: -(1 - e) * log sigmoid(z) - e * log sigmoid(-z).
    Returns [B]; log 2 where chosen - rejected equals gamma, whatever e. Source: arXiv:2405.14734, eq. 6;
    smoothing from its code, github.com/princeton-nlp/SimPO.
    """
    return _smoothed_logistic(beta * (chosen - rejected - gamma), label_smoothing)


def simpo_hinge_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float) -> Tensor:
    """SimPO with a hinge: max(0, 1 - beta * (chosen - rejected - gamma)).

    chosen, rejected: [B] *mean* log-probabilities in nats per token (classic mistake: passing sums). beta: >
    0. gamma: >= 0, nats per token. Returns [B]; 1 where chosen - rejected equals gamma, 0 and no gradient
    from 1 / beta above it. Source: loss_type hinge of github.com/princeton-nlp/SimPO, after SLiC-HF,
    arXiv:2305.10425.
    """
    return F.relu(1 - beta * (chosen - rejected - gamma))


def dpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """DPO: -log sigmoid(z), z = beta * (chosen - rejected), on log-ratios policy / reference.

    chosen, rejected: [B] log-ratios in nats, *totals* for DPO, *means* (nats per token) for DPO-norm (classic
    mistake: passing the policy's log-probabilities without the reference's). beta: > 0. label_smoothing e in
    [0, 0.5): -(1 - e) * log sigmoid(z) - e * log sigmoid(-z), e the share of flipped labels.
    Returns [B]; log 2 where both log-ratios are equal, so at the first step. Source: arXiv:2305.18290, eq. 7;
    smoothing: Mitchell 2023, ericmitchell.ai/cdpo.pdf, eq. 3; length-normalised form: Tulu 3,
    arXiv:2411.15124, section 5.
    """
    return _smoothed_logistic(beta * (chosen - rejected), label_smoothing)


def ipo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """IPO: (chosen - rejected - 1 / (2 beta))^2, on log-ratios policy / reference.

    chosen, rejected: [B] *mean* log-ratios in nats per token (classic mistake: passing sums, as the paper's
    formula reads; its authors then told the maintainers of TRL to average, so that the target does not depend
    on length). beta: > 0, the paper's tau. Returns [B]; 0 where the log-ratios differ by exactly 1 / (2
    beta), 1 / (4 beta^2) at the first step. Source: arXiv:2310.12036, eq. 17; averaging:
    huggingface.co/blog/pref-tuning.
    """
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def orpo_loss(chosen: Tensor, rejected: Tensor, *, odds_weight: float) -> Tensor:
    """ORPO's odds-ratio term: -odds_weight * log sigmoid(log odds(chosen) - log odds(rejected)), p = exp(score).

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0 (classic mistake: passing sums,
    whose odds are all near 0). odds_weight: >= 0, the paper's lambda. Returns [B]; odds_weight * log 2 where
    both are equal. The SFT term that ORPO adds is the method's `sft_weight` of 1. Source: arXiv:2403.07691,
    eq. 6 and 7.
    """
    return -odds_weight * F.logsigmoid(log_odds(chosen) - log_odds(rejected))


def cpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """CPO's preference term: -log sigmoid(beta * (chosen - rejected)), DPO with a uniform reference.

    chosen, rejected: [B] *total* log-probabilities in nats (classic mistake: passing means, which is SimPO
    without a margin). beta, label_smoothing: as in `dpo_loss`. Returns [B]; log 2 where both are equal. The
    SFT term that CPO adds is the method's `sft_weight` of 1. Source: arXiv:2401.08417, eq. 3 (this term) and
    5 (with the SFT term).
    """
    return dpo_loss(chosen, rejected, beta=beta, label_smoothing=label_smoothing)


def simper_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """SimPER: exp(rejected) - exp(chosen), inverse perplexities, no hyper-parameter.

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0 (classic mistake: passing sums,
    whose exponentials are 0 and give no gradient). Returns [B] in [-1, 1]; 0 where both are equal. The
    gradient in a score is its exponential, so a completion below -20 nats per token hardly moves. Source:
    arXiv:2502.00883, github.com/tengxiao1/SimPER.
    """
    return rejected.exp() - chosen.exp()


def repo_loss(chosen: Tensor, rejected: Tensor, *, gamma: float) -> Tensor:
    """RePO: max(0, gamma - (chosen - rejected)), SimPO / beta as beta goes to infinity.

    chosen, rejected: [B] *mean* log-probabilities in nats per token (classic mistake: passing sums). gamma:
    >= 0, nats per token. Returns [B]; gamma where both are equal, 0 and no gradient once the margin is
    reached. Source: arXiv:2503.07426, github.com/junkangwu/RePO.
    """
    return F.relu(gamma - (chosen - rejected))


def alphapo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float, alpha: float) -> Tensor:
    """AlphaPO: -log sigmoid(beta * (r(chosen) - r(rejected) - gamma)), r(a) = (1 - exp(-alpha * a)) / alpha.

    chosen, rejected: [B] *mean* log-probabilities in nats per token, <= 0 (classic mistake: passing sums, on
    which r overflows). alpha: any real; alpha = 0 is r(a) = a, SimPO. beta: > 0. gamma: >= 0, in units of r
    (nats per token at alpha 0); the paper's margin is beta * gamma. Returns [B]; log 2 where the shaped
    rewards differ by gamma.
    With alpha > 0, r falls like -exp(alpha * |a|): float32 overflows where alpha * |a| passes 88 (at alpha
    0.25, below -350 nats per token, where a uniform guess is at -12). Such a policy has collapsed; its loss
    or gradient is infinite or NaN, as in the paper's form, and is not clamped: the step is to be refused, not
    to go on with a flat reward.
    Source: arXiv:2501.03884; margin as in its authors' code (gamma_beta_ratio),
    github.com/huggingface/trl/pull/3776.
    """
    return -F.logsigmoid(beta * (alphapo_reward(chosen, alpha) - alphapo_reward(rejected, alpha) - gamma))


def alphapo_reward(score: Tensor, alpha: float) -> Tensor:
    """AlphaPO's reward r(a) = (1 - exp(-alpha * a)) / alpha of [B] mean log-probabilities; a at alpha 0."""
    return score if alpha == 0 else -torch.expm1(-alpha * score) / alpha


def log_odds(log_p: Tensor) -> Tensor:
    """log(p / (1 - p)) from log p <= 0, without forming p: exact to rounding for p near 0 and near 1.

    Between -eps of the type (1.2e-7 in float32) and 0, where log p is itself rounding, it is held at the
    value of -eps: 15.9 in float32, derivative 0; so nowhere is it infinite or its derivative above 1 / eps.
    """
    below_zero = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    return below_zero - torch.log(-torch.expm1(below_zero))


def _smoothed_logistic(logits: Tensor, label_smoothing: float) -> Tensor:
    """-(1 - e) * log sigmoid(z) - e * log sigmoid(-z): logistic loss, a share e of the labels flipped."""
    losses = -F.logsigmoid(logits)
    if label_smoothing == 0:
        return losses
    return (1 - label_smoothing) * losses - label_smoothing * F.logsigmoid(-logits)
