"""What a comparison says, as its page reads it: compare.json checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from simpo.report.source import Estimate, Record, Turn

BASE = "base"


class Problem(Record):
    """A run or a part that failed."""

    where: str
    message: str


class CompareData(Record):
    """The held-out pairs."""

    name: str = ""
    hash: str = ""
    num_pairs: int | None = None
    num_prompts: int | None = None
    dropped: Mapping[str, int] = Field(default_factory=dict)
    chosen_chars: float | None = None
    rejected_chars: float | None = None
    chosen_longer: float | None = None
    seen_in_training: int | None = None


class Base(Record):
    """The model that all methods start from."""

    name: str = ""
    hash: str | None = None


class MethodRun(Record):
    """One method trained with one seed."""

    run: str
    seed: int | None = None
    status: str
    error: str | None = None
    steps: int | None = None
    best_step: int | None = None
    pairs: int | None = None
    tokens: int | None = None
    accuracy: Estimate | None = None
    common: Estimate | None = None
    median_chars: float | None = None
    stopped: float | None = None


class Compared(Record):
    """One method of the comparison."""

    id: str
    label: str
    description: str = ""
    recipe: str | None = None
    settings: Mapping[str, Any] = Field(default_factory=dict)
    runs: tuple[MethodRun, ...] = ()


class StratumPair(Record):
    """Accuracy (or its difference) within one part of the pairs, under both yardsticks."""

    by: str
    name: str
    num_pairs: int
    own: Estimate | None = None
    common: Estimate | None = None


class PerSeed(Record):
    """Accuracies of each seed."""

    own: tuple[float, ...] | None = None
    common: tuple[float, ...] | None = None


class ModelPreference(Record):
    """One model on the held-out pairs."""

    own: Estimate | None = None
    common: Estimate | None = None
    per_seed: PerSeed = Field(default_factory=PerSeed)
    chosen_logps: float | None = None
    rejected_logps: float | None = None
    strata: tuple[StratumPair, ...] = ()


class McNemar(Record):
    """Pairs that one model alone gets right, and how surprising that is."""

    first_only: float
    second_only: float
    p_exact: float | None = None
    p_mid: float | None = None
    p_clustered: float | None = None


class Needed(Record):
    """How many pairs it would take to see the difference that was found."""

    pairs: float | None = None
    prompts: float | None = None
    power: float | None = None


class Difference(Estimate):
    """A paired difference of two accuracies."""

    mcnemar: McNemar | None = None
    needed: Needed | None = None


class PairOfModels(Record):
    """Two models compared pair by pair."""

    first: str
    second: str
    own: Difference | None = None
    common: Difference | None = None
    strata: tuple[StratumPair, ...] = ()


class ComparedPreference(Record):
    """Held-out accuracy of every model, and of every two."""

    common: str = "mean log-probability"
    models: Mapping[str, ModelPreference]
    differences: tuple[PairOfModels, ...] = ()


class Lengths(Record):
    """Lengths of the replies in characters."""

    median: float
    p10: float | None = None
    p90: float | None = None


class ModelReplies(Record):
    """What one model writes."""

    chars: Lengths
    stopped: Estimate | None = None
    repeated_4gram: float | None = None
    repetitive: Estimate | float | None = None
    distinct_2: float | None = None
    score: Estimate | None = None
    parts: Mapping[str, float | None] = Field(default_factory=dict)
    escalation: Estimate | None = None


class RawRate(Estimate):
    """A win rate with its counts."""

    wins: int = 0
    ties: int = 0
    losses: int = 0


class ControlledRate(Estimate):
    """A win rate at equal lengths."""

    extrapolated: bool = False


class ComparedRate(Record):
    """How often the judge prefers one model's reply to another's."""

    first: str
    second: str
    raw: RawRate
    length_controlled: ControlledRate | None = None
    agreement_of_orders: float | None = None


class ComparedJudge(Record):
    """Who judged."""

    name: str
    kind: str = ""
    both_orders: bool = False


class ComparedReply(Record):
    """One model's reply to one prompt."""

    text: str
    chars: int | None = None
    stopped: bool | None = None
    score: float | None = None
    escalates: bool | None = None


class ComparedSample(Record):
    """One prompt with every model's reply."""

    prompt: tuple[Turn, ...]
    chosen: str | None = None
    rejected: str | None = None
    category: str | None = None
    replies: Mapping[str, ComparedReply]


class ComparedGeneration(Record):
    """Replies to held-out prompts."""

    num_prompts: int
    settings: Mapping[str, Any] = Field(default_factory=dict)
    judge: ComparedJudge | None = None
    models: Mapping[str, ModelReplies]
    win_rates: tuple[ComparedRate, ...] = ()
    samples: tuple[ComparedSample, ...] = ()


class ModelDrift(Record):
    """How far one model has moved from the start."""

    chosen: Estimate | None = None
    generated: Estimate | None = None
    chosen_logps_change: Estimate | None = None


class Drift(Record):
    """Drift of every method."""

    models: Mapping[str, ModelDrift]


class CostRow(Record):
    """What one way of training costs."""

    method: str
    reference: str | None = None
    measured: str = Field("", alias="from")
    steps: int | None = None
    seconds: float | None = None
    seconds_per_pair: float | None = None
    pairs_per_second: float | None = None
    tokens_per_second: float | None = None
    prepare_seconds: float | None = None
    peak_memory_bytes: float | None = None
    parameters_held: float | None = None
    parameters_trained: float | None = None


class RegressionSet(Record):
    """One set of questions before and after."""

    name: str
    kind: str = ""
    metric: str = ""
    higher_is_better: bool = True
    num_items: int = 0
    not_checked: int = 0
    models: Mapping[str, Estimate | None]
    changes: Mapping[str, Estimate | None] = Field(default_factory=dict)


class CompareVerdict(Record):
    """Whether to cut over, in words a manager understands."""

    choice: str | None = None
    strength: Literal["clear", "leaning", "undecided"] = "undecided"
    headline: str
    paragraph: str = ""
    for_: tuple[str, ...] = Field((), alias="for")
    against: tuple[str, ...] = ()


class CompareFile(Record):
    """compare.json, schema 1."""

    created: str = ""
    simpo_version: str = ""
    seconds: float | None = None
    equal: str = ""
    seeds: tuple[int, ...] = ()
    machine: Mapping[str, Any] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    data: CompareData = Field(default_factory=CompareData)
    base: Base = Field(default_factory=Base)
    methods: tuple[Compared, ...]
    preference: ComparedPreference | None = None
    generation: ComparedGeneration | None = None
    drift: Drift | None = None
    cost: tuple[CostRow, ...] = ()
    regression: tuple[RegressionSet, ...] | None = None
    verdict: CompareVerdict

    @property
    def labels(self) -> dict[str, str]:
        """What each model is called, the starting one last; methods of one name are told apart by their id."""
        names = [method.label for method in self.methods]
        told = {
            method.id: method.label if names.count(method.label) == 1 else f"{method.label} ({method.id})"
            for method in self.methods
        }
        return {**told, BASE: "start"}
