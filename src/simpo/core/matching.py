"""Length-matched pairs: as many with a longer chosen reply as with a shorter one, by about the same factor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simpo.core.intervals import Floats, Ints

CALIPER = 0.1  # of the natural logarithm of the length ratio: 1.50 times as long goes with 1.36 to 1.66 times shorter


def length_matched(chosen: npt.ArrayLike, rejected: npt.ArrayLike, *, caliper: float = CALIPER) -> Ints:
    """Places of the pairs in a part of the data where length alone says nothing: choosing the longer scores one half.

    chosen, rejected: [N] lengths, all positive. Pairs of equal length are in; of the others, each pair whose chosen
    completion is longer is matched with one whose chosen is shorter by a factor within `caliper` (in log units), as
    many as can be; the rest is left out. Ascending. Raises ValueError for lengths of other shapes or not positive.
    """
    ratios = _log_ratios(chosen, rejected)
    longer = sorted(np.flatnonzero(ratios > 0).tolist(), key=lambda at: (ratios[at], at))
    shorter = sorted(np.flatnonzero(ratios < 0).tolist(), key=lambda at: (-ratios[at], at))
    matched = np.flatnonzero(ratios == 0).tolist()
    i = j = 0
    # On a line, with one caliper for all, taking the smallest two that fit leaves out the fewest.
    while i < len(longer) and j < len(shorter):
        gap = ratios[longer[i]] + ratios[shorter[j]]
        if abs(gap) <= caliper:
            matched += [longer[i], shorter[j]]
            i, j = i + 1, j + 1
        elif gap < 0:
            i += 1
        else:
            j += 1
    return np.asarray(sorted(matched), dtype=np.int64)


def _log_ratios(chosen: npt.ArrayLike, rejected: npt.ArrayLike) -> Floats:
    first, second = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"chosen {first.shape} and rejected {second.shape} must be one [N]")
    if len(first) and (first.min() <= 0 or second.min() <= 0):
        raise ValueError("a length is not positive")
    ratios: Floats = np.log(first) - np.log(second)
    return ratios
