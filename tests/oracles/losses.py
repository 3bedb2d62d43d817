"""Every method's loss of one pair, from the log-probabilities of its tokens, one plain Python function a method.

A function takes the pair and the method's parameters by the names of the recipe, and returns the preference term alone;
`sft_term` is what is added, times its weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenPair:
    """Log-probabilities in nats of the tokens of one pair, under the policy and under the reference."""

    chosen: list[float]
    rejected: list[float]
    reference_chosen: list[float]
    reference_rejected: list[float]


def one_token(chosen: float, rejected: float) -> TokenPair:
    """A pair of one-token completions whose sum, mean and log-ratio are all the given number."""
    return TokenPair([chosen], [rejected], [0.0], [0.0])


def total(tokens: list[float]) -> float:
    return math.fsum(tokens)


def mean(tokens: list[float]) -> float:
    return math.fsum(tokens) / len(tokens)


def minus_log_sigmoid(x: float) -> float:
    """-log(1 / (1 + e^-x)) = log(1 + e^-x), with e raised to a negative power only."""
    return math.log1p(math.exp(-x)) if x >= 0 else -x + math.log1p(math.exp(x))


def smoothed(x: float, e: float) -> float:
    """The label is right with probability 1 - e and flipped with probability e."""
    return (1 - e) * minus_log_sigmoid(x) + e * minus_log_sigmoid(-x)


def simpo(pair: TokenPair, beta: float, gamma: float, label_smoothing: float) -> float:
    reward_margin = beta * gamma  # what the paper writes as gamma
    return smoothed(beta * mean(pair.chosen) - beta * mean(pair.rejected) - reward_margin, label_smoothing)


def simpo_hinge(pair: TokenPair, beta: float, gamma: float) -> float:
    return max(0.0, 1 - (beta * mean(pair.chosen) - beta * mean(pair.rejected) - beta * gamma))


def dpo(pair: TokenPair, beta: float, label_smoothing: float) -> float:
    chosen_reward = beta * (total(pair.chosen) - total(pair.reference_chosen))
    rejected_reward = beta * (total(pair.rejected) - total(pair.reference_rejected))
    return smoothed(chosen_reward - rejected_reward, label_smoothing)


def dpo_norm(pair: TokenPair, beta: float, label_smoothing: float) -> float:
    chosen_ratio = total(pair.chosen) - total(pair.reference_chosen)
    rejected_ratio = total(pair.rejected) - total(pair.reference_rejected)
    chosen_reward = beta / len(pair.chosen) * chosen_ratio
    rejected_reward = beta / len(pair.rejected) * rejected_ratio
    return smoothed(chosen_reward - rejected_reward, label_smoothing)


def ipo(pair: TokenPair, beta: float) -> float:
    policy = mean(pair.chosen) - mean(pair.rejected)
    reference = mean(pair.reference_chosen) - mean(pair.reference_rejected)
    return (policy - reference - 1 / (2 * beta)) ** 2


def orpo(pair: TokenPair, odds_weight: float) -> float:
    def log_odds(tokens: list[float]) -> float:
        log_p = mean(tokens)
        return log_p - math.log(-math.expm1(log_p))

    return odds_weight * minus_log_sigmoid(log_odds(pair.chosen) - log_odds(pair.rejected))


def cpo(pair: TokenPair, beta: float, label_smoothing: float) -> float:
    return smoothed(beta * total(pair.chosen) - beta * total(pair.rejected), label_smoothing)


def simper(pair: TokenPair) -> float:
    chosen_perplexity = math.exp(-mean(pair.chosen))
    rejected_perplexity = math.exp(-mean(pair.rejected))
    return -1 / chosen_perplexity + 1 / rejected_perplexity


def repo(pair: TokenPair, gamma: float) -> float:
    return max(0.0, -(mean(pair.chosen) - mean(pair.rejected) - gamma))


def alphapo(pair: TokenPair, beta: float, gamma: float, alpha: float) -> float:
    def reward(tokens: list[float]) -> float:
        geometric_mean_p = math.exp(mean(tokens))
        if alpha == 0:
            return beta * math.log(geometric_mean_p)
        return beta * (1 - math.pow(geometric_mean_p, -alpha)) / alpha

    return minus_log_sigmoid(reward(pair.chosen) - reward(pair.rejected) - beta * gamma)


def sft_term(pair: TokenPair) -> float:
    return -mean(pair.chosen)


PREFERENCE_LOSSES: dict[str, Callable[..., float]] = {
    "simpo": simpo,
    "simpo_hinge": simpo_hinge,
    "dpo": dpo,
    "dpo_norm": dpo_norm,
    "ipo": ipo,
    "orpo": orpo,
    "cpo": cpo,
    "simper": simper,
    "repo": repo,
    "alphapo": alphapo,
}

REWARDS: dict[str, Callable[[TokenPair, float], tuple[float, float]]] = {
    "mean": lambda pair, beta: (beta * mean(pair.chosen), beta * mean(pair.rejected)),
    "total": lambda pair, beta: (beta * total(pair.chosen), beta * total(pair.rejected)),
    "mean ratio": lambda pair, beta: (
        beta * (mean(pair.chosen) - mean(pair.reference_chosen)),
        beta * (mean(pair.rejected) - mean(pair.reference_rejected)),
    ),
    "total ratio": lambda pair, beta: (
        beta * (total(pair.chosen) - total(pair.reference_chosen)),
        beta * (total(pair.rejected) - total(pair.reference_rejected)),
    ),
}
