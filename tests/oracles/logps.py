"""Log-probabilities of targets from logits, one position at a time, in Python's own float64."""

from __future__ import annotations

import math
from collections.abc import Sequence


def token_logp(logits: Sequence[float], target: int) -> float:
    """log softmax(logits)[target]: distances to the target first, so that nothing large is subtracted later."""
    above = [logit - logits[target] for logit in logits]
    highest = max(above)
    return -highest - math.log(math.fsum(math.exp(distance - highest) for distance in above))


def sequence_logps(
    rows: Sequence[Sequence[float]], scored: Sequence[Sequence[bool]]
) -> list[tuple[float, int]]:
    """Total and number of the scored tokens of each row."""
    kept = [
        [logp for logp, keep in zip(row, mask, strict=True) if keep]
        for row, mask in zip(rows, scored, strict=True)
    ]
    return [(math.fsum(row), len(row)) for row in kept]
