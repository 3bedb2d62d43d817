"""What the report draws: training curves, accuracy by stratum, reply lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from simpo.report.charts import IntervalRow, Series, distribution_chart, interval_chart, line_chart
from simpo.report.source import RunSource, Spread
from simpo.report.summary import MatchedStratum, SummaryRow, matched_strata
from simpo.report.words import NOTHING, percent, percent_range, whole

MAX_STRATA = 12


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart with its heading, the key to its colours as (colour, word), and a sentence on how to read it."""

    title: str
    svg: Markup
    key: tuple[tuple[str, str], ...] = ()
    note: str = ""


TRAIN_AND_VALIDATION = (("neutral", "training"), ("after", "validation"))
CHOSEN_AND_REJECTED = (("after", "chosen"), ("before", "rejected"))
BEFORE_AND_AFTER = (("before", "before"), ("after", "after"))


def curves(source: RunSource) -> list[Chart]:
    """Small multiples over the training steps; a quantity that the run does not have gives no chart."""
    return [
        chart
        for chart in (*_learning(source), _logps(source), *_optimiser(source), *_watched(source))
        if chart
    ]


def _learning(source: RunSource) -> list[Chart | None]:
    """Loss, accuracy and margin, in training and in validation."""
    steps, evaluations = source.all("step"), source.all("evaluate")
    loss_unit = "mean over pairs" if source.row_word == "pairs" else "nats per token"

    def chart(title: str, key: str, unit: str, scale: float = 1.0) -> Chart | None:
        lines = [
            *_series(steps, key, "neutral", "line", scale),
            *_series(evaluations, key, "after", "dots", scale),
        ]
        return _curve(title, key, unit, lines, TRAIN_AND_VALIDATION)

    return [
        chart("Loss", "loss", loss_unit),
        chart("Pairwise accuracy", "accuracy", "%", 100),
        chart("Reward margin", "margin", "units of reward"),
    ]


def _logps(source: RunSource) -> Chart | None:
    steps, evaluations = source.all("step"), source.all("evaluate")
    lines = [
        *_series(steps, "rejected_logps", "before", "line"),
        *_series(steps, "chosen_logps", "after", "line"),
        *_series(evaluations, "rejected_logps", "before", "dots"),
        *_series(evaluations, "chosen_logps", "after", "dots"),
    ]
    note = "Lines: training, dots: validation. Both sides may fall: the loss asks for a gap between them."
    return _curve("Mean log-probability", "logps", "nats per token", lines, CHOSEN_AND_REJECTED, note)


def _optimiser(source: RunSource) -> list[Chart | None]:
    steps = source.all("step")
    clipped = f"Clipped to {source.recipe.recipe.train.max_grad_norm:g}."
    rate, norm = _series(steps, "lr", "neutral", "exact"), _series(steps, "grad_norm", "neutral", "line")
    return [
        _curve("Learning rate", "lr", "per step", rate),
        _curve("Gradient norm", "grad-norm", "before clipping", norm, (), clipped),
    ]


def _watched(source: RunSource) -> list[Chart | None]:
    """What the guard saw of the policy's own replies to a few fixed prompts."""
    looks = [
        {**event["figures"], "step": event["step"]} for event in source.all("guard") if "figures" in event
    ]
    lengths = _series(looks, "median_chars", "after", "dots")
    stops, repeats = (
        _series(looks, "stopped", "after", "dots", 100),
        _series(looks, "repetitive", "before", "dots", 100),
    )
    note = "The guard's few fixed prompts, answered greedily."
    key = (("after", "stop by themselves"), ("before", "repeat"))
    return [
        _curve("Reply length", "watched-length", "characters, median", lengths, (), note),
        _curve("Replies that stop, that repeat", "watched-stops", "%", [*repeats, *stops], key),
    ]


def _series(
    events: Sequence[Mapping[str, Any]],
    key: str,
    colour: Literal["before", "after", "neutral"],
    style: Literal["line", "dots", "exact"],
    scale: float = 1.0,
) -> list[Series]:
    """One curve of the events that have this figure, or none where no value is finite."""
    known = [event for event in events if event.get(key) is not None]
    values = [scale * float(event[key]) for event in known]
    if not any(math.isfinite(value) for value in values):
        return []
    return [Series([float(event["step"]) for event in known], values, colour, style)]


