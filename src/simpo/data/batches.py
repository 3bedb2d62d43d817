"""The order of training: which rows make which batch, decided by seed and step alone, so any step can be redone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simpo.records import TokenGroup


class BatchOrder:
    """Batches of `num_rows` rows, `batch_size` at a time, in a new order each epoch.

    Step s (from 0) of epoch e depends on (seed, e) alone: a resumed run takes the very batches it would have taken. The
    last batch of an epoch may be smaller; no row is repeated or left out within an epoch.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int) -> None:
        if num_rows < 1 or batch_size < 1:
            raise ValueError("a batch order needs at least one row and a batch size of at least one")
        self.num_rows, self.batch_size, self.seed = num_rows, batch_size, seed
        self.steps_per_epoch = math.ceil(num_rows / batch_size)
        self._epoch = -1
        self._order: np.ndarray[tuple[int], np.dtype[np.int64]] = np.empty(0, np.int64)

    def num_steps(self, epochs: float, max_steps: int | None) -> int:
        """Optimizer steps of this many passes over the rows, at least one."""
        steps = max(1, round(epochs * self.steps_per_epoch))
        return steps if max_steps is None else min(steps, max_steps)

    def batch(self, step: int) -> list[int]:
        """Row indices of the step (from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)
            self._epoch = epoch
        return [int(i) for i in self._order[place * self.batch_size : (place + 1) * self.batch_size]]


def micro_batches(groups: Sequence[TokenGroup], size: int) -> Iterator[list[TokenGroup]]:
    """Cut a batch into micro-batches of at most `size` groups, like lengths together so that little is padded.

    The longest come first: what does not fit in memory fails at once, and later ones fit where they did.
    """
    by_length = sorted(groups, key=lambda group: -group.longest)
    for start in range(0, len(by_length), size):
        yield by_length[start : start + size]


def micro_batches_of_tokens(
    groups: Sequence[TokenGroup], budget: int, tokens: Callable[[Sequence[TokenGroup]], int]
) -> Iterator[list[TokenGroup]]:
    """Cut a batch into micro-batches of at most `budget` tokens, like lengths together, the longest first.

    tokens: what some groups take in one forward, packed or padded. A group that is longer stands alone.
    """
    together: list[TokenGroup] = []
    for group in sorted(groups, key=lambda group: -group.longest):
        if together and tokens([*together, group]) > budget:
            yield together
            together = []
        together.append(group)
    if together:
        yield together
