"""How far the length of the replies gives the label away, and the part of the pairs in which it does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simpo.core.matching import length_matched
from simpo.core.ranking import pair_auc
from simpo.data.manifest import LengthSkew

Ints = npt.NDArray[np.int64]


def length_skew(chosen: Ints, rejected: Ints) -> LengthSkew | None:
    """The skew of N pairs by the lengths of their replies in characters; None without pairs."""
    if len(chosen) == 0:
        return None
    different = chosen != rejected
    longer = float((chosen[different] > rejected[different]).mean()) if different.any() else 0.5
    auc = pair_auc(np.log(chosen) - np.log(rejected), np.arange(len(chosen))).value
    # Rounded, for the last bits of a sum depend on the machine.
    return LengthSkew(rows=len(chosen), longer_chosen=round(longer, 6), auc=round(auc, 6))


def subsample(chosen: Ints, rejected: Ints, order: npt.NDArray[np.uint64]) -> Ints:
    """Places of the pairs to keep so that length says nothing, ascending; see `simpo.core.matching`.

    order: [N] the ids of the pairs: which of several alike are kept does not depend on the order they are given in.
    """
    by_id = np.argsort(order, kind="stable")
    return np.sort(by_id[length_matched(chosen[by_id], rejected[by_id])])
