"""McNemar's test of two methods on the same pairs: exact, mid-p, and for pairs that come in clusters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from simpo.core.intervals import Floats


@dataclass(frozen=True, slots=True)
class McNemar:
    """What the discordant pairs say about "both methods are right equally often".

    first_only, second_only: pairs that one method alone orders as the data does; with several seeds, summed over them.
    ties: pairs on which a method gave both completions the same score; they decide nothing and are left out. exact and
    mid_p: two-sided p-values that take pairs as independent; clustered: the one to read where prompts have several
    pairs, or the same pairs were judged by several seeds. 1 where there is no discordant pair.
    """

    first_only: int
    second_only: int
    ties: int
    exact: float
    mid_p: float
    clustered: float

    def to_json(self) -> dict[str, float | int]:
        """As the comparison holds it."""
        return {
            "first_only": self.first_only,
            "second_only": self.second_only,
            "ties": self.ties,
            "p_exact": self.exact,
            "p_mid": self.mid_p,
            "p_clustered": self.clustered,
        }


def mcnemar(
    first: Sequence[float] | Floats, second: Sequence[float] | Floats, clusters: Sequence[Hashable]
) -> McNemar:
    """Compare outcomes [N] (1 right, 0 wrong, 0.5 tied) of two methods on the same items.

    clusters: [N] labels (prompt ids). Raises ValueError for other outcomes or lengths. Sources: McNemar 1947; mid-p:
    Fagerland, Lydersen and Laake 2013; clustered: Yang, Sun and Hardin 2010, whose score is sum d / sqrt(sum d^2) over
    the clusters' differences d of discordant counts.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) != len(clusters):
        raise ValueError(f"{a.shape}, {b.shape} and {len(clusters)} clusters are not one [N]")
    if not set(np.unique([a, b]).tolist()) <= {0.0, 0.5, 1.0}:
        raise ValueError("an outcome is none of 0, 0.5 and 1")
    decided = (a != 0.5) & (b != 0.5)
    difference = np.where(decided, a - b, 0.0)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    return McNemar(
        wins,
        losses,
        int((~decided).sum()),
        exact_p(wins, losses),
        mid_p(wins, losses),
        _clustered_p(difference, clusters),
    )


def exact_p(wins: int, losses: int) -> float:
    """Two-sided exact binomial p-value of `wins` against `losses` under one half; 1 where there are none."""
    n, low = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    return min(1.0, 2 * _tail(low, n))


def mid_p(wins: int, losses: int) -> float:
    """The exact p-value less half the probability of what was seen: closer to its nominal level for small counts."""
    n, low = wins + losses, min(wins, losses)
    if wins == losses:
        # Half of what was seen counts on either side, so that equal counts give 1 less that probability's half.
        return 1.0 - 0.5 * _point(low, n) if n else 1.0
    return min(1.0, 2 * _tail(low, n) - _point(low, n))


def _point(k: int, n: int) -> float:
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))


def _tail(k: int, n: int) -> float:
    return math.fsum(_point(at, n) for at in range(k + 1))


def _clustered_p(difference: Floats, clusters: Sequence[Hashable]) -> float:
    _, labels = np.unique(np.asarray([str(cluster) for cluster in clusters]), return_inverse=True)
    sums = np.bincount(labels, weights=difference)
    spread = math.sqrt(float((sums**2).sum()))
    if spread == 0:
        return 1.0
    return 2 * NormalDist().cdf(-abs(float(sums.sum())) / spread)