def _curve(
    title: str,
    name: str,
    unit: str,
    lines: Sequence[Series],
    key: tuple[tuple[str, str], ...] = (),
    note: str = "",
) -> Chart | None:
    if not lines:
        return None
    svg = line_chart(name, lines, unit=unit, description=f"{title} over training steps")
    return Chart(title, svg, key, note)


CUTS = (
    ("longer", "By which is longer"),
    ("length_quartile", "By length of the pair"),
    ("category", "By category"),
)


def strata(source: RunSource) -> list[Chart]:
    """Accuracy by stratum, before and after, one chart a cut."""
    charts = []
    for by, title in CUTS:
        parts = matched_strata(source, by)
        if not parts:
            continue
        rows = [_interval_row(part) for part in parts[:MAX_STRATA]]
        rest = len(parts) - len(rows)
        note = (
            f"{whole(rest)} smaller ones are left out here; evaluation/after.json has them." if rest else ""
        )
        svg = interval_chart(f"strata-{by}", rows, description=f"Pairwise accuracy, {title.lower()}")
        charts.append(Chart(title, svg, _present(source), note))
    return charts


def _interval_row(part: MatchedStratum) -> IntervalRow:
    return IntervalRow(
        part.name,
        part.num_pairs,
        part.before.accuracy if part.before else None,
        part.after.accuracy if part.after else None,
    )


def _present(source: RunSource) -> tuple[tuple[str, str], ...]:
    there = {"before": source.before, "after": source.after}
    return tuple((colour, word) for colour, word in BEFORE_AND_AFTER if there[colour])


def scores(source: RunSource) -> list[SummaryRow]:
    """Accuracy under reward, mean and total log-probability: three readings of the same pairs."""
    before = source.before.preference.accuracy if source.before and source.before.preference else None
    after = source.after.preference.accuracy if source.after and source.after.preference else None
    named = [
        ("Reward of the method", before and before.reward, after and after.reward),
        ("Mean log-probability", before and before.mean_logps, after and after.mean_logps),
        ("Total log-probability", before and before.total_logps, after and after.total_logps),
    ]
    return [
        SummaryRow(
            label,
            percent(old.value) if old else NOTHING,
            percent(new.value) if new else NOTHING,
            percent_range(old.low, old.high) if old else "",
            percent_range(new.low, new.high) if new else "",
        )
        for label, old, new in named
        if old or new
    ]


def lengths(source: RunSource) -> Chart | None:
    """The distribution of reply lengths before and after, in characters."""
    sides = [
        side.generation.chars.values if side and side.generation else ()
        for side in (source.before, source.after)
    ]
    finite = [[value for value in side if math.isfinite(value)] for side in sides]
    if not any(finite):
        return None
    svg = distribution_chart(
        "lengths",
        *finite,
        unit="reply length, characters",
        description="Distribution of reply lengths before and after training",
    )
    note = "The upright line is the median; the last bar holds the longest 1 % too."
    return Chart("Characters per reply", svg, (), note)


def length_rows(source: RunSource) -> list[SummaryRow]:
    """Median and spread of the reply lengths, in characters and in tokens."""
    before = source.before.generation if source.before else None
    after = source.after.generation if source.after else None
    return [
        *_spread_rows("characters", before.chars if before else None, after.chars if after else None),
        *_spread_rows("tokens", before.tokens if before else None, after.tokens if after else None),
    ]


def _spread_rows(unit: str, before: Spread | None, after: Spread | None) -> list[SummaryRow]:
    if before is None and after is None:
        return []
    old, new = before or Spread(median=math.nan), after or Spread(median=math.nan)
    return [
        SummaryRow(f"{unit}, median", whole(old.median), whole(new.median)),
        SummaryRow(f"{unit}, 10th percentile", whole(old.p10), whole(new.p10)),
        SummaryRow(f"{unit}, 90th percentile", whole(old.p90), whole(new.p90)),
    ]
