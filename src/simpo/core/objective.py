"""From log-probabilities to a method's losses and rewards: the one place where score, reference and SFT term meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.core.methods import METHODS, Method


@dataclass(frozen=True, slots=True)
class Objective:
    """A method of the table with its parameters fixed: what one training step minimises.

    `parameters` are exactly the keyword arguments of the method's loss; anything else is refused where it is
    built.
    """

    method: Method
    parameters: Mapping[str, float]
    sft_weight: float

    def __post_init__(self) -> None:
        if self.parameters.keys() != self.method.defaults.keys():
            takes = ", ".join(self.method.defaults) or "no parameter"
            raise ValueError(f"{self.method.name} takes {takes}, not {', '.join(self.parameters) or 'none'}")

    @classmethod
    def of(
        cls, name: str, parameters: Mapping[str, float] | None = None, sft_weight: float | None = None
    ) -> Objective:
        """The named method, table defaults where nothing is given. Raises KeyError for an unknown name."""
        method = METHODS[name]
        weight = method.sft_weight if sft_weight is None else sft_weight
        return cls(method, {**method.defaults, **(parameters or {})}, weight)

    def scores(self, policy: SequenceLogps, reference: SequenceLogps | None = None) -> Tensor:
        """[N] scores as the loss takes them: mean or total log-probability, less the reference's if there is one.

        Raises ValueError where a reference is given to a method without one, or the reverse, or of another
        length.
        """
        if (reference is None) == self.method.reference:
            raise ValueError(f"{self.method.name} takes {'a' if self.method.reference else 'no'} reference")
        own = policy.mean if self.method.score == "mean" else policy.total
        if reference is None:
            return own
        if len(reference) != len(policy):
            raise ValueError(f"{len(reference)} reference log-probabilities for {len(policy)} completions")
        return own - (reference.mean if self.method.score == "mean" else reference.total)

    def rewards(self, policy: SequenceLogps, reference: SequenceLogps | None = None) -> Tensor:
        """[N] implicit rewards: beta times the score (beta 1 for a method without one).

        AlphaPO, ORPO and SimPER shape the score by increasing functions, which change no comparison of two
        completions; the reward is given unshaped, in nats, so that margins read alike across methods.
        """
        return self.parameters.get("beta", 1.0) * self.scores(policy, reference)

    def pair_losses(self, policy: SequenceLogps, reference: SequenceLogps | None = None) -> Tensor:
        """[B] losses of B pairs from [2B] completions, chosen at even places, rejected at odd; not reduced.

        The SFT term is the chosen completion's negative mean log-probability, so that each pair weighs the
        same whatever its length. Raises ValueError for SFT, which has no loss over pairs, and for an odd
        number of completions.
        """
        if len(policy) % 2:
            raise ValueError(f"{len(policy)} completions do not make pairs")
        scores = self.scores(policy, reference)
        losses = self.method.loss(scores[0::2], scores[1::2], **self.parameters)
        if self.sft_weight == 0:
            return losses
        return losses - self.sft_weight * policy.mean[0::2]

    def losses(self, policy: SequenceLogps, reference: SequenceLogps | None = None) -> Tensor:
        """[B] losses of pairs, or [N] negative totals in nats for SFT; to be summed over `denominator`."""
        if self.method.pairwise:
            return self.pair_losses(policy, reference)
        return -self.scores(policy, reference)

    def denominator(self, num_rows: int, num_completion_tokens: int) -> int:
        """What the summed losses of a global batch are divided by: its pairs, or its scored tokens for SFT."""
        return num_rows if self.method.pairwise else num_completion_tokens
