"""A pair as the checks of texts look at it, made once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from simpo.audit.findings import Finding
from simpo.records import Pair

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class View:
    """The texts of a pair. `prompt` is all its turns; `whole` everything, to ask once whether a mark occurs at all."""

    prompt: str
    last: str
    chosen: str
    rejected: str
    whole: str

    def texts(self) -> Iterator[tuple[str, str]]:
        """The three texts with their names."""
        yield "prompt", self.prompt
        yield "chosen", self.chosen
        yield "rejected", self.rejected


def view_of(pair: Pair) -> View:
    """The view of a pair."""
    turns = pair.prompt
    last = turns[-1].content
    prompt = last if len(turns) == 1 else "\n\n".join(turn.content for turn in turns)
    return View(prompt, last, pair.chosen, pair.rejected, f"{prompt}\n{pair.chosen}\n{pair.rejected}")


class TextCheck(Protocol):
    """A check that looks at texts: as `Check`, with the view handed in."""

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        ...

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        ...
