"""Things joined into groups: what is near to what is near belongs together."""

from __future__ import annotations

import numpy as np

from simpo.audit.minhash import I64


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

    def sizes(self) -> I64:
        """[N] the size of each thing's group."""
        return np.bincount(self.labels, minlength=len(self.labels))[self.labels].astype(np.int64)


def first_of_group(labels: I64) -> I64:
    """[N] for each thing the lowest number in its group."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[group.reshape(-1)], dtype=np.int64)
