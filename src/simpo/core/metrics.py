"""Plain figures about pairs and replies: accuracy, strata, diversity, repetition. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

StratumKind = Literal["length_quartile", "longer", "category"]


def pair_wins(chosen: npt.ArrayLike, rejected: npt.ArrayLike) -> Floats:
    """[B] outcomes of B comparisons: 1 where chosen scores higher, 0.5 for a tie, 0 where rejected does.

    Their mean is the pairwise accuracy, exactly weighted: no batch means are averaged. Raises ValueError for
    non-finite scores, which would count as losses in silence.
    """
    first, second = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"chosen {first.shape} and rejected {second.shape} must be one [B]")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a score is not finite")
    return 0.5 * (1.0 + np.sign(first - second))


def pairwise_accuracy(chosen: npt.ArrayLike, rejected: npt.ArrayLike) -> float:
    """Share of pairs whose chosen completion scores higher, ties counting half. Raises ValueError for no pairs."""
    wins = pair_wins(chosen, rejected)
    if len(wins) == 0:
        raise ValueError("no pairs")
    return float(wins.mean())


@dataclass(frozen=True, slots=True, eq=False)
class Stratum:
    """A named part of the pairs: `members` are the places of its pairs, ascending, never empty."""

    by: StratumKind
    name: str
    members: Ints


def strata(
    chosen_chars: Sequence[int], rejected_chars: Sequence[int], categories: Sequence[str | None]
) -> list[Stratum]:
    """The pairs cut three ways: by length quartile, by which side is longer, by category (where there is any).

    Lengths are in characters. Each way of cutting holds every pair exactly once; empty parts are left out.
    """
    chosen, rejected = np.asarray(chosen_chars, dtype=np.int64), np.asarray(rejected_chars, dtype=np.int64)
    if not len(chosen) == len(rejected) == len(categories):
        raise ValueError(f"{len(chosen)}, {len(rejected)} and {len(categories)} are not one number of pairs")
    if len(chosen) == 0:
        return []
    return [
        *length_quartiles((chosen + rejected) / 2),
        *_by_longer(chosen, rejected),
        *_by_category(categories),
    ]


def length_quartiles(lengths: npt.ArrayLike) -> list[Stratum]:
    """Four parts by length [B] in characters (of a pair: the mean of its two sides), with their bounds in the names.

    The bounds are observed lengths; equal lengths are never separated, so the parts can be unequal, or fewer.
    """
    values = np.asarray(lengths, dtype=np.float64)
    first, second, third = np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
    part = np.searchsorted([first, second, third], values, side="left")
    names = (
        f"Q1: up to {first:.10g} chars",
        f"Q2: over {first:.10g} to {second:.10g} chars",
        f"Q3: over {second:.10g} to {third:.10g} chars",
        f"Q4: over {third:.10g} chars",
    )
    return _kept("length_quartile", [(name, part == at) for at, name in enumerate(names)])


def _by_longer(chosen: Ints, rejected: Ints) -> list[Stratum]:
    return _kept(
        "longer",
        [
            ("chosen longer", chosen > rejected),
            ("rejected longer", chosen < rejected),
            ("equal", chosen == rejected),
        ],
    )


def _by_category(categories: Sequence[str | None]) -> list[Stratum]:
    if all(category is None for category in categories):
        return []
    labels = np.asarray(["(none)" if category is None else category for category in categories], dtype=object)
    counts = {name: int((labels == name).sum()) for name in dict.fromkeys(labels)}
    largest_first = sorted(counts, key=lambda name: (-counts[name], name))
    return _kept("category", [(name, labels == name) for name in largest_first])


def _kept(by: StratumKind, parts: Sequence[tuple[str, npt.NDArray[np.bool_]]]) -> list[Stratum]:
    return [Stratum(by, name, np.flatnonzero(mask)) for name, mask in parts if mask.any()]


def distinct_n(replies: Sequence[Sequence[Hashable]], n: int) -> float:
    """Distinct n-grams over all n-grams of a corpus of token lists, in (0, 1]; 0 where there is no n-gram.

    It falls as the corpus grows: compare it only between equally many replies. Source: Li et al. 2016,
    arXiv:1510.03055.
    """
    grams = [gram for reply in replies for gram in _ngrams(reply, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repeated_ngrams(tokens: Sequence[Hashable], n: int = 4) -> float:
    """Share of a reply's n-grams that repeat an earlier one: 1 - distinct / all; 0 for fewer than n tokens.

    0 for ordinary text of a few sentences, near 1 for a loop. Source: Welleck et al. 2019, arXiv:1908.04319.
    """
    grams = _ngrams(tokens, n)
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def is_repetitive(tokens: Sequence[Hashable], *, n: int = 4, threshold: float = 0.5) -> bool:
    """Whether more than `threshold` of a reply's n-grams repeat an earlier one: a loop, not a style."""
    return repeated_ngrams(tokens, n) > threshold


@dataclass(frozen=True, slots=True)
class Summary:
    """Middle and spread of a list of counts; the values stay with it for charts."""

    median: float
    p10: float
    p90: float
    values: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[int]) -> Summary:
        """Percentiles interpolated linearly. Raises ValueError for no values."""
        if not values:
            raise ValueError("no values")
        p10, median, p90 = (float(at) for at in np.quantile(np.asarray(values), [0.1, 0.5, 0.9]))
        return cls(median, p10, p90, tuple(int(value) for value in values))

    def to_json(self) -> dict[str, float | list[int]]:
        """As the evaluation file holds it."""
        return {"median": self.median, "p10": self.p10, "p90": self.p90, "values": list(self.values)}


def _ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    if n < 1:
        raise ValueError(f"n is {n}")
    return [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
