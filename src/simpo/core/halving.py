"""Early stopping of hopeless trials: successive halving that never stops the best, nor what noise alone sets apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

REDUCTION = 3


def hopeless(
    accuracy: float, others: Sequence[float], *, num_prompts: int, reduction: int = REDUCTION
) -> bool:
    """Whether a trial may be stopped at this point of its training.

    accuracy: its own on the held-out pairs. others: those of the other trials at the same point. num_prompts: how many
    independent prompts the accuracies are measured on. A trial goes on when it is among the best 1 / `reduction` (of
    all seen so far, rounded up), or within one standard error of the best; with fewer than `reduction` trials none is
    stopped. The trial with the best accuracy so far therefore always goes on.

    Source: asynchronous successive halving, Li et al. 2020, arXiv:1810.05934; the standard error is ours.
    """
    seen = sorted([accuracy, *others], reverse=True)
    if len(seen) < reduction:
        return False
    last_kept = seen[math.ceil(len(seen) / reduction) - 1]
    best = seen[0]
    error = math.sqrt(max(best * (1 - best), 0.25 / num_prompts) / num_prompts)
    return accuracy < last_kept and best - accuracy > error
