"""A comparison in tables and words: the models side by side, two by two, what they cost, what they forgot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simpo.report.compare.source import (
    BASE,
    ComparedRate,
    CompareFile,
    CostRow,
    Difference,
    ModelReplies,
)
from simpo.report.source import Estimate
from simpo.report.words import (
    NOTHING,
    count,
    duration,
    memory,
    number,
    number_range,
    percent,
    percent_range,
    points,
    whole,
)

STRENGTH = {"clear": "clear", "leaning": "leaning", "undecided": "not decided"}
SERIES = ("m0", "m1", "m2", "m3")
REFERENCES = {"precomputed": "reference scored ahead", "live": "live reference", "adapter_off": "adapter off"}

Cell = tuple[str, str]  # a figure and its interval


@dataclass(frozen=True, slots=True)
class TableRow:
    """One figure of every model; `note` says what it is."""

    label: str
    note: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two models compared: both yardsticks, the pairs that one alone gets right, and how many it would take."""

    first: str
    second: str
    own: Cell
    common: Cell
    only: str
    p: str
    needed: str


def series_of(comparison: CompareFile) -> dict[str, str]:
    """The colour of each model, the starting one drawn hollow; a fifth method takes the first one's again."""
    named = {method.id: SERIES[at % len(SERIES)] for at, method in enumerate(comparison.methods)}
    return {**named, BASE: "base"}


def models(comparison: CompareFile) -> list[str]:
    """The ids of all models, methods in their order and the starting one last."""
    return [*(method.id for method in comparison.methods), BASE]


def share_cell(estimate: Estimate | None) -> Cell:
    """A share and its interval."""
    if estimate is None:
        return NOTHING, ""
    return percent(estimate.value), percent_range(estimate.low, estimate.high)


def number_cell(estimate: Estimate | None, digits: int = 3) -> Cell:
    """A number and its interval."""
    if estimate is None:
        return NOTHING, ""
    return number(estimate.value, digits), number_range(estimate.low, estimate.high, digits)


def points_cell(estimate: Estimate | None) -> Cell:
    """A difference of shares in points, and its interval."""
    if estimate is None:
        return NOTHING, ""
    ends = estimate.low is not None and estimate.high is not None
    return points(
        estimate.value
    ), f"{points(estimate.low or 0)} to {points(estimate.high or 0)}" if ends else ""


def overview(comparison: CompareFile) -> list[TableRow]:
    """The figures of every model side by side; a row without any is left out."""
    rows = [
        *_preference_rows(comparison),
        *_reply_rows(comparison),
        *_drift_rows(comparison),
        *_cost_rows(comparison),
    ]
    return [row for row in rows if any(cell[0] != NOTHING for cell in row.cells)]


def _row(comparison: CompareFile, label: str, note: str, cell: Callable[[str], Cell]) -> TableRow:
    return TableRow(label, note, tuple(cell(model) for model in models(comparison)))


def _preference_rows(comparison: CompareFile) -> Iterator[TableRow]:
    preference = comparison.preference
    if preference is None:
        return
    found = preference.models

    def own(model: str) -> Cell:
        return share_cell(found[model].own if model in found else None)

    def common(model: str) -> Cell:
        return share_cell(found[model].common if model in found else None)

    yield _row(comparison, "Held-out accuracy, own reward", "each method by its own measure", own)
    yield _row(comparison, "Held-out accuracy, one yardstick", preference.common, common)


def _reply_rows(comparison: CompareFile) -> Iterator[TableRow]:
    generation = comparison.generation
    if generation is None:
        return
    rates = {rate.first: rate for rate in generation.win_rates if rate.second == BASE}

    def raw(model: str) -> Cell:
        return share_cell(rates[model].raw if model in rates else None)

    def controlled(model: str) -> Cell:
        return share_cell(rates[model].length_controlled if model in rates else None)

    yield _row(comparison, "Win rate against the start", "by the judge; 50 % is a draw", raw)
    yield _row(
        comparison, "Win rate at equal length", "what is left of it when length is taken out", controlled
    )
    for label, note, pick in REPLY_FIGURES:
        found = generation.models
        yield TableRow(
            label,
            note,
            tuple(pick(found[model]) if model in found else (NOTHING, "") for model in models(comparison)),
        )


def _length(replies: ModelReplies) -> Cell:
    return whole(replies.chars.median), number_range(replies.chars.p10, replies.chars.p90, 0)


def _repetitive(replies: ModelReplies) -> Cell:
    value = replies.repetitive
    return share_cell(value) if isinstance(value, Estimate) else (percent(value), "")


REPLY_FIGURES: tuple[tuple[str, str, Callable[[ModelReplies], Cell]], ...] = (
    ("Median reply, characters", "10th to 90th percentile below", _length),
    ("Replies that stop", "by themselves", lambda replies: share_cell(replies.stopped)),
    ("Replies that repeat themselves", "", _repetitive),
    ("Judge's score", "mean over the replies", lambda replies: number_cell(replies.score, 2)),
    ("Escalations", "after the reply, says the judge", lambda replies: share_cell(replies.escalation)),
)


