"""Intervals of shares and of functions of sums over clustered rows, in time linear in the rows: for large files."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from simpo.core.intervals import (
    Floats,
    Interval,
    clustered_variance,
    normal_quantile,
    percentile_ends,
    student_t,
    wilson,
)

Labels = npt.NDArray[np.integer]

_MAX_DRAWS = 30_000_000  # binomial draws of one bootstrap, at most: some seconds


def dense(labels: Labels) -> npt.NDArray[np.int64]:
    """Any integers (hashes of prompts) [N] as cluster numbers 0 ... G - 1, equal where the labels are."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def clustered_share(values: npt.ArrayLike, clusters: Labels, *, level: float = 0.95) -> Interval:
    """The mean of outcomes [N] in [0, 1] with Wilson's interval at the effective sample size of the clustering.

    clusters: [N] integers; outcomes of one cluster (prompt, pair) may depend on each other. The effective size is
    p (1 - p) / variance, the variance never below that of independent values, shrunk by (z / t)^2 for few clusters
    (Korn and Graubard 1998); where all outcomes are 0 or all are 1 it is the number of clusters. NaN ends for one
    cluster. The closed form of `share_interval`, without its bootstrap: linear time but for one sort.

    Raises ValueError for no values, for ones outside [0, 1] and where the lengths differ.
    """
    x, labels = np.asarray(values, dtype=np.float64), dense(np.asarray(clusters))
    if x.ndim != 1 or len(x) == 0 or len(x) != len(labels):
        raise ValueError(f"values {x.shape} and {len(labels)} clusters must be one [N], N > 0")
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("a value is outside [0, 1]")
    share = float(x.mean())
    num_clusters = int(labels.max()) + 1
    if num_clusters < 2:
        return Interval(share, math.nan, math.nan)
    variance = max(
        clustered_variance(x, labels), share * (1 - share) / len(x) if _binary(x) else x.var() / len(x)
    )
    effective = float(num_clusters) if variance == 0 else share * (1 - share) / variance
    effective *= (normal_quantile(level) / student_t(level, num_clusters - 1)) ** 2
    score = wilson(min(share * effective, effective), effective, level=level)
    return Interval(share, score.low, score.high)


def _binary(x: Floats) -> bool:
    return bool(np.isin(x, (0.0, 1.0)).all())


def bootstrap_of_sums(
    terms: npt.ArrayLike,
    clusters: Labels,
    statistic: Callable[[Floats], Floats],
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of the column sums of `terms` [N, K] with its percentile interval over resampled whole clusters.

    statistic: sums [R, K] -> values [R], NaN where it is undefined (such resamples are left out). Clusters whose sums
    are equal are drawn together, by one multinomial draw over the distinct sums: exactly the bootstrap over clusters,
    in time that grows with the distinct sums (a few hundred for votes of a few annotators) and not with N. Where they
    are very many, the resamples become fewer, never below 200. NaN ends for one cluster.
    """
    x, labels = np.asarray(terms, dtype=np.float64), dense(np.asarray(clusters))
    if x.ndim != 2 or len(x) == 0 or len(x) != len(labels):
        raise ValueError(f"terms {x.shape} and {len(labels)} clusters must be [N, K] and [N], N > 0")
    value = float(statistic(x.sum(0, keepdims=True))[0])
    num_clusters = int(labels.max()) + 1
    if num_clusters < 2:
        return Interval(value, math.nan, math.nan)
    sums = np.stack([np.bincount(labels, weights=column) for column in x.T], axis=1)
    distinct, counts = np.unique(sums, axis=0, return_counts=True)
    num_resamples = max(200, min(num_resamples, _MAX_DRAWS // len(distinct)))
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [rng.multinomial(num_clusters, counts / num_clusters) @ distinct for _ in range(num_resamples)]
    )
    found = statistic(drawn)
    found = found[~np.isnan(found)]
    if len(found) == 0:
        return Interval(value, math.nan, math.nan)
    low, high = percentile_ends(found, num_clusters, level)
    return Interval(value, low, high)


def independent_difference(first: Interval, second: Interval) -> Interval:
    """first - second of two independent shares, its interval made of theirs: Newcombe 1998, method 10 (MOVER).

    Unlike the usual normal interval it stays within -1 and 1 and is not empty where a share is 0 or 1.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)
