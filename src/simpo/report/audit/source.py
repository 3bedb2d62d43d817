"""What an audit says, as the page reads it: audit.json checked, and the figures that the page can draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from simpo.report.source import Estimate, Record

SEVERITIES = ("error", "warning", "note")


class AuditData(Record):
    """What was read."""

    name: str
    format: str = ""
    files: tuple[Mapping[str, Any], ...] = ()
    rows_read: int
    pairs: int
    prompts: int
    dropped: Mapping[str, int] = Field(default_factory=dict)
    hash: str = ""


class AuditRepair(Record):
    """One repair that a build is to make, and on how many rows."""

    kind: str
    repair: str
    count: int


class AuditVerdict(Record):
    """Whether the data is fit to train on, and why."""

    fit: Literal["fit", "repair", "unfit"]
    title: str
    reasons: tuple[str, ...] = ()
    repairs: tuple[AuditRepair, ...] = ()


class AuditMethod(Record):
    """Whether a way of training suits; None where the data cannot tell."""

    method: str
    suits: bool | None
    reason: str


class AuditExample(Record):
    """One row that a finding is about, with its texts where it could be read."""

    source: str
    detail: str = ""
    other: str | None = None
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None


class AuditFinding(Record):
    """One finding, its figures as they came."""

    kind: str
    severity: Literal["error", "warning", "note"]
    title: str
    action: str
    count: int
    of: int
    unit: str = "pairs"
    share: float
    repair: str | None = None
    examples: tuple[AuditExample, ...] = ()
    figures: Mapping[str, Any] = Field(default_factory=dict)


class AuditFile(Record):
    """audit.json, schema 1."""

    created: str = ""
    simpo_version: str = ""
    data: AuditData
    settings: Mapping[str, Any] = Field(default_factory=dict)
    verdict: AuditVerdict
    methods: tuple[AuditMethod, ...] = ()
    findings: tuple[AuditFinding, ...] = ()
    seconds: float | None = None


class Kappa(Record):
    """Cohen's or Fleiss' kappa."""

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


class MarginShare(Record):
    """How many items were decided by this margin, |votes A - votes B| / votes."""

    margin: float
    items: int
    share: float


class AnnotatorRow(Record):
    """One annotator: agreement with the others' majority, and how often they take the first and the longer reply."""

    annotator: str
    votes: int
    ties: float = 0.0
    agreement: Estimate | None = None
    first: Estimate | None = None
    longer: Estimate | None = None
    flags: tuple[str, ...] = ()


class AgreementFigures(Record):
    """Figures of the finding `agreement`."""

    num_votes: int
    num_items_with_two: int
    num_annotators: int
    alpha: Estimate | None = None
    kappa: Kappa | None = None
    margins: tuple[MarginShare, ...] = ()
    annotators: tuple[AnnotatorRow, ...]


class PositionFigures(Record):
    """Figures of the finding `position_bias`: how often the reply shown first wins."""

    first: Estimate
    within_items: Estimate | None = None
    beyond_chance: bool = False


class TurnedFigures(Record):
    """Figures of the finding `order_turns_verdict`."""

    turned: Estimate
    first_both_times: int = 0
    second_both_times: int = 0
    same: int = 0


class CurvePoint(Record):
    """Probability that a reply is the chosen one, at one log ratio of its length to the other's."""

    log_ratio: float
    value: float
    low: float | None = None
    high: float | None = None


class LengthBin(Record):
    """Share of pairs in which the longer reply wins, in one bin of |log ratio|."""

    log_ratio: float
    pairs: int
    value: float
    low: float | None = None
    high: float | None = None


class CategoryShare(Record):
    """The same share in one category."""

    category: str
    pairs: int
    value: float
    low: float | None = None
    high: float | None = None


class LengthFigures(Record):
    """Figures of the finding `length_bias`."""

    chosen_longer: Estimate | None = None
    auc: Estimate | None = None
    median_chars: Mapping[str, float] = Field(default_factory=dict)
    bins: tuple[LengthBin, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    by_category: tuple[CategoryShare, ...] = ()
    points: tuple[tuple[float, float], ...] = ()


class Predictor(Record):
    """How often a simple model foretells the label, out of fold."""

    accuracy: Estimate
    auc: Estimate | None = None


class MatchedPredictors(Record):
    """The same where both replies are equally long."""

    pairs: int
    length_and_marks: Estimate | None = None
    all_words: Estimate | None = None


class MarkRow(Record):
    """One mark of style: in how many pairs the sides differ in it, and how often the side with more of it wins."""

    mark: str
    what: str = ""
    differs: float
    pairs: int
    more_chosen: Estimate | None = None


class StyleFigures(Record):
    """Figures of the finding `style_bias`."""

    predictors: Mapping[str, Predictor]
    length_matched: MatchedPredictors | None = None
    marks: tuple[MarkRow, ...] = ()


class Suspect(Record):
    """One pair of the ranked list of labels that look turned."""

    source: str
    probability: float | None = None
    score: float | None = None
    margin: float | None = None
    votes: int = 0
    prompt: str | None = None
    chosen: str
    rejected: str


class ShorterChosen(Record):
    """Share of pairs with the shorter reply chosen: of all, of the suspected, and of the rest."""

    all: float
    suspected: float | None = None


class FlipFigures(Record):
    """Figures of the finding `suspected_flip`."""

    noise_rate: Estimate
    counted: bool
    accuracy: Estimate | None = None
    auc: Estimate | None = None
    shorter_chosen: ShorterChosen | None = None
    ranked: tuple[Suspect, ...] = ()


Figures = TypeVar("Figures", bound=Record)


def figures_of(audit: AuditFile, kind: str, shape: type[Figures]) -> Figures | None:
    """The figures of the finding of a kind; None where there is none or an older audit had others."""
    for finding in audit.findings:
        if finding.kind == kind:
            try:
                return shape.model_validate(finding.figures)
            except ValidationError:
                return None
    return None
