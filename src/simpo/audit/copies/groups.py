"""Things joined into groups: what is near to what is near belongs together."""

from __future__ import annotations

import numpy as np

from simpo.audit.copies.minhash import I64


class Groups:
    """N things, numbered from 0, each in a group of its own until they are joined. 8 bytes a thing."""

    def __init__(self, count: int) -> None:
        self.labels: I64 = np.arange(count, dtype=np.int64)

    def join(self, one: I64, other: I64) -> None:
        """Put the groups of `one[k]` and `other[k]` together, for every k; linear in N."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left, right = self.labels[one], self.labels[other]
        new = left != right
        if not new.any():
            return
        size = len(self.labels)
        edges = coo_array((np.ones(int(new.sum()), np.int8), (left[new], right[new])), shape=(size, size))
        joined = connected_components(edges, directed=False)[1].astype(np.int64)
        self.labels = joined[self.labels]

    def apart(self, one: I64, other: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[N] whether `one[k]` and `other[k]` are in different groups."""
        return np.asarray(self.labels[one] != self.labels[other])

    def split(self, members: I64, groups: Groups) -> None:
        """Put things into groups of their own, apart from all others: those that `groups` says of them."""
        self.labels[members] = self.labels.max() + 1 + groups.labels
        self.labels = np.unique(self.labels, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def larger_than(self, size: int) -> list[I64]:
        """The members, ascending, of each group of more things than this."""
        counts = np.bincount(self.labels, minlength=1)
        order = np.argsort(self.labels, kind="stable")
        ends = np.cumsum(counts)
        return [order[ends[label] - counts[label] : ends[label]] for label in np.flatnonzero(counts > size)]

    def sizes(self) -> I64:
        """[N] the size of each thing's group."""
        return np.bincount(self.labels, minlength=len(self.labels))[self.labels].astype(np.int64)


MOST_REFUSED = 12


class Refused:
    """Which of N things were compared and found unlike, so that none is compared for ever with all that seem like it.

    A thing that was refused MOST_REFUSED times is only compared with one that was not: N times that many in all.
    """

    def __init__(self, count: int) -> None:
        self._pairs: set[tuple[int, int]] = set()
        self._times = np.zeros(count, np.int32)

    def add(self, one: int, other: int) -> None:
        """Note that two things are unlike; `one` is the smaller number."""
        self._pairs.add((one, other))
        self._times[one] += 1
        self._times[other] += 1

    def open(self, one: I64, other: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[N] whether `one[k]` or `other[k]` may still be compared with others."""
        return np.asarray(np.minimum(self._times[one], self._times[other]) < MOST_REFUSED)

    def __contains__(self, pair: tuple[int, int]) -> bool:
        """Whether two things, the smaller number first, were found unlike."""
        return pair in self._pairs


def first_of_group(labels: I64) -> I64:
    """[N] for each thing the lowest number in its group."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[group.reshape(-1)], dtype=np.int64)
