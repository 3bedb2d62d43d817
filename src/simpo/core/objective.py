"""From log-probabilities to the losses and rewards of a method: the one place where score, reference and SFT term meet."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.core.methods import METHODS, Method


@dataclass(frozen=True, slots=True)
class Objective:
    """A method of the table with its parameters fixed: what one training step minimises."""

    method: Method
    parameters: dict[str, float]
    sft_weight: float

    @classmethod
    def of(cls, name: str, parameters: dict[str, float] | None = None, sft_weight: float | None = None) -> Objective:
        """The named method; what is not given takes the table's default."""
        method = METHODS[name]
        weight = method.sft_weight if sft_weight is None else sft_weight
        return cls(method, {**method.defaults, **(parameters or {})}, weight)

    def scores(self, policy: SequenceLogps, reference: SequenceLogps | None) -> Tensor:
        """[N] scores as the loss takes them: mean or total log-probability, less the reference's where there is one."""
        if (reference is None) == self.method.reference:
            raise ValueError(f"{self.method.name} takes {'a' if self.method.reference else 'no'} reference")
        own = policy.mean if self.method.score == "mean" else policy.total
        if reference is None:
            return own
        return own - (reference.mean if self.method.score == "mean" else reference.total)

    def rewards(self, policy: SequenceLogps, reference: SequenceLogps | None) -> Tensor:
        """[N] implicit rewards: beta times the score (beta 1 for a method without one).

        AlphaPO and ORPO shape the score by increasing functions, which change no comparison of two completions.
        """
        return self.parameters.get("beta", 1.0) * self.scores(policy, reference)

    def pair_losses(self, policy: SequenceLogps, reference: SequenceLogps | None) -> Tensor:
        """[B] losses of B pairs from [2B] completions, chosen at even places, rejected at odd ones; not reduced."""
        scores = self.scores(policy, reference)
        losses = self.method.loss(scores[0::2], scores[1::2], **self.parameters)
        if self.sft_weight == 0:
            return losses
        return losses - self.sft_weight * policy.mean[0::2]

    def losses(self, policy: SequenceLogps, reference: SequenceLogps | None = None) -> Tensor:
        """[B] losses of pairs, or for SFT [N] negative totals in nats, to be divided by `denominator`."""
        return self.pair_losses(policy, reference) if self.method.pairwise else -policy.total

    def denominator(self, num_rows: int, num_completion_tokens: int) -> int:
        """What the summed losses of a global batch are divided by: its pairs, or for SFT its scored tokens."""
        return num_rows if self.method.pairwise else num_completion_tokens
