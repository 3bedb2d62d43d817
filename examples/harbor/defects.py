"""Known defects planted into a preference file, with the truth about each."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .annotators import majority, vote, vote_records
from .pairs import PairRow, row_id
from .replies import write_reply
from .tickets import Ticket, mistype_once


@dataclass(frozen=True, slots=True)
class DefectRates:
    """Planted defects as shares of the training rows."""

    tie: float = 0.02
    exact_duplicate: float = 0.02
    near_duplicate: float = 0.02
    contradiction: float = 0.015
    flipped: float = 0.05
    chosen_equals_rejected: float = 0.01

    def __post_init__(self) -> None:
        rates = (getattr(self, name) for name in self.__slots__)
        if any(not 0.0 <= rate <= 0.15 for rate in rates):
            raise ValueError(f"each defect rate must lie in 0..0.15, got {self}")

    def counts(self, rows: int) -> dict[str, int]:
        """How many of `rows` training rows have each defect."""
        return {name: round(getattr(self, name) * rows) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Planted:
    """The truth about one planted row; `of` is the row it was made from, where that is another row."""

    id: str
    kind: str
    of: str | None = None

    def record(self) -> dict[str, str | None]:
        """The line of the truth file."""
        return {"id": self.id, "kind": self.kind, "of": self.of}


def added_rows(counts: Mapping[str, int]) -> int:
    """How many rows come on top: copies and contradictions; the other kinds change a row in place."""
    return counts["exact_duplicate"] + counts["near_duplicate"] + counts["contradiction"]


def plant(
    base: Sequence[tuple[Ticket, PairRow]], counts: Mapping[str, int], seed: int
) -> tuple[list[PairRow], list[Planted]]:
    """The rows with defects in a shuffled order, and the truth about them. No row has two defects."""
    rng = random.Random(f"{seed}/defects")
    rows = [row for _, row in base]
    free = rng.sample(range(len(rows)), len(rows))
    truth: list[Planted] = []

    for at in _take_balanced(free, rows, counts["flipped"]):
        rows[at] = flip(rows[at])
        truth.append(Planted(rows[at].id, "flipped"))
    added: list[PairRow] = []
    for at in _take_balanced(free, rows, counts["contradiction"]):
        added.append(replace(flip(rows[at]), id=row_id(rows[at].id, "contradiction")))
        truth.append(Planted(added[-1].id, "contradiction", rows[at].id))
    rng.shuffle(free)  # the balanced picks left few shorter-chosen rows at its front
    for at in _take(free, counts["exact_duplicate"]):
        added.append(replace(rows[at], id=row_id(rows[at].id, "exact_duplicate")))
        truth.append(Planted(added[-1].id, "exact_duplicate", rows[at].id))
    for at in _take(free, counts["near_duplicate"]):
        added.append(_near_duplicate(rows[at], rng))
        truth.append(Planted(added[-1].id, "near_duplicate", rows[at].id))
    for at in _take(free, counts["tie"]):
        rows[at] = _tie(rows[at], base[at][0], rng)
        truth.append(Planted(rows[at].id, "tie"))
    for at in _take(free, counts["chosen_equals_rejected"]):
        rows[at] = replace(rows[at], rejected=rows[at].chosen)
        truth.append(Planted(rows[at].id, "chosen_equals_rejected"))
    rows += added
    rng.shuffle(rows)
    return rows, sorted(truth, key=lambda planted: (planted.kind, planted.id))


def flip(row: PairRow) -> PairRow:
    """The row with the other reply chosen, and with annotators who agree to that.

    The votes are mirrored, so nothing but the content of the replies gives the wrong label away.
    """
    mirrored = [
        {**note, "choice": "second" if note["choice"] == "first" else "first"} for note in row.annotations
    ]
    swapped = [{**note, "first": "rejected" if note["first"] == "chosen" else "chosen"} for note in mirrored]
    return replace(row, chosen=row.rejected, rejected=row.chosen, annotations=swapped)


def _take(free: list[int], count: int) -> list[int]:
    taken = free[:count]
    del free[:count]
    return taken


def _take_balanced(free: list[int], rows: Sequence[PairRow], count: int) -> list[int]:
    """Rows to swap, as many shorter-chosen as longer-chosen, so that swapping moves no share of lengths."""
    shorter = [at for at in free if rows[at].shorter_chosen][: count // 2]
    longer = [at for at in free if not rows[at].shorter_chosen][: count - len(shorter)]
    taken = shorter + longer
    marked = set(taken)
    free[:] = [at for at in free if at not in marked]
    return taken


def _near_duplicate(row: PairRow, rng: random.Random) -> PairRow:
    """A copy as it comes in by a second channel: a typing error and slightly different words."""
    *before, last = row.prompt
    text = mistype_once(last["content"], rng, str(row.ticket["city"]))
    if text == last["content"]:
        text += " Thx"
    chosen = row.chosen.replace("I have ", "I've ", 1) if "I have " in row.chosen else row.chosen + " Thanks."
    identity = row_id(row.id, "near_duplicate")
    return replace(row, id=identity, prompt=[*before, {**last, "content": text}], chosen=chosen)


def _tie(row: PairRow, ticket: Ticket, rng: random.Random) -> PairRow:
    """Two replies with the same knobs in different words, on which the annotators split two to one."""
    tone, fillers, right = (
        rng.choice(("courteous", "courteous", "curt")),
        rng.randrange(2),
        rng.random() < 0.8,
    )
    fillers = 0 if tone == "curt" else fillers
    while True:
        a, b = (write_reply(ticket, right, "all", tone, False, fillers, False, rng) for _ in range(2))
        if a.text == b.text or a.quality != b.quality:
            continue
        votes = vote(a, b, rng)
        if len({v.winner for v in votes}) == 1:
            continue
        chosen = majority(votes)
        first, second = (b, a) if chosen else (a, b)
        return replace(row, chosen=first.text, rejected=second.text, annotations=vote_records(votes, chosen))
