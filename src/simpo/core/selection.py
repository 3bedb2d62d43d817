"""Which of several trained settings to take: the best accuracy, ties to the one that changed the model least."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.core.intervals import clustered_variance, labelled


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting with its outcomes [N] on the held-out pairs: 1 won, 0.5 tied, 0 lost, the pairs in one order for all.

    drift: how far the model has moved from its start, in any unit that all share; None counts as the furthest. beta:
    the method's; None counts as the smallest.
    """

    name: str
    wins: tuple[float, ...]
    drift: float | None = None
    beta: float | None = None

    @property
    def accuracy(self) -> float:
        """Mean of the outcomes."""
        return math.fsum(self.wins) / len(self.wins)


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen candidate, the one with the best accuracy, and the names of all that tie with the latter."""

    chosen: Candidate
    top: Candidate
    ties: tuple[str, ...]


def standard_error(first: npt.ArrayLike, second: npt.ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Standard error of mean(first) - mean(second) over the same [N] pairs, clustered by prompt, in units of share.

    Both models meet the same pairs, hard ones and easy ones, so this is smaller than the error of either accuracy. It
    is the error that two equal models would have (squares about zero, not about the mean found, as in McNemar's test):
    about their mean, the differences of models that a single pair tells apart have an error below the difference.
    Infinite where all pairs share one prompt.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    x, labels = labelled(differences, clusters)
    if int(labels.max()) == 0:
        return math.inf
    return math.sqrt(clustered_variance(x, labels, about=0.0))


def select(candidates: Sequence[Candidate], clusters: Sequence[Hashable]) -> Selection:
    """The candidate to take, as the first of `rank`. Raises ValueError for no candidates."""
    if not candidates:
        raise ValueError("no candidates")
    top = max(candidates, key=lambda candidate: (candidate.accuracy, *_preference(candidate)))
    tied = [
        candidate
        for candidate in candidates
        if top.accuracy - candidate.accuracy <= standard_error(top.wins, candidate.wins, clusters) + 1e-12
    ]
    return Selection(max(tied, key=_preference), top, tuple(candidate.name for candidate in tied))


def rank(candidates: Sequence[Candidate], clusters: Sequence[Hashable]) -> list[Candidate]:
    """All candidates, the one to take first, then the one to take if that did not exist, and so on."""
    left, order = list(candidates), []
    while left:
        chosen = select(left, clusters).chosen
        order.append(chosen)
        left.remove(chosen)
    return order


def _preference(candidate: Candidate) -> tuple[float, float]:
    """Among equals: less drift, then the larger beta."""
    drift = math.inf if candidate.drift is None else candidate.drift
    return -drift, -math.inf if candidate.beta is None else candidate.beta
