"""What is known of a sweep's trials, and which of them is chosen: rows in, a choice with its reasons out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from simpo.core.intervals import paired_difference
from simpo.core.selection import Candidate, rank, select

Status = Literal["waiting", "running", "done", "pruned", "collapsed", "failed"]
FINISHED = ("done", "pruned", "collapsed", "failed")


@dataclass(frozen=True, slots=True)
class Row:
    """One trial as it stands; estimates are `{"value", "low", "high"}`. What was not measured is None.

    wins: outcomes on the held-out pairs as a word, `1` won, `h` tied, `0` lost. curve: the figures of its evaluations.
    """

    name: str
    settings: Mapping[str, Any]
    status: Status
    accuracy: Mapping[str, float | None] | None = None
    wins: str = ""
    train_accuracy: float | None = None
    paraphrase_accuracy: Mapping[str, float | None] | None = None
    median_chars: float | None = None
    stopped: float | None = None
    repetitive: float | None = None
    drift: float | None = None
    chosen_logps: float | None = None
    loss: float | None = None
    beta: float | None = None
    verdict: str | None = None
    steps: int = 0
    planned_steps: int | None = None
    best_step: int | None = None
    seconds: float = 0.0
    worker: str | None = None
    message: str | None = None
    curve: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def gap(self) -> float | None:
        """Accuracy on pairs it was trained on, less that on held-out pairs."""
        if self.train_accuracy is None or self.accuracy is None or self.accuracy["value"] is None:
            return None
        return self.train_accuracy - self.accuracy["value"]

    @property
    def finished(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status in FINISHED

    def to_json(self) -> dict[str, Any]:
        """As sweep.json holds it: with the gap, without the outcomes."""
        values = {key: value for key, value in asdict(self).items() if key not in ("wins", "beta")}
        return {**values, "gap": self.gap}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen trial and the one that would be chosen without it, each with a sentence; names of the ties."""

    chosen: Row
    why: str
    ties: tuple[str, ...]
    best_accuracy: str
    runner_up: Row | None
    runner_up_why: str
    difference: Mapping[str, float | None] | None


def choose(rows: Sequence[Row], clusters: Sequence[Hashable]) -> Choice | None:
    """The choice among the trials that came to their end; None where none did. A collapsed trial loses."""
    by_name = {row.name: row for row in rows if row.status == "done"}
    candidates = [_candidate(row) for row in by_name.values()]
    if not candidates:
        return None
    selection = select(candidates, clusters)
    chosen = by_name[selection.chosen.name]
    others = [candidate for candidate in rank(candidates, clusters) if candidate.name != chosen.name]
    runner_up = by_name[others[0].name] if others else None
    difference = None
    if runner_up is not None:
        interval = paired_difference(selection.chosen.wins, others[0].wins, list(clusters), bounds=(0.0, 1.0))
        difference = interval.to_json()
    return Choice(
        chosen,
        _why(selection.chosen, selection.top, len(selection.ties)),
        selection.ties,
        selection.top.name,
        runner_up,
        "" if runner_up is None else _why_second(runner_up, selection.ties),
        difference,
    )


def _candidate(row: Row) -> Candidate:
    outcomes = {"1": 1.0, "h": 0.5, "0": 0.0}
    return Candidate(row.name, tuple(outcomes[letter] for letter in row.wins), row.drift, row.beta)


def _why(chosen: Candidate, top: Candidate, num_ties: int) -> str:
    if num_ties == 1:
        return f"the best accuracy, {chosen.accuracy:.1%}, by more than one standard error"
    if chosen.name == top.name:
        head = f"the best accuracy, {chosen.accuracy:.1%}, "
    else:
        head = f"within one standard error of the best accuracy ({chosen.accuracy:.1%} against {top.accuracy:.1%}), "
    drift = "unknown" if chosen.drift is None else f"{chosen.drift:.3f} nats per token"
    return f"{head}and of the {num_ties} settings that tie the one that changed the model least ({drift})"


def _why_second(row: Row, ties: Sequence[str]) -> str:
    share = math.nan if row.accuracy is None else row.accuracy["value"]
    if row.name in ties:
        return f"it ties with the best ({share:.1%})"
    return f"the next best accuracy, {share:.1%}"
