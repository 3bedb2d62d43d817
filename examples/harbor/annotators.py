"""Three simulated annotators: each sees quality through noise, and each has a weakness of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .replies import Reply


@dataclass(frozen=True, slots=True)
class Annotator:
    """One annotator; all three figures are on the scale of the rubric score, 0 to 1."""

    name: str
    noise: float  # standard deviation of what they think of one comparison
    length_liking: float  # bonus of a reply that is very much longer than the other
    position_effect: float  # bonus of the reply shown first


ANNOTATORS = (
    Annotator("ann-1", noise=0.08, length_liking=0.02, position_effect=0.01),
    Annotator("ann-2", noise=0.12, length_liking=0.10, position_effect=0.02),
    Annotator("ann-3", noise=0.18, length_liking=-0.03, position_effect=0.05),
)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator was shown first, and whether they took it."""

    annotator: str
    first: int  # 0 or 1: which of the two candidates was shown first
    took_first: bool

    @property
    def winner(self) -> int:
        """The candidate preferred, 0 or 1."""
        return self.first if self.took_first else 1 - self.first


def vote(a: Reply, b: Reply, rng: random.Random) -> tuple[Vote, ...]:
    """One vote of each annotator on candidates `a` (0) and `b` (1), each in an order of their own."""
    return tuple(_vote(annotator, a, b, rng) for annotator in ANNOTATORS)


def majority(votes: Sequence[Vote]) -> int:
    """The candidate that most annotators prefer; three votes never tie."""
    return int(2 * sum(v.winner for v in votes) > len(votes))


def vote_records(votes: Sequence[Vote], chosen: int) -> list[dict[str, str]]:
    """The votes as they stand in a row whose chosen reply is candidate `chosen`."""
    return [
        {
            "annotator": v.annotator,
            "first": "chosen" if v.first == chosen else "rejected",
            "choice": "first" if v.took_first else "second",
        }
        for v in votes
    ]


def agreement_alpha(labels: Sequence[Sequence[int]]) -> float:
    """Krippendorff's alpha for nominal 0/1 labels without gaps: a row per pair, a column per annotator."""
    raters = len(labels[0])
    ones = sum(map(sum, labels))
    total = raters * len(labels)
    observed = sum(sum(row) * (raters - sum(row)) for row in labels) * 2 / (total * (raters - 1))
    expected = 2 * ones * (total - ones) / (total * (total - 1))
    return 1.0 - observed / expected if expected else 1.0


def _vote(annotator: Annotator, a: Reply, b: Reply, rng: random.Random) -> Vote:
    first = rng.randrange(2)
    longer = (len(a.text) - len(b.text)) / (len(a.text) + len(b.text))
    lead = a.quality.score - b.quality.score + annotator.length_liking * longer
    lead += annotator.position_effect * (1 if first == 0 else -1) + annotator.noise * _normal(rng)
    return Vote(annotator.name, first, took_first=(lead > 0) == (first == 0))


def _normal(rng: random.Random) -> float:
    # Twelve uniforms instead of `gauss`: no logarithm or cosine, hence the same bits on every machine.
    return sum(rng.random() for _ in range(12)) - 6.0