def _drift_rows(comparison: CompareFile) -> Iterator[TableRow]:
    drift = comparison.drift
    if drift is None:
        return
    found = drift.models
    told = "nats per token, from the start, on the chosen replies"
    yield _row(
        comparison,
        "Drift (KL)",
        told,
        lambda model: number_cell(found[model].chosen if model in found else None),
    )
    yield _row(
        comparison,
        "Log-probability of the chosen",
        "change, nats per token",
        lambda model: number_cell(found[model].chosen_logps_change if model in found else None),
    )


def _cost_rows(comparison: CompareFile) -> Iterator[TableRow]:
    costs = _comparable_costs(comparison)
    if costs is None:
        return
    prices, where = costs

    def seconds(model: str) -> Cell:
        return (number(prices[model].seconds_per_pair, 3) if model in prices else NOTHING), ""

    def peak(model: str) -> Cell:
        return (memory(prices[model].peak_memory_bytes) if model in prices else NOTHING), ""

    yield _row(comparison, "Training, seconds per pair", where, seconds)
    yield _row(comparison, "Peak memory", where, peak)


def _comparable_costs(comparison: CompareFile) -> tuple[dict[str, CostRow], str] | None:
    """One price a method, all measured alike: trials, which are short and follow on each other, before whole runs.

    Whole runs of another day, or beside other work, say more of the machine than of the method.
    """
    wanted = {row.method: row.reference for row in comparison.cost if row.measured == "run"}
    for measured, where in (("trial", "short trials, one after the other"), ("run", "the whole run")):
        found = {
            row.method: row
            for row in comparison.cost
            if row.measured == measured and row.reference == wanted.get(row.method, row.reference)
        }
        if found and set(found) >= set(wanted):
            return found, where
    return None


def pair_rows(comparison: CompareFile) -> list[PairRow]:
    """Every two models, pair by pair."""
    if comparison.preference is None:
        return []
    names = comparison.labels
    return [
        PairRow(
            names.get(each.first, each.first),
            names.get(each.second, each.second),
            points_cell(each.own),
            points_cell(each.common),
            _only(each.common),
            _p(each.common),
            _needed(each.common),
        )
        for each in comparison.preference.differences
    ]


def _only(difference: Difference | None) -> str:
    if difference is None or difference.mcnemar is None:
        return NOTHING
    return f"{whole(difference.mcnemar.first_only)} : {whole(difference.mcnemar.second_only)}"


def _p(difference: Difference | None) -> str:
    test = difference.mcnemar if difference else None
    p = None if test is None else test.p_clustered if test.p_clustered is not None else test.p_mid
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else number(p, 3)


def _needed(difference: Difference | None) -> str:
    if difference is None or difference.needed is None or difference.needed.pairs is None:
        return NOTHING
    return whole(difference.needed.pairs)


def rate_words(comparison: CompareFile, rate: ComparedRate) -> tuple[str, str]:
    """A name and a note for one line of win rates."""
    names = comparison.labels
    note = f"{whole(rate.raw.wins)} won, {whole(rate.raw.ties)} tied, {whole(rate.raw.losses)} lost"
    return f"{names.get(rate.first, rate.first)} against {names.get(rate.second, rate.second)}", note


def cost_table(comparison: CompareFile) -> list[tuple[str, str, tuple[str, ...]]]:
    """(method, how, figures) of each way of training that was timed."""
    names = comparison.labels
    return [
        (
            names.get(row.method, row.method),
            ", ".join(
                part
                for part in (
                    REFERENCES.get(row.reference or "", ""),
                    "whole run" if row.measured == "run" else "trial",
                )
                if part
            ),
            (
                number(row.seconds_per_pair, 3),
                number(row.pairs_per_second, 2),
                whole(row.tokens_per_second),
                duration(row.prepare_seconds),
                memory(row.peak_memory_bytes),
                millions(row.parameters_held),
                millions(row.parameters_trained),
            ),
        )
        for row in comparison.cost
    ]


def millions(parameters: float | None) -> str:
    """A count of parameters as a person says it: 134.5 M."""
    if parameters is None:
        return NOTHING
    if parameters < 1e6:
        return whole(parameters)
    return f"{number(parameters / 1e6, 1)} M" if parameters < 1e9 else f"{number(parameters / 1e9, 2)} B"


def regression_table(
    comparison: CompareFile,
) -> list[tuple[str, str, Cell, tuple[tuple[Cell, Cell, str], ...]]]:
    """(set, what is measured, the start, per method (value, change, how it reads)) of each set of questions."""
    table = []
    for each in comparison.regression or ():
        notes = [each.metric, count(each.num_items, "question")]
        notes += ["lower is better"] if not each.higher_is_better else []
        methods = tuple(
            (
                share_cell(each.models.get(method.id)),
                points_cell(each.changes.get(method.id)),
                _reads(each.changes.get(method.id), each.higher_is_better),
            )
            for method in comparison.methods
        )
        table.append((each.name, "; ".join(notes), share_cell(each.models.get(BASE)), methods))
    return table


def _reads(change: Estimate | None, higher_is_better: bool) -> str:
    """Whether a change is clearly a loss or a gain, from its interval."""
    if change is None or change.low is None or change.high is None:
        return ""
    if change.low > 0:
        return "gain" if higher_is_better else "loss"
    if change.high < 0:
        return "loss" if higher_is_better else "gain"
    return ""
