"""`write_sweep_page`: a sweep as one page: what won and why, the map, curves, gaps, and the command to go on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simpo.report.figures import Chart
from simpo.report.pages import render, write_page
from simpo.report.source import parsed
from simpo.report.sweep.charts import (
    AxisPoint,
    CurveLine,
    GapRow,
    TradePoint,
    axis_chart,
    curves_chart,
    gap_chart,
    map_chart,
    trade_chart,
)
from simpo.report.sweep.source import Axis, CurveStep, SweepFile, Trial
from simpo.report.sweep.views import (
    accuracy_scale,
    best_first,
    data_facts,
    heat_maps,
    role_of,
    sentences,
    setting_words,
    short_key,
    state,
    tiles,
    title,
    trial_rows,
    two_axes,
    value_text,
)
from simpo.report.words import last_name, sentence, whole

MAX_GAP_ROWS = 10
ROLES = (("after", "chosen"), ("ink", "runner-up"), ("before", "collapsed or failed"))
GAP_KEY = (("hollow", "training"), ("full", "validation"), ("square", "paraphrased"))


def write_sweep_page(sweep_json: Mapping[str, Any], path: Path | str) -> None:
    """Write a sweep (schema 1, DIR/sweep.json) as one HTML file that needs nothing else; running sweeps too.

    The same sweep gives the same bytes. Raises DataError where a key is missing or of another type, and RunFailed where
    the file cannot be written.
    """
    write_page(Path(path), render_sweep_page(parsed(SweepFile, sweep_json, "sweep.json")))


def render_sweep_page(sweep: SweepFile) -> str:
    """The page as text."""
    return render(
        "sweep.html",
        name=last_name(sweep.recipe) or "a recipe",
        title=title(sweep),
        state=state(sweep),
        sentences=list(sentences(sweep)),
        tiles=tiles(sweep),
        notes=sweep.notes,
        commands=[(sentence(each.what), each.command) for each in sweep.commands],
        maps=heat_maps(sweep),
        stages=[
            (
                short_key(stage.key),
                _chosen_value(sweep, stage.chosen, stage.key),
                sentence(stage.why or "not decided yet"),
            )
            for stage in sweep.stages
        ],
        axes=[*_map_chart(sweep), *_axis_charts(sweep)],
        curves=list(_curve_charts(sweep)),
        gaps=_gap_chart(sweep),
        trades=list(_trade_charts(sweep)),
        roles=_roles(sweep),
        rows=trial_rows(sweep),
        data_facts=data_facts(sweep),
        recipe_values=[(key, str(value)) for key, value in sweep.recipe_values.items()],
        version=sweep.simpo_version,
        updated=sweep.updated,
    )


def _chosen_value(sweep: SweepFile, name: str | None, key: str) -> str:
    trial = sweep.trial(name)
    return value_text(trial.settings.get(key)) if trial is not None else ""


def _roles(sweep: SweepFile) -> tuple[tuple[str, str], ...]:
    present = {role_of(sweep, trial) for trial in sweep.trials}
    words = {"chosen": ROLES[0], "runner_up": ROLES[1], "lost": ROLES[2]}
    return tuple(words[role] for role in words if role in present)


def _map_chart(sweep: SweepFile) -> Iterator[Chart]:
    """Where two axes were varied without a grid, their trials as dots."""
    pair = two_axes(sweep)
    if pair is None or heat_maps(sweep):
        return
    across, down = pair
    points = [
        (x, y, trial.accuracy.value, role_of(sweep, trial))
        for trial in sweep.trials
        if trial.accuracy is not None
        and (x := _number(trial.settings.get(across.key))) is not None
        and (y := _number(trial.settings.get(down.key))) is not None
    ]
    if len(points) < 2:
        return
    names = short_key(across.key), short_key(down.key)
    svg = map_chart(
        "map",
        points,
        across=names[0],
        down=names[1],
        scale=accuracy_scale(sweep),
        description=f"Validation accuracy by {names[0]} and {names[1]}",
    )
    note = "The stronger the blue, the better. Ringed: the chosen and, thinner, the runner-up."
    yield Chart(f"{names[0]} and {names[1]}", svg, (), note)


def _axis_charts(sweep: SweepFile) -> Iterator[Chart]:
    """Accuracy along each numeric axis with at least two values."""
    start = sweep.start.accuracy.value if sweep.start and sweep.start.accuracy else None
    for axis in sweep.axes:
        points = [
            AxisPoint(x, trial.accuracy, role_of(sweep, trial))
            for trial in sweep.trials
            if trial.accuracy is not None and (x := _number(trial.settings.get(axis.key))) is not None
        ]
        if len({point.x for point in points}) < 2:
            continue
        svg = axis_chart(
            f"axis-{short_key(axis.key)}",
            points,
            unit=axis.key,
            log=_log(axis, [point.x for point in points]),
            base=_number(axis.base),
            start=start,
            description=f"Validation accuracy by {axis.key}",
        )
        note = "Grey: the recipe's own value." if _number(axis.base) is not None else ""
        dashed = " Dashed: before training." if start is not None else ""
        yield Chart(f"By {short_key(axis.key)}", svg, (), (note + dashed).strip())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _log(axis: Axis, values: list[float]) -> bool:
    """Whether an axis is drawn in powers: where it was drawn so, or spans more than a factor of eight."""
    return min(values) > 0 and (axis.log or max(values) > 8 * min(values))


CURVES = (
    ("accuracy", "Validation accuracy", "%", 100.0),
    ("loss", "Validation loss", "mean over pairs", 1.0),
    ("chosen_logps", "Log-probability of the chosen", "nats per token", 1.0),
)


def _curve_charts(sweep: SweepFile) -> Iterator[Chart]:
    for key, name, unit, scale in CURVES:
        lines = [line for trial in sweep.trials if (line := _line(sweep, trial, key, scale)) is not None]
        if lines:
            svg = curves_chart(
                f"curve-{key}", lines, unit=unit, description=f"{name} of each trial over its steps"
            )
            yield Chart(name, svg)


def _line(sweep: SweepFile, trial: Trial, key: str, scale: float) -> CurveLine | None:
    known = [(step.step, value) for step in trial.curve if (value := _figure(step, key)) is not None]
    if not known:
        return None
    return CurveLine(
        [float(step) for step, _ in known], [scale * value for _, value in known], role_of(sweep, trial)
    )


def _figure(step: CurveStep, key: str) -> float | None:
    figures = {
        "accuracy": step.accuracy,
        "loss": step.loss,
        "chosen_logps": step.chosen_logps,
    }
    return figures[key]


def _gap_chart(sweep: SweepFile) -> Chart | None:
    """Training against validation accuracy of the best trials."""
    rows = [
        GapRow(
            setting_words(trial),
            trial.train_accuracy,
            trial.accuracy.value if trial.accuracy else None,
            trial.paraphrase_accuracy.value if trial.paraphrase_accuracy else None,
            role_of(sweep, trial),
        )
        for trial in best_first(sweep)
        if trial.train_accuracy is not None and trial.accuracy is not None
    ]
    if not rows:
        return None
    shown = rows[:MAX_GAP_ROWS]
    rest = f" The best {whole(len(shown))} of {whole(len(rows))}." if len(rows) > len(shown) else ""
    paraphrased = any(row.paraphrased is not None for row in shown)
    svg = gap_chart("gaps", shown, description="Accuracy on training, validation and paraphrased pairs")
    note = f"The longer the bar, the more was learnt by heart.{rest}"
    return Chart("Training against validation", svg, GAP_KEY if paraphrased else GAP_KEY[:2], note)


def _trade_charts(sweep: SweepFile) -> Iterator[Chart]:
    began = sweep.start.accuracy.value if sweep.start and sweep.start.accuracy else None
    chars = sweep.start.median_chars if sweep.start else None
    drawn = (
        (
            "drift",
            "Accuracy and drift",
            "drift, nats per token",
            [trial.drift for trial in sweep.trials],
            0.0,
        ),
        (
            "chars",
            "Accuracy and reply length",
            "median reply, characters",
            [trial.median_chars for trial in sweep.trials],
            chars,
        ),
    )
    for key, name, unit, values, start_x in drawn:
        points = [
            TradePoint(x, trial.accuracy.value, role_of(sweep, trial))
            for trial, x in zip(sweep.trials, values, strict=True)
            if trial.accuracy is not None and x is not None
        ]
        if len(points) < 2:
            continue
        start = (start_x, began) if began is not None and start_x is not None else None
        svg = trade_chart(f"trade-{key}", points, unit=unit, start=start, description=f"{name} of each trial")
        yield Chart(name, svg, (), "The plus marks the start." if start is not None else "")
