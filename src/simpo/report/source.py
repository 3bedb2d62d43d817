"""What a run folder says, read once and checked: the report knows nothing that is not in here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simpo.core.methods import METHODS
from simpo.errors import DataError
from simpo.recipe import LoadedRecipe
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, read_json


class Record(BaseModel):
    """Base of what is read: keys that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Estimate(Record):
    """A figure with its 95 % interval, where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


class Accuracies(Record):
    """Share of pairs in which the chosen completion scores higher, under three scores."""

    reward: Estimate
    mean_logps: Estimate | None = None
    total_logps: Estimate | None = None


class Stratum(Record):
    """Accuracy under reward within one part of the held-out pairs."""

    by: str
    name: str
    num_pairs: int
    accuracy: Estimate


class Preference(Record):
    """What the model says of the held-out pairs; log-probabilities in nats per token, margin in units of reward."""

    num_pairs: int
    num_prompts: int
    accuracy: Accuracies
    strata: tuple[Stratum, ...] = ()
    chosen_logps: float | None = None
    rejected_logps: float | None = None
    margin: float | None = None


class Spread(Record):
    """Lengths of the replies: median, 10th and 90th percentile, and each value."""

    median: float
    p10: float | None = None
    p90: float | None = None
    values: tuple[float, ...] = ()


class Judge(Record):
    """What the rubric judge gave on average."""

    name: str
    mean: Estimate
    parts: Mapping[str, float | None] = Field(default_factory=dict)
    escalation_rate: float | None = None


class Turn(Record):
    """One turn of a prompt."""

    role: str
    content: str


class Sample(Record):
    """One reply to a held-out prompt, with what the data prefers and rejects there."""

    prompt: tuple[Turn, ...]
    reply: str
    stopped: bool
    chars: int
    tokens: int | None = None
    score: float | None = None
    parts: Mapping[str, float | None] | None = None
    chosen: str | None = None
    rejected: str | None = None

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What two replies to one prompt have in common."""
        return tuple((turn.role, turn.content) for turn in self.prompt)


class Generation(Record):
    """What the model writes to held-out prompts."""

    num_prompts: int
    settings: Mapping[str, Any] = Field(default_factory=dict)
    chars: Spread
    tokens: Spread | None = None
    stopped: float
    distinct_1: float | None = None
    distinct_2: float | None = None
    repeated_4gram: float | None = None
    judge: Judge | None = None
    samples: tuple[Sample, ...] = ()


class WinRate(Record):
    """Share of prompts on which the judge prefers this evaluation's reply to another's, ties half."""

    against: str
    value: float
    low: float | None = None
    high: float | None = None
    wins: int
    ties: int
    losses: int


class Evaluation(Record):
    """evaluation/<label>.json."""

    label: str
    created: str = ""
    model: Mapping[str, Any] = Field(default_factory=dict)
    data: Mapping[str, Any] = Field(default_factory=dict)
    method: Mapping[str, Any] = Field(default_factory=dict)
    preference: Preference | None = None
    generation: Generation | None = None
    win_rate: WinRate | None = None
    seconds: float | None = None
    peak_memory_bytes: float | None = None


class PairScore(Record):
    """One line of evaluation/<label>.pairs.jsonl: which pair, which prompt, the two rewards."""

    id: str
    prompt_id: str
    chosen_reward: float
    rejected_reward: float

    @property
    def correct(self) -> float:
        """1 where chosen has the larger reward, ties half."""
        if self.chosen_reward == self.rejected_reward:
            return 0.5
        return float(self.chosen_reward > self.rejected_reward)


class Token(Record):
    """One token as text; `logp` in nats where it was scored."""

    text: str
    special: bool = False
    stop: bool = False
    logp: float | None = None


class RenderedPair(Record):
    """One pair as the model reads it."""

    source: str = ""
    prompt: tuple[Token, ...]
    chosen: tuple[Token, ...]
    rejected: tuple[Token, ...] = ()


class Rendering(Record):
    """rendering.json: the first pairs as tokens."""

    pairs: tuple[RenderedPair, ...] = ()


AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class RunSource:
    """Everything of one run folder; what is absent there is empty here."""

    name: str
    recipe: LoadedRecipe
    recipe_text: str
    run: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, Evaluation]
    pairs: Mapping[str, tuple[PairScore, ...]]
    replies: Mapping[str, tuple[Sample, ...]]
    rendering: Rendering | None
    export: Mapping[str, Any] | None = field(default=None)

    @property
    def before(self) -> Evaluation | None:
        """The evaluation of the model that training started from."""
        return self.evaluations.get("before")

    @property
    def after(self) -> Evaluation | None:
        """The evaluation of the trained model."""
        return self.evaluations.get("after")

    @property
    def row_word(self) -> str:
        """What one training row is called."""
        return "pairs" if METHODS[self.recipe.recipe.method.name].pairwise else "examples"

    def last(self, kind: str) -> Mapping[str, Any] | None:
        """The newest event of a kind."""
        return next((event for event in reversed(self.events) if event["event"] == kind), None)

    def all(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of a kind, oldest first."""
        return [event for event in self.events if event["event"] == kind]


def read_source(path: Path) -> RunSource:
    """Read a run folder.

    Raises `RecipeError` where the folder is none of ours, `DataError` naming the file (and line) that cannot be read.
    """
    run = RunFolder.open(path)
    evaluations = {file.stem: _record(Evaluation, file) for file in sorted(run.evaluation.glob("*.json"))}
    return RunSource(
        name=path.resolve().name,
        recipe=run.load_recipe(),
        recipe_text=_text(run.recipe_path),
        run=run.lineage(),
        events=tuple(read_events(run.events_path)),
        evaluations=evaluations,
        pairs={label: _lines(PairScore, run.evaluation / f"{label}.pairs.jsonl") for label in evaluations},
        replies={label: _lines(Sample, run.evaluation / f"{label}.replies.jsonl") for label in evaluations},
        rendering=_record(Rendering, run.rendering_path) if run.rendering_path.is_file() else None,
        export=read_json(run.path / "export.json") if (run.path / "export.json").is_file() else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from error


def _record(kind: type[AnyRecord], path: Path) -> AnyRecord:
    return _checked(kind, _text(path), str(path))


def _lines(kind: type[AnyRecord], path: Path) -> tuple[AnyRecord, ...]:
    return tuple(_each_line(kind, path)) if path.is_file() else ()


def _each_line(kind: type[AnyRecord], path: Path) -> Iterator[AnyRecord]:
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if text.strip():
            yield _checked(kind, text, f"{path}:{line}")


def _checked(kind: type[AnyRecord], text: str, where: str) -> AnyRecord:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"not valid JSON: {error}", where=where) from error
    return parsed(kind, content, where)


def parsed(kind: type[AnyRecord], content: Any, where: str) -> AnyRecord:
    """Plain values as a record. Raises DataError naming the first key that is missing or of another type."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{key}: {first['msg']}", where=where) from error
