"""What a sweep says, as its page reads it: sweep.json checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from simpo.report.source import Estimate, Record

Status = Literal["waiting", "running", "done", "pruned", "collapsed", "failed"]
Value = float | int | str | bool | None


class Axis(Record):
    """A recipe key that was varied."""

    key: str
    values: tuple[Value, ...] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    base: Value = None


class CurveStep(Record):
    """One evaluation of a trial on the validation pairs."""

    step: int
    accuracy: float | None = None
    loss: float | None = None
    margin: float | None = None
    chosen_logps: float | None = None
    rejected_logps: float | None = None


class Trial(Record):
    """One setting that was tried; figures of its best checkpoint, None where it has none."""

    name: str
    settings: Mapping[str, Value]
    status: Status
    accuracy: Estimate | None = None
    train_accuracy: float | None = None
    gap: float | None = None
    paraphrase_accuracy: Estimate | None = None
    median_chars: float | None = None
    stopped: float | None = None
    repetitive: float | None = None
    drift: float | None = None
    verdict: str | None = None
    steps: int | None = None
    planned_steps: int | None = None
    best_step: int | None = None
    seconds: float | None = None
    curve: tuple[CurveStep, ...] = ()
    message: str | None = None


class Stage(Record):
    """One stage of the staged strategy: a key, the trials that varied it, and which of them went on."""

    key: str
    trials: tuple[str, ...] = ()
    chosen: str | None = None
    why: str | None = None  # of a stage that is not over


class Chosen(Record):
    """The setting that won, and its one look at the test pairs."""

    name: str
    why: str = ""
    ties: tuple[str, ...] = ()
    best_accuracy: str | None = None
    test: Estimate | None = None
    test_note: str = ""


class RunnerUp(Record):
    """The setting that came second, and how far behind (chosen minus runner-up, paired)."""

    name: str
    why: str = ""
    difference: Estimate | None = None


class SweepData(Record):
    """What the trials were trained and measured on."""

    num_train: int | None = None
    num_validation: int | None = None
    num_prompts: int | None = None
    train_sample: int | None = None
    num_paraphrases: int | None = None
    test: str | None = None


class Start(Record):
    """The untrained model on the same validation pairs."""

    accuracy: Estimate | None = None
    median_chars: float | None = None
    stopped: float | None = None


class Cost(Record):
    """Seconds spent once a worker, and in trials."""

    shared_seconds: float | None = None
    trial_seconds: float | None = None


class Command(Record):
    """What to type next."""

    what: str
    command: str


class SweepFile(Record):
    """sweep.json, schema 1."""

    created: str = ""
    updated: str = ""
    simpo_version: str = ""
    status: Literal["running", "done", "interrupted"]
    recipe: str = ""
    recipe_values: Mapping[str, Any] = Field(default_factory=dict)
    method: str = ""
    strategy: str = ""
    axes: tuple[Axis, ...] = ()
    planned: int | None = None
    seconds: float | None = None
    data: SweepData = Field(default_factory=SweepData)
    start: Start | None = None
    trials: tuple[Trial, ...] = ()
    stages: tuple[Stage, ...] = ()
    chosen: Chosen | None = None
    runner_up: RunnerUp | None = None
    notes: tuple[str, ...] = ()
    cost: Cost | None = None
    commands: tuple[Command, ...] = ()

    def trial(self, name: str | None) -> Trial | None:
        """The trial of a name; None where there is none."""
        return next((trial for trial in self.trials if trial.name == name), None)
