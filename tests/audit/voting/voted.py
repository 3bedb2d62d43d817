"""Pairs with votes, made up: annotators of a known quality, with a known liking for the first or the longer reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simpo.audit.voting.votes import Votes, VoteTable
from simpo.records import Dropped, Message, Pair, Source


def note(annotator: str, first: str, choice: str, *, order: str | None = None) -> dict[str, str]:
    """One annotation of a pair."""
    written = {"annotator": annotator, "first": first, "choice": choice}
    return written if order is None else {**written, "order": order}


def voted_pair(
    number: int,
    notes: Sequence[Any],
    *,
    chosen: str = "a good reply",
    rejected: str = "a poor reply",
    prompt: str | None = None,
) -> Pair:
    """A pair with these annotations; its prompt is its own unless one is given."""
    turns = (Message("user", prompt or f"question {number}"),)
    return Pair(turns, chosen, rejected, Source("made.jsonl", number + 1), extra={"annotations": list(notes)})


def tie(number: int, notes: Sequence[Mapping[str, str]]) -> Dropped:
    """A row that was left out as a tie, with its annotations, which name no chosen reply."""
    return Dropped(
        Source("made.jsonl", number + 1), "tie", "no answer is better", extra={"annotations": notes}
    )


def table_of(pairs: Sequence[Pair], ties: Sequence[Dropped] = ()) -> VoteTable:
    """The votes of these rows."""
    votes = Votes()
    for number, pair in enumerate(pairs):
        votes.see(number, pair)
    for row in ties:
        votes.see_dropped(row)
    return votes.table()


def simulated(
    rng: np.random.Generator,
    num_items: int,
    *,
    accuracy: Sequence[float],
    first_bias: Sequence[float] | None = None,
    votes_each: int | None = None,
) -> list[Pair]:
    """Items whose better reply is shown first or second at random, anew for each annotator; the majority is chosen.

    accuracy: of each annotator. first_bias: how often he takes the first reply without looking. votes_each: how many of
    the annotators, drawn at random, judge an item; all of them where None.
    """
    bias = first_bias or [0.0] * len(accuracy)
    pairs = []
    for number in range(num_items):
        voters = range(len(accuracy))
        drawn = voters if votes_each is None else sorted(rng.choice(len(accuracy), votes_each, replace=False))
        cast = []
        for who in drawn:
            better_first = rng.random() < 0.5
            right = rng.random() < accuracy[who]
            takes_first = rng.random() < bias[who] or better_first == right
            cast.append((f"annotator-{who}", better_first, takes_first))
        for_better = sum(better_first == takes_first for _, better_first, takes_first in cast)
        better_chosen = 2 * for_better > len(cast) or (2 * for_better == len(cast) and rng.random() < 0.5)
        notes = [
            note(
                name,
                "chosen" if better_first == better_chosen else "rejected",
                "first" if takes else "second",
            )
            for name, better_first, takes in cast
        ]
        texts = ("the better reply", "a poorer reply, longer or shorter" if rng.random() < 0.5 else "poor")
        chosen, rejected = texts if better_chosen else texts[::-1]
        pairs.append(voted_pair(number, notes, chosen=chosen, rejected=rejected))
    return pairs
