"""What a policy says of held-out pairs: accuracy under its method's reward, by stratum, with intervals by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simpo.core.intervals import Floats, Interval, share_interval
from simpo.core.logps import SequenceLogps
from simpo.core.metrics import StratumKind, pair_wins, strata
from simpo.core.objective import Objective
from simpo.errors import DataError, RunFailed
from simpo.records import Pair, TokenGroup


@dataclass(frozen=True, slots=True)
class PairFigures:
    """One pair as the policy sees it: totals in nats over tokens (stop token included), rewards as the method's."""

    pair: Pair
    chosen_total: float
    chosen_tokens: int
    rejected_total: float
    rejected_tokens: int
    chosen_reward: float
    rejected_reward: float

    def to_json(self) -> dict[str, Any]:
        """One line of `<label>.pairs.jsonl`."""
        pair = self.pair
        return {
            "id": pair.id,
            "prompt_id": pair.prompt_id,
            "source": str(pair.source),
            "category": pair.category,
            "chosen_chars": len(pair.chosen),
            "rejected_chars": len(pair.rejected),
            "chosen_total": self.chosen_total,
            "chosen_tokens": self.chosen_tokens,
            "rejected_total": self.rejected_total,
            "rejected_tokens": self.rejected_tokens,
            "chosen_reward": self.chosen_reward,
            "rejected_reward": self.rejected_reward,
        }


@dataclass(frozen=True, slots=True)
class StratumAccuracy:
    """Accuracy under the method's reward within one part of the pairs."""

    by: StratumKind
    name: str
    num_pairs: int
    accuracy: Interval

    def to_json(self) -> dict[str, Any]:
        """As the evaluation file holds it."""
        return {
            "by": self.by,
            "name": self.name,
            "num_pairs": self.num_pairs,
            "accuracy": self.accuracy.to_json(),
        }


@dataclass(frozen=True, slots=True)
class PreferenceFigures:
    """Held-out pairs in figures. Ties count half; intervals are 95 %, by bootstrap over prompts.

    reward, mean_logps, total_logps: accuracy under the method's own reward, under mean log-probability (nats per
    token) and under its sum (nats). chosen_logps, rejected_logps: means over pairs of the mean log-probability. margin:
    mean reward difference, in units of reward.
    """

    num_pairs: int
    num_prompts: int
    reward: Interval
    mean_logps: Interval
    total_logps: Interval
    strata: tuple[StratumAccuracy, ...]
    chosen_logps: float
    rejected_logps: float
    margin: float
    pairs: tuple[PairFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """The `preference` section of an evaluation file; the pairs go into a file of their own."""
        return {
            "num_pairs": self.num_pairs,
            "num_prompts": self.num_prompts,
            "accuracy": {
                "reward": self.reward.to_json(),
                "mean_logps": self.mean_logps.to_json(),
                "total_logps": self.total_logps.to_json(),
            },
            "strata": [stratum.to_json() for stratum in self.strata],
            "chosen_logps": self.chosen_logps,
            "rejected_logps": self.rejected_logps,
            "margin": self.margin,
        }


def evaluate_preferences(
    groups: Sequence[TokenGroup],
    policy: SequenceLogps,
    objective: Objective,
    *,
    reference: SequenceLogps | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> PreferenceFigures:
    """Compare chosen with rejected in B pairs, given the log-probabilities of their [2B] completions.

    groups: of `Pair` rows. policy, reference: [2B] in the order of the groups, chosen at even places; reference
    exactly where the method takes one. Raises DataError for no pairs, RunFailed where a log-probability is not finite.
    """
    pairs = _pairs(groups)
    if len(policy) != 2 * len(pairs) or (reference is not None and len(reference) != len(policy)):
        raise ValueError(f"{len(pairs)} pairs need {2 * len(pairs)} log-probabilities, got {len(policy)}")
    # float64, so that dividing by a length makes no tie and breaks none
    policy = _doubles(policy)
    rewards = objective.rewards(policy, None if reference is None else _doubles(reference)).numpy()
    totals, means = policy.total.numpy(), policy.mean.numpy()
    _check_finite(pairs, rewards)
    prompts = [pair.prompt_id for pair in pairs]

    everywhere = list(range(len(pairs)))

    def accuracy(scores: Floats, members: Sequence[int] = everywhere) -> Interval:
        wins = pair_wins(scores[0::2], scores[1::2])[members]
        return share_interval(wins, [prompts[at] for at in members], seed=seed, num_resamples=num_resamples)

    parts = strata(
        [len(pair.chosen) for pair in pairs],
        [len(pair.rejected) for pair in pairs],
        [pair.category for pair in pairs],
    )
    return PreferenceFigures(
        num_pairs=len(pairs),
        num_prompts=len(set(prompts)),
        reward=accuracy(rewards),
        mean_logps=accuracy(means),
        total_logps=accuracy(totals),
        strata=tuple(
            StratumAccuracy(part.by, part.name, len(part.members), accuracy(rewards, part.members.tolist()))
            for part in parts
        ),
        chosen_logps=float(means[0::2].mean()),
        rejected_logps=float(means[1::2].mean()),
        margin=float((rewards[0::2] - rewards[1::2]).mean()),
        pairs=_pair_figures(pairs, policy, rewards),
    )


def _pairs(groups: Sequence[TokenGroup]) -> list[Pair]:
    pairs = [group.row for group in groups if isinstance(group.row, Pair)]
    if len(pairs) != len(groups) or not pairs:
        raise DataError(
            "there are no pairs to evaluate: held-out data must hold chosen and rejected completions"
        )
    return pairs


def _doubles(logps: SequenceLogps) -> SequenceLogps:
    return SequenceLogps(logps.total.detach().cpu().to(torch.float64), logps.tokens.cpu())


def _check_finite(pairs: Sequence[Pair], rewards: Floats) -> None:
    broken = np.flatnonzero(~np.isfinite(rewards))
    if len(broken):
        pair = pairs[int(broken[0]) // 2]
        raise RunFailed(
            f"the log-probability of pair {pair.id} is not finite: the model's weights are broken",
            where=str(pair.source),
            fix="evaluate an earlier checkpoint, or train with a lower train.lr",
        )


def _pair_figures(pairs: Sequence[Pair], policy: SequenceLogps, rewards: Floats) -> tuple[PairFigures, ...]:
    totals, tokens = policy.total.tolist(), policy.tokens.tolist()
    return tuple(
        PairFigures(
            pair,
            chosen_total=totals[2 * at],
            chosen_tokens=tokens[2 * at],
            rejected_total=totals[2 * at + 1],
            rejected_tokens=tokens[2 * at + 1],
            chosen_reward=float(rewards[2 * at]),
            rejected_reward=float(rewards[2 * at + 1]),
        )
        for at, pair in enumerate(pairs)
    )
