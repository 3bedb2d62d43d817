"""A sample of the pairs for checks that cost more than a look at each, its texts set aside in a temporary file."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.audit.spool import Spool
from simpo.audit.voting.votes import label_margin
from simpo.records import Message, Pair, Source

MAX_PAIRS = 50_000
_FACTOR, _RANGE = 0x9E3779B97F4A7C15, 1 << 64  # spreads row numbers evenly over 64 bits


@dataclass(frozen=True, slots=True)
class Kept:
    """One pair of the sample, without its texts. margin: votes for the chosen reply less those against, if any."""

    number: int
    source: Source
    prompt: int
    category: str | None
    margin: int | None
    num_votes: int
    record: int


class PairSample:
    """All pairs up to `limit`, and of more a part between half of it and all of it, chosen by row number alone.

    So the same rows in the same order give the same sample, however long they are. Memory: some hundred bytes a kept
    pair.
    """

    def __init__(self, limit: int = MAX_PAIRS) -> None:
        self.num_seen = 0
        self.kept: list[Kept] = []
        self._limit = limit
        self._below = _RANGE
        self._texts = Spool()

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self.num_seen += 1
        if not self._belongs(number):
            return
        turns = json.dumps([[turn.role, turn.content] for turn in pair.prompt])
        record = self._texts.append([turns, pair.chosen, pair.rejected])
        margin = label_margin(pair)
        votes = 0 if margin is None else len(pair.extra["annotations"])
        prompt = int(pair.prompt_id, 16)
        self.kept.append(Kept(number, pair.source, prompt, pair.category, margin, votes, record))
        while len(self.kept) > self._limit:
            self._below //= 2
            self.kept = [one for one in self.kept if self._belongs(one.number)]

    def _belongs(self, number: int) -> bool:
        return (number * _FACTOR) % _RANGE < self._below

    @property
    def whole(self) -> bool:
        """Whether every pair seen is in it."""
        return len(self.kept) == self.num_seen

    @property
    def prompts(self) -> npt.NDArray[np.uint64]:
        """[N] hash of each kept pair's prompt: what intervals and folds keep together."""
        return np.array([one.prompt for one in self.kept], dtype=np.uint64)

    def pair(self, index: int) -> Pair:
        """The pair at a place of `kept`, without its other columns."""
        one = self.kept[index]
        turns, chosen, rejected = self._texts[one.record]
        prompt = tuple(Message(role, content) for role, content in json.loads(turns))
        return Pair(prompt, chosen, rejected, one.source, one.category)
