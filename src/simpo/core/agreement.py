"""How far annotators agree beyond chance: Krippendorff's alpha, Cohen's and Fleiss' kappa, each with its interval.

All are nominal (two different categories disagree, whatever they are) and of one form, 1 - observed / expected
disagreement: 1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement. They are NaN where nothing
can be compared, or where all votes are of one category, so that nothing could have disagreed.

Intervals are bootstraps over whole clusters (`simpo.core.clustered`). Where no disagreement was seen at all a bootstrap
would claim certainty: the lower end is then what Wilson's bound of 0 of G clusters leaves possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from simpo.core.clustered import Labels, bootstrap_of_sums, dense
from simpo.core.intervals import Floats, Interval, wilson

# Sums [R, K] -> observed and expected disagreement, each [R], as shares.
_Shares = Callable[[Floats], tuple[Floats, Floats]]
_NOTHING = Interval(math.nan, math.nan, math.nan)


def krippendorff_alpha(
    counts: npt.ArrayLike, clusters: Labels | None = None, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Krippendorff's alpha of N items with any number of votes each: counts [N, C] by category.

    Items with fewer than two votes say nothing and are left out. clusters: [N] integers, what is resampled together
    (prompts); None for each item by itself. Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    table = np.asarray(counts, dtype=np.float64)
    votes = table.sum(1)
    paired = votes >= 2
    if not paired.any():
        return _NOTHING
    table, votes = table[paired], votes[paired]
    # Ordered pairs of unequal votes within an item, an item weighing as many as it has votes.
    unequal = (votes**2 - (table**2).sum(1)) / (votes - 1)
    return _interval(np.column_stack([unequal, table]), _labels(clusters, paired), _alpha, level, seed)


def _alpha(sums: Floats) -> tuple[Floats, Floats]:
    unequal, by_category = sums[:, 0], sums[:, 1:]
    total = by_category.sum(1)
    return unequal / total, (total**2 - (by_category**2).sum(1)) / (total * (total - 1))


def fleiss_kappa(
    counts: npt.ArrayLike, clusters: Labels | None = None, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Fleiss' kappa of N items with the same number of votes each, two or more: counts [N, C] by category.

    Raises ValueError where the numbers of votes differ. Clusters as in `krippendorff_alpha`, from which it differs by
    that one's correction for few items. Source: Fleiss 1971.
    """
    table = np.asarray(counts, dtype=np.float64)
    votes = table.sum(1)
    if len(table) == 0 or votes[0] < 2 or (votes != votes[0]).any():
        raise ValueError("Fleiss' kappa needs one number of votes, two at least, for every item")
    unequal = (votes**2 - (table**2).sum(1)) / (votes * (votes - 1))
    terms = np.column_stack([np.ones(len(table)), unequal, table])
    return _interval(terms, _labels(clusters, np.ones(len(table), np.bool_)), _fleiss, level, seed)


def _fleiss(sums: Floats) -> tuple[Floats, Floats]:
    items, unequal, by_category = sums[:, 0], sums[:, 1], sums[:, 2:]
    shares = by_category / by_category.sum(1, keepdims=True)
    return unequal / items, 1 - (shares**2).sum(1)


def cohen_kappa(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    num_categories: int,
    clusters: Labels | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa of two annotators who judged the same N items: categories [N] each, 0 ... num_categories - 1.

    Each annotator's own habits make the agreement by chance. Clusters as in `krippendorff_alpha`. Raises ValueError
    where the lengths differ. Source: Cohen 1960.
    """
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} and {b.shape} judgements are no pairs")
    if len(a) == 0:
        return _NOTHING
    cells = np.zeros((len(a), num_categories**2))
    cells[np.arange(len(a)), a * num_categories + b] = 1
    return _interval(cells, _labels(clusters, np.ones(len(a), np.bool_)), _cohen, level, seed)


def _cohen(sums: Floats) -> tuple[Floats, Floats]:
    size = math.isqrt(sums.shape[1])
    table = (sums / sums.sum(1, keepdims=True)).reshape(len(sums), size, size)
    equal = np.trace(table, axis1=1, axis2=2)
    return 1 - equal, 1 - (table.sum(2) * table.sum(1)).sum(1)


def _labels(clusters: Labels | None, kept: npt.NDArray[np.bool_]) -> Labels:
    return np.arange(len(kept))[kept] if clusters is None else np.asarray(clusters)[kept]


def _interval(terms: Floats, labels: Labels, shares: _Shares, level: float, seed: int) -> Interval:
    def statistic(sums: Floats) -> Floats:
        observed, expected = shares(sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Expected is 0 up to rounding where all votes are of one category.
            return np.where(expected > 1e-12, 1 - observed / expected, math.nan)

    found = bootstrap_of_sums(terms, labels, statistic, level=level, seed=seed)
    observed, expected = (float(share[0]) for share in shares(terms.sum(0, keepdims=True)))
    if math.isnan(found.value) or observed > 1e-12 or math.isnan(found.low):
        return found
    unseen = wilson(0, len(np.unique(dense(labels))), level=level).high
    return Interval(found.value, 1 - unseen / expected, 1.0)
