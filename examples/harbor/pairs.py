"""Preference pairs: a pool of candidate replies for each ticket, matched, then put before the annotators.

How the share of pairs with the shorter reply chosen is set: a pool holds tight, padded, bare, sloppy and
defensive replies. Of the pairs that can be formed of it, one is taken whose better reply (by construction) is
the shorter one, or one whose better reply is the longer one. Which of the two is fixed beforehand by the
position of the pair: `SHORTER_BETTER` of all positions, spread evenly. The annotators come after that, and
their majority is final.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from .annotators import majority, vote, vote_records
from .replies import STYLES, Reply, draw_reply
from .tickets import Ticket, draw_ticket

# Share of pairs matched so that the better reply is the shorter one. It lies below the share of rows that
# come out shorter-chosen: annotators err, and planted ties and contradictions are often shorter-chosen.
SHORTER_BETTER = 0.155
_POOL = ("tight", "tight", "normal", "bare", "wordy", "wordy", "sloppy", "defensive")
# Below this gap of true quality a pair is a tie for every practical purpose.
_MIN_GAP = 0.05
_MIN_CHARS = 6  # of length between them, so that "shorter" means something


@dataclass(frozen=True, slots=True)
class PairRow:
    """One preference as it is written; `chosen` and `rejected` are texts."""

    id: str
    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    category: str
    intent: str
    group: str
    ticket: Mapping[str, object]
    annotations: list[dict[str, str]]
    paraphrase_group: str = ""

    @property
    def shorter_chosen(self) -> bool:
        """Whether the chosen reply has strictly fewer characters."""
        return len(self.chosen) < len(self.rejected)

    def record(self) -> dict[str, Any]:
        """The row as JSON, keys in the order of the schema."""
        row: dict[str, Any] = {
            "id": self.id,
            "prompt": self.prompt,
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "category": self.category,
            "intent": self.intent,
            "group": self.group,
            "ticket": self.ticket,
            "annotations": self.annotations,
        }
        return row | ({"paraphrase_group": self.paraphrase_group} if self.paraphrase_group else {})


def row_id(*parts: object) -> str:
    """A short id that says nothing about how the row came about."""
    return "hp-" + hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12]


def draw_pairs(seed: int, stream: str, count: int, held_out: bool) -> Iterator[tuple[Ticket, PairRow]]:
    """The first `count` pairs of a stream; a larger `count` gives the same pairs and more."""
    position = index = 0
    while position < count:
        ticket = draw_ticket(seed, stream, index, held_out)
        rng = random.Random(f"{seed}/{stream}/{index}/pairs")
        wanted = min(rng.choices((1, 2, 3), (0.6, 0.28, 0.12))[0], count - position)
        used: set[frozenset[str]] = set()
        for _ in range(wanted):
            shorter = int((position + 1) * SHORTER_BETTER) > int(position * SHORTER_BETTER)
            a, b = _match(ticket, shorter, rng, used)
            yield ticket, make_row(row_id(seed, stream, position), ticket, a, b, rng)
            position += 1
        index += 1


def make_row(identity: str, ticket: Ticket, a: Reply, b: Reply, rng: random.Random) -> PairRow:
    """The row of two candidates after the annotators have voted."""
    votes = vote(a, b, rng)
    chosen = majority(votes)
    first, second = (b, a) if chosen else (a, b)
    return PairRow(
        id=identity,
        prompt=ticket.prompt,
        chosen=first.text,
        rejected=second.text,
        category=ticket.intent.category,
        intent=ticket.intent.name,
        group=ticket.id,
        ticket=ticket.record(),
        annotations=vote_records(votes, chosen),
    )


def _match(
    ticket: Ticket, shorter: bool, rng: random.Random, used: set[frozenset[str]]
) -> tuple[Reply, Reply]:
    """Two candidates of different quality whose better one is the shorter, or the longer, as asked."""
    while True:
        pool = [draw_reply(ticket, STYLES[name], rng) for name in _POOL]
        ranked = sorted(pool, key=lambda reply: (-reply.quality.score, reply.text))
        found = [
            (better, worse)
            for better, worse in combinations(ranked, 2)
            if _fits(better, worse, shorter) and frozenset((better.text, worse.text)) not in used
        ]
        if found:
            # Good replies are taken more often: a pair of two useless ones teaches little.
            better, worse = rng.choices(found, [pair[0].quality.score ** 4 for pair in found])[0]
            used.add(frozenset((better.text, worse.text)))
            return (better, worse) if rng.random() < 0.5 else (worse, better)


def _fits(better: Reply, worse: Reply, shorter: bool) -> bool:
    """Whether the better reply is the shorter one of the two, or the longer one, by enough to matter."""
    lead = len(worse.text) - len(better.text) if shorter else len(better.text) - len(worse.text)
    return lead >= _MIN_CHARS and better.quality.score - worse.quality.score >= _MIN_GAP
