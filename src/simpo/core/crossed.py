"""Intervals for a method trained with several seeds and measured on the same pairs: seeds and pairs both count."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from simpo.core.intervals import (
    Floats,
    Interval,
    cluster_bootstrap,
    clustered_variance,
    labelled,
    paired_difference,
    share_interval,
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One source of uncertainty: its share of the mean's variance and the degrees of freedom behind it."""

    variance: float
    freedom: int


def crossed_mean(
    values: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Interval:
    """Mean over K seeds on the same N items, [K, N], with an interval that speaks of other seeds and other prompts.

    The variance of the grand mean is that of the seed-averaged items, drawn by cluster, plus that of the K seeds'
    means over K; the interval is Student's with Satterthwaite's degrees of freedom, cut to `bounds`. With few seeds
    that differ much it is wide, as it must be. One seed: `share_interval` for outcomes in [0, 1], else
    `cluster_bootstrap`, which speak of other prompts only. bounds: what a value can lie in; None for any. Raises
    ValueError for values that are no [K, N] of finite numbers within the bounds.
    """
    x = _matrix(values, clusters, bounds)
    items = x.mean(axis=0)
    if bounds == (0.0, 1.0):
        across = share_interval(items, clusters, level=level, seed=seed)
    else:
        across = cluster_bootstrap(items, clusters, level=level, seed=seed, bounds=bounds)
    if len(x) == 1:
        return across
    low, high = _hull(_student(across.value, [_items(items, clusters), _seeds(x)], level), across)
    if bounds is not None:
        low, high = max(bounds[0], low), min(bounds[1], high)
    return Interval(across.value, low, high)


def crossed_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Interval:
    """mean(first) - mean(second) of two methods over the same N items, [K, N] and [L, N] for their K and L seeds.

    Items are compared one by one; seeds are not (two methods share no randomness that would make seed 1 of one go with
    seed 1 of the other). The variance is that of the items' differences, drawn by cluster, plus each method's variance
    between seeds over their number. With one seed on a side nothing is known of that side's: the interval then
    speaks of other prompts only, as `paired_difference` does. bounds: what a single value can lie in; None for any.
    """
    a, b = _matrix(first, clusters, bounds), _matrix(second, clusters, bounds)
    means = a.mean(axis=0), b.mean(axis=0)
    across = paired_difference(*means, clusters, level=level, seed=seed, bounds=bounds)
    seeds = [_seeds(values) for values in (a, b) if len(values) > 1]
    if not seeds:
        return across
    interval = _student(across.value, [_items(means[0] - means[1], clusters), *seeds], level)
    low, high = _hull(interval, across)
    if bounds is not None:
        width = bounds[1] - bounds[0]
        low, high = max(-width, low), min(width, high)
    return Interval(across.value, low, high)


def _hull(first: Interval, second: Interval) -> tuple[float, float]:
    lows = [end for end in (first.low, second.low) if not math.isnan(end)]
    highs = [end for end in (first.high, second.high) if not math.isnan(end)]
    return min(lows, default=math.nan), max(highs, default=math.nan)


def _items(values: Floats, clusters: Sequence[Hashable]) -> _Part:
    x, labels = labelled(values, clusters)
    return _Part(clustered_variance(x, labels), int(labels.max()))


def _seeds(values: Floats) -> _Part:
    return _Part(float(values.mean(axis=1).var(ddof=1)) / len(values), len(values) - 1)


def _student(value: float, parts: Sequence[_Part], level: float) -> Interval:
    """Student's interval with Satterthwaite's degrees of freedom for a sum of estimated variances (Biometrics 1946)."""
    variance = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts if part.freedom > 0)
    if variance == 0 or spread == 0:
        return Interval(value, math.nan, math.nan)
    half = float(student.ppf((1 + level) / 2, variance**2 / spread)) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def _matrix(
    values: npt.ArrayLike, clusters: Sequence[Hashable], bounds: tuple[float, float] | None = (0.0, 1.0)
) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.size == 0 or x.shape[1] != len(clusters):
        raise ValueError(f"values {x.shape} must be [K, N] for {len(clusters)} items")
    if not np.isfinite(x).all():
        raise ValueError("a value is not finite")
    if bounds is not None and (x.min() < bounds[0] or x.max() > bounds[1]):
        raise ValueError(f"a value is outside {bounds}")
    return x
