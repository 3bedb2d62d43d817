"""What a check says of the data: findings with their count, their examples and what to do, and the seam of a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from simpo.records import Pair, Source

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Repair = Literal["drop", "swap", "mend"]

MAX_EXAMPLES = 5
Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Witness:
    """One example of a finding: where it stands, what is seen there, and the row it is compared with, if any.

    detail: one line, the offending text quoted. `prompt`, `chosen`, `rejected` are the texts to show beside it,
    shortened by whoever shows them; None where the row could not be read.
    """

    source: Source
    detail: str
    other: Source | None = None
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The example with its places as `file:line`."""
        return {
            "source": str(self.source),
            "detail": self.detail,
            "other": None if self.other is None else str(self.other),
            "prompt": self.prompt,
            "chosen": self.chosen,
            "rejected": self.rejected,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found, or measured.

    kind: a name in snake_case, stable, by which a build names its repair ("near_duplicate").
    severity: "error" spoils the training, "warning" should be looked at, "note" is a figure worth knowing.
    title: one sentence with the figure in it. action: what to do, in one sentence.
    count of `of` units (`unit`: pairs, prompts, rows, votes ...) are concerned.
    rows: [count] numbers of the pairs concerned, in reading order from 0; empty for a finding about the whole.
    repair: what a build does about it if asked, or None. figures: numbers and tables for JSON and the page.
    """

    kind: str
    severity: Severity
    title: str
    action: str
    count: int
    of: int
    unit: str = "pairs"
    examples: tuple[Witness, ...] = ()
    rows: Rows = field(default_factory=lambda: NO_ROWS)
    repair: Repair | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """`count` of `of`, 0 where there is nothing to count."""
        return self.count / self.of if self.of else 0.0

    def to_json(self) -> dict[str, Any]:
        """Everything but the row numbers."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "action": self.action,
            "count": self.count,
            "of": self.of,
            "unit": self.unit,
            "share": self.share,
            "repair": self.repair,
            "examples": [example.to_json() for example in self.examples],
            "figures": dict(self.figures),
        }


class Check(Protocol):
    """A check sees each pair once, in reading order, and keeps what it needs and no texts beyond its examples."""

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number` (from 0)."""
        ...

    def findings(self) -> list[Finding]:
        """What was found, once every pair was seen."""
        ...
