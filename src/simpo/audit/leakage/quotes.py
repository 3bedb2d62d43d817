"""Questions that stand word for word inside longer prompts, found by the hashes of all runs of 32 characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simpo.audit.copies.minhash import I64, U64

QUOTED = 32  # characters: five or six words
COVERED = 0.8  # share of a question's runs that a prompt must hold
COMMON = 20  # a run in more questions than this is a phrase of the benchmark's own and tells nothing
_STEP = 0x9E3779B97F4A7C15
_MIX = 0xD6E8FEB86659FD93


def runs(texts: Sequence[str]) -> tuple[U64, I64]:
    """Hashes of the runs of QUOTED characters of some texts, and of which text each is; shorter texts have none."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if len(codes) < QUOTED:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    width, factor = 1, _STEP
    while width < QUOTED:  # the hash of a run of 2 n is made of those of its halves
        codes = codes[:-width] * np.uint64(factor) + codes[width:]
        width, factor = 2 * width, factor * factor % 2**64
    codes = (codes ^ (codes >> np.uint64(32))) * np.uint64(_MIX)
    owner = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)[: len(codes)]
    left = np.repeat(np.cumsum(lengths), lengths)[: len(codes)] - np.arange(len(codes))
    whole = left >= QUOTED
    return codes[whole], owner[whole]


class Quotes:
    """The runs of many questions, to ask which of them a prompt quotes. 16 bytes a character of the questions."""

    def __init__(self, questions: Sequence[str]) -> None:
        codes, owner = runs(questions)
        order = np.lexsort((owner, codes))
        codes, owner = codes[order], owner[order]
        first = np.ones(len(codes), np.bool_)
        first[1:] = (codes[1:] != codes[:-1]) | (owner[1:] != owner[:-1])
        codes, owner = codes[first], owner[first]
        _, group, count = np.unique(codes, return_inverse=True, return_counts=True)
        rare = count[group.reshape(-1)] <= COMMON
        self._codes, self._owner = codes[rare], owner[rare]
        self._totals = np.bincount(self._owner, minlength=len(questions))

    def quoted(self, prompts: Sequence[str]) -> list[tuple[int, float] | None]:
        """Of each prompt, the question that it holds most of and the share, if that is COVERED or more."""
        codes, owner = runs(prompts)
        found: list[tuple[int, float] | None] = [None] * len(prompts)
        start, end = np.searchsorted(self._codes, codes, "left"), np.searchsorted(self._codes, codes, "right")
        hits = np.flatnonzero(end > start)
        if len(hits) == 0:
            return found
        counts = (end - start)[hits]
        places = (
            np.repeat(start[hits], counts)
            + np.arange(counts.sum())
            - np.repeat(np.cumsum(counts) - counts, counts)
        )
        size = len(self._codes)
        distinct = np.unique(
            np.repeat(owner[hits], counts) * size + places
        )  # a run twice in a prompt counts once
        pair = distinct // size * len(self._totals) + self._owner[distinct % size]
        pairs, held = np.unique(pair, return_counts=True)
        prompt, question = np.divmod(pairs, len(self._totals))
        shares = held / self._totals[question]
        for at in np.argsort(shares, kind="stable"):  # the best of a prompt comes last
            if shares[at] >= COVERED:
                found[prompt[at]] = (int(question[at]), float(shares[at]))
        return found
