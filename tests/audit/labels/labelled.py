"""Pairs whose labels follow a known rule, some of them turned afterwards: words decide, or length does."""

from __future__ import annotations

import numpy as np

from simpo.records import Message, Pair, Source

_GOOD = ["refund", "shipped", "confirmed", "solved", "explained", "tracked"]
_BAD = ["ignored", "blamed", "refused", "forgot", "shouted", "guessed"]
_FILLER = [
    "the",
    "order",
    "parcel",
    "customer",
    "account",
    "invoice",
    "carrier",
    "box",
    "label",
    "date",
    "street",
]


def reply(rng: np.random.Generator, quality: float, words: int) -> str:
    """A reply of some words: of its telling ones a share `quality` is good."""
    telling = [str(rng.choice(_GOOD if rng.random() < quality else _BAD)) for _ in range(3)]
    filler = rng.choice(_FILLER, size=max(1, words - 3)).tolist()
    order = rng.permutation(len(telling) + len(filler))
    return " ".join(np.array(telling + filler)[order].tolist()).capitalize() + "."


def pair(
    number: int, chosen: str, rejected: str, *, category: str | None = None, prompt: str | None = None
) -> Pair:
    """One pair, its prompt its own unless one is given."""
    turns = (Message("user", prompt or f"Question {number}: where is my parcel?"),)
    return Pair(turns, chosen, rejected, Source("made.jsonl", number + 1), category)


def by_quality(rng: np.random.Generator, count: int, *, turned: float) -> tuple[list[Pair], np.ndarray]:
    """Pairs whose better reply is told by its words, lengths alike; a share `turned` is then labelled wrongly.

    Returns the pairs and [count] which were turned.
    """
    pairs, flipped = [], rng.random(count) < turned
    for number in range(count):
        better, worse = (reply(rng, quality, int(rng.integers(6, 20))) for quality in (0.95, 0.05))
        chosen, rejected = (worse, better) if flipped[number] else (better, worse)
        pairs.append(pair(number, chosen, rejected))
    return pairs, flipped


def by_length(rng: np.random.Generator, count: int, *, share: float) -> list[Pair]:
    """Pairs of empty words, in a share of which the longer reply is chosen."""
    pairs = []
    for number in range(count):
        short, long = (reply(rng, 0.5, int(rng.integers(*words))) for words in ((4, 10), (14, 40)))
        chosen, rejected = (long, short) if rng.random() < share else (short, long)
        pairs.append(pair(number, chosen, rejected, category="ab"[number % 2]))
    return pairs
