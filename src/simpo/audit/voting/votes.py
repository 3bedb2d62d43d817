"""Votes of annotators, taken out of the pairs and of the ties among the rows that were left out, as arrays."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.records import Dropped, Pair

A, B, TIE = 0, 1, 2
UNKNOWN = -1
_CHOICES = {"first": 0, "second": 1, "tie": TIE}
# Columns and their types as `array` names them.
_VOTE_COLUMNS = (("item", "q"), ("annotator", "q"), ("took", "b"), ("first", "b"))
_ITEM_COLUMNS = (
    ("pair", "q"),
    ("prompt", "Q"),
    ("key", "Q"),
    ("a_low", "b"),
    ("chosen", "b"),
    ("longer", "b"),
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VoteTable:
    """V votes on M items. An item is a row: a prompt with two replies, called A and B.

    A is the reply that the item's first vote saw first, or that stands first in its row: a name that does not depend
    on which reply was chosen, without which chance agreement would be overestimated. Ties among the left-out rows are
    items too.

    annotators: names. Of votes, [V]: item, annotator (index into the names), took (A, B or TIE), first (A or B, the
    reply that was shown first, or UNKNOWN). Of items, [M]: pair (number of the pair, UNKNOWN for a tie), prompt (hash,
    the cluster of every interval), key (hash of prompt and both replies whatever their order, 0 if not known), a_low
    (whether A comes before B in an order of texts, to compare rows of one key), chosen (A, B or TIE by the row's
    label), longer (A, B or UNKNOWN). num_unread: annotations that are of no known form and were passed over.
    """

    annotators: tuple[str, ...]
    item: Ints
    annotator: Ints
    took: Ints
    first: Ints
    pair: Ints
    prompt: npt.NDArray[np.uint64]
    key: npt.NDArray[np.uint64]
    a_low: npt.NDArray[np.bool_]
    chosen: Ints
    longer: Ints
    num_unread: int

    @property
    def num_items(self) -> int:
        """Rows with at least one vote."""
        return len(self.pair)

    def counts(self) -> Ints:
        """[M, 3] votes for A, for B and for a tie, by item."""
        flat = np.bincount(self.item * 3 + self.took, minlength=3 * self.num_items)
        return flat.reshape(self.num_items, 3).astype(np.int64)

    @property
    def clusters(self) -> npt.NDArray[np.uint64]:
        """[V] the prompt of each vote."""
        return self.prompt[self.item]


class Votes:
    """Collects votes row by row, some 30 bytes an item and 10 a vote; no texts are kept."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._votes = {name: array(kind) for name, kind in _VOTE_COLUMNS}
        self._items = {name: array(kind) for name, kind in _ITEM_COLUMNS}
        self.num_unread = 0

    def see(self, number: int, pair: Pair) -> None:
        """Take in the `annotations` of pair `number`, if it has any."""
        notes = _notes(pair.extra)
        read = [note for note in map(_side_vote, notes) if note is not None]
        self.num_unread += len(notes) - len(read)
        if not read:
            return
        a_is_chosen = read[0][1] == "chosen"
        chosen, rejected = _hash(pair.chosen), _hash(pair.rejected)
        longer = np.sign(len(pair.chosen) - len(pair.rejected)) * (1 if a_is_chosen else -1)
        prompt = int(pair.prompt_id, 16)
        self._item(
            pair=number,
            prompt=prompt,
            key=(prompt ^ chosen ^ rejected) or 1,
            a_low=int((chosen < rejected) == a_is_chosen),
            chosen=A if a_is_chosen else B,
            longer={1: A, -1: B, 0: UNKNOWN}[int(longer)],
        )
        for name, first, choice, known in read:
            first_is_a = (first == "chosen") == a_is_chosen
            self._vote(name, choice if choice == TIE or first_is_a else 1 - choice, first_is_a, known)

    def see_dropped(self, row: Dropped) -> None:
        """Take in the votes on a row that makes no pair because they are a tie, or near one."""
        notes = _notes(row.extra)
        read = [note for note in map(_row_vote, notes) if note is not None]
        self.num_unread += len(notes) - len(read)
        if not read:
            return
        source = _hash(str(row.source))
        self._item(pair=UNKNOWN, prompt=source, key=0, a_low=0, chosen=TIE, longer=UNKNOWN)
        for name, choice, known in read:
            self._vote(name, choice, True, known)

    def _item(self, **values: int) -> None:
        for name, value in values.items():
            self._items[name].append(value)

    def _vote(self, name: str, took: int, first_is_a: bool, known: bool) -> None:
        votes = self._votes
        votes["item"].append(len(self._items["pair"]) - 1)
        votes["annotator"].append(self._names.setdefault(name, len(self._names)))
        votes["took"].append(took)
        votes["first"].append((A if first_is_a else B) if known else UNKNOWN)

    def table(self) -> VoteTable:
        """What was collected so far."""
        votes = {name: np.array(column, dtype=np.int64) for name, column in self._votes.items()}
        items = self._items
        return VoteTable(
            annotators=tuple(self._names),
            item=votes["item"],
            annotator=votes["annotator"],
            took=votes["took"],
            first=votes["first"],
            pair=np.array(items["pair"], dtype=np.int64),
            prompt=np.array(items["prompt"], dtype=np.uint64),
            key=np.array(items["key"], dtype=np.uint64),
            a_low=np.array(items["a_low"], dtype=np.bool_),
            chosen=np.array(items["chosen"], dtype=np.int64),
            longer=np.array(items["longer"], dtype=np.int64),
            num_unread=self.num_unread,
        )


def label_margin(pair: Pair) -> int | None:
    """Votes for the chosen reply of a pair less those for the rejected one; None for a pair without votes."""
    votes = [vote for vote in map(_side_vote, _notes(pair.extra)) if vote is not None]
    if not votes:
        return None
    return sum(
        1 if (first == "chosen") == (choice == A) else -1 for _, first, choice, _ in votes if choice != TIE
    )


def _notes(extra: Mapping[str, Any]) -> list[Any]:
    notes = extra.get("annotations")
    return notes if isinstance(notes, list) else []


def _side_vote(note: Any) -> tuple[str, str, int, bool] | None:
    """(annotator, reply shown first, position taken, whether the order is known) of one annotation of a pair."""
    vote = _row_vote(note)
    if vote is None or note.get("first") not in ("chosen", "rejected"):
        return None
    name, choice, known = vote
    return name, note["first"], choice, known


def _row_vote(note: Any) -> tuple[str, int, bool] | None:
    if not isinstance(note, dict):
        return None
    name, choice = note.get("annotator"), note.get("choice")
    if not isinstance(name, (str, int)) or not isinstance(choice, str) or choice not in _CHOICES:
        return None
    return str(name), _CHOICES[choice], note.get("order") != "unknown"


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
