"""What a check counts while it sees the pairs: row numbers, first examples, and on which side a trait stands."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simpo.audit.findings import MAX_EXAMPLES, Rows, Witness
from simpo.core.intervals import wilson
from simpo.data.reasons import shown
from simpo.records import Message, Pair, Source

MIN_ONE_SIDED = 20  # pairs with a trait on one side alone: fewer say nothing
MAX_DETAIL = 160  # characters of an example's one line


@dataclass(slots=True)
class Tally:
    """The pairs of one kind: each row number once, and the first examples with their texts.

    Eight bytes a row; `private` keeps the texts out of the examples, for findings about secrets.
    """

    private: bool = False
    examples: list[Witness] = field(default_factory=list)
    _rows: array[int] = field(default_factory=lambda: array("q"))

    def add(self, number: int, pair: Pair, detail: str, other: Source | None = None) -> None:
        """Note pair `number`; a number that was the last one noted is not counted again."""
        if self._rows and self._rows[-1] == number:
            return
        self._rows.append(number)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(witness(pair, detail, other=other, private=self.private))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Rows:
        """[count] row numbers in the order they were added."""
        return np.array(self._rows, dtype=np.int64)


@dataclass(slots=True)
class Sides:
    """On which side of the pairs a trait stands: counts of pairs seen, and with it on either side or on one alone."""

    seen: int = 0
    chosen: int = 0
    rejected: int = 0
    only_chosen: int = 0
    only_rejected: int = 0

    def see(self, chosen: bool, rejected: bool) -> None:
        """Take in one pair: whether each side has the trait."""
        self.seen += 1
        self.chosen += chosen
        self.rejected += rejected
        self.only_chosen += chosen and not rejected
        self.only_rejected += rejected and not chosen

    @property
    def either(self) -> int:
        """Pairs with the trait on at least one side."""
        return self.chosen + self.only_rejected

    def wins(self) -> bool:
        """Whether the side with the trait is chosen more often than chance: Wilson's 95 % interval lies above half."""
        one_sided = self.only_chosen + self.only_rejected
        return one_sided >= MIN_ONE_SIDED and wilson(self.only_chosen, one_sided).low > 0.5

    def clause(self) -> str:
        """What the sides say, as the end of a sentence; empty where too few pairs have the trait on one side alone."""
        one_sided = self.only_chosen + self.only_rejected
        if one_sided < MIN_ONE_SIDED:
            return ""
        interval = wilson(self.only_chosen, one_sided)
        return (
            f"; of {one_sided:,} pairs where one side alone does, it is the chosen side in {interval.value:.0%} "
            f"({interval.low:.0%} to {interval.high:.0%})"
        ).replace("%", " %")

    def figures(self) -> dict[str, Any]:
        """Rate on each side, and how often the side with the trait is the chosen one where only one side has it."""
        one_sided = self.only_chosen + self.only_rejected
        return {
            "chosen": wilson(self.chosen, self.seen).to_json() if self.seen else None,
            "rejected": wilson(self.rejected, self.seen).to_json() if self.seen else None,
            "only_chosen": self.only_chosen,
            "only_rejected": self.only_rejected,
            "chosen_where_one_sided": wilson(self.only_chosen, one_sided).to_json() if one_sided else None,
        }


def witness(pair: Pair, detail: str, *, other: Source | None = None, private: bool = False) -> Witness:
    """An example made of a pair; its detail is cut to one line."""
    detail = detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 3] + "..."
    if private:
        return Witness(pair.source, detail, other)
    return Witness(pair.source, detail, other, prompt_text(pair.prompt), pair.chosen, pair.rejected)


def prompt_text(prompt: tuple[Message, ...]) -> str:
    """The turns of a prompt as one text to show: the one user turn as it is, several with their roles."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def around(text: str, start: int, end: int, width: int = 60) -> str:
    """A piece of text with what stands around it, quoted for an example's one line."""
    room = max(0, width - (end - start)) // 2
    begin, stop = max(0, start - room), min(len(text), end + room, start + width + room)
    piece = f"{'...' if begin else ''}{text[begin:stop]}{'...' if stop < len(text) else ''}"
    return shown(piece, 2 * width + 20)
