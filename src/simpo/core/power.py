"""How many pairs would be needed to see a difference: for planning the next comparison, not for reading this one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from simpo.core.intervals import Floats, clustered_variance, labelled


@dataclass(frozen=True, slots=True)
class PairsNeeded:
    """Size of a comparison that finds a difference as large as the one seen with probability `power`.

    pairs: rounded up; None where no difference was seen, or where there was nothing to estimate its spread from.
    clusters: prompts that hold so many pairs, at as many pairs a prompt as here. design_effect: by how much clustering
    inflates the variance; at least 1, since fewer prompts than here would not make pairs more informative.
    """

    difference: float
    power: float
    level: float
    design_effect: float
    pairs: int | None
    clusters: int | None

    def to_json(self) -> dict[str, float | int | None]:
        """As the comparison holds it."""
        return {
            "difference": self.difference,
            "power": self.power,
            "level": self.level,
            "design_effect": self.design_effect,
            "pairs": self.pairs,
            "prompts": self.clusters,
        }


def pairs_needed(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    *,
    power: float = 0.8,
    level: float = 0.95,
) -> PairsNeeded:
    """From outcomes [N] of two methods on the same items, the N at which a two-sided test would find mean(a - b).

    n = D (z_level sqrt(v + d^2) + z_power sqrt(v))^2 / d^2 with d the mean difference, v the variance of a single
    one, v + d^2 the same under no difference, and D the design effect of the clusters. For outcomes of 0 and 1, v + d^2
    is the share of discordant pairs, which is Connor's formula for McNemar's test (Biometrics 1987). The figure carries
    the whole uncertainty of d: a lucky difference needs few pairs. Raises ValueError for unequal lengths.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs")
    x, labels = labelled(a - b, clusters)
    difference, variance = float(x.mean()), float(x.var())
    num_clusters = int(labels.max()) + 1
    effect = 1.0
    if variance > 0 and num_clusters > 1:
        effect = max(1.0, clustered_variance(x, labels) * (len(x) - 1) / variance)
    if difference == 0 or variance == 0:
        return PairsNeeded(difference, power, level, effect, None, None)
    z_level, z_power = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    root = z_level * math.sqrt(variance + difference**2) + z_power * math.sqrt(variance)
    pairs = math.ceil(effect * root**2 / difference**2)
    return PairsNeeded(difference, power, level, effect, pairs, math.ceil(pairs * num_clusters / len(x)))
