"""The charts of a sweep: accuracy along each axis, curves of every trial, gaps, and what accuracy costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from simpo.report.charts import panel, thin
from simpo.report.source import Estimate
from simpo.report.svg import AFTER, BEFORE, GRID, INK, MUTED, NEUTRAL, PAPER, label, theme, to_svg
from simpo.report.words import general

Role = Literal["chosen", "runner_up", "lost", "other"]
_COLOURS = {"chosen": AFTER, "runner_up": INK, "lost": BEFORE, "other": NEUTRAL}
_ORDER = {"other": 1, "lost": 2, "runner_up": 3, "chosen": 4}
WIDTH = 340


@dataclass(frozen=True, slots=True)
class AxisPoint:
    """One trial on one axis: the axis's value, its accuracy, and the part it plays."""

    x: float
    accuracy: Estimate
    role: Role


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One trial's figure over the steps."""

    steps: Sequence[float]
    values: Sequence[float]
    role: Role


@dataclass(frozen=True, slots=True)
class GapRow:
    """Accuracy of one trial on training pairs, on validation pairs, and on paraphrased prompts, as shares."""

    name: str
    train: float | None
    validation: float | None
    paraphrased: float | None
    role: Role


@dataclass(frozen=True, slots=True)
class TradePoint:
    """One trial as a point: x in its own unit, accuracy as a share."""

    x: float
    accuracy: float
    role: Role


def axis_chart(
    name: str,
    points: Sequence[AxisPoint],
    *,
    unit: str,
    log: bool,
    base: float | None,
    start: float | None,
    description: str,
) -> Markup:
    """Accuracy over the values of one axis, the best of each value with its interval; recipe and start are marked."""
    with theme():
        figure, axes = panel(WIDTH, 220, left=44)
        if log:
            axes.set_xscale("log")
        if start is not None:
            axes.axhline(100 * start, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        best = {point.x: point for point in sorted(points, key=lambda each: each.accuracy.value)}
        for point in sorted(points, key=lambda each: (_ORDER[each.role], each.accuracy.value)):
            _interval_dot(axes, point, whole=point is best[point.x] or point.role == "chosen")
        values = sorted({point.x for point in points})
        axes.margins(x=0.12, y=0.12)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if len(values) <= 8:
            axes.xaxis.set_major_locator(FixedLocator(values))
        elif log:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: general(value)))
        if base is not None and axes.get_xlim()[0] <= base <= axes.get_xlim()[1]:
            axes.axvline(base, color=GRID, linewidth=6, zorder=0)
        axes.set_title("validation accuracy, %", pad=6)
        axes.set_xlabel(label(unit), loc="right", labelpad=2)
        return to_svg(figure, name, description)


def _interval_dot(axes: Axes, point: AxisPoint, *, whole: bool) -> None:
    """A dot, with its interval where it is the best of its value, faint where it is not."""
    colour, estimate = _COLOURS[point.role], point.accuracy
    if whole and estimate.low is not None and estimate.high is not None:
        axes.plot(
            [point.x, point.x],
            [100 * estimate.low, 100 * estimate.high],
            color=colour,
            linewidth=1.6,
        )
    axes.plot(
        [point.x],
        [100 * estimate.value],
        color=colour,
        marker="X" if point.role == "lost" else "o",
        markersize=9 if point.role == "chosen" else 7 if whole else 5,
        markeredgecolor=PAPER,
        alpha=1 if whole or point.role != "other" else 0.5,
    )


def curves_chart(name: str, lines: Sequence[CurveLine], *, unit: str, description: str) -> Markup:
    """One line a trial over its steps: the chosen one strong, the others faint, the collapsed in their own colour."""
    with theme():
        figure, axes = panel(WIDTH, 220, left=52)
        for line in sorted(lines, key=lambda each: _ORDER[each.role]):
            x, y = thin(line.steps, line.values)
            strong = line.role in ("chosen", "runner_up")
            axes.plot(
                x,
                y,
                color=_COLOURS[line.role],
                linewidth=2.2 if line.role == "chosen" else 1.4,
                linestyle="-" if line.role != "runner_up" else (0, (4, 2)),
                alpha=1.0 if strong else 0.55,
                marker="o" if len(x) == 1 else "",
            )
        axes.set_title(unit, pad=6)
        axes.set_xlabel("optimizer step", loc="right", labelpad=2)
        axes.margins(x=0.02, y=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return to_svg(figure, name, description)


def gap_chart(name: str, rows: Sequence[GapRow], *, description: str) -> Markup:
    """Training (hollow), validation (filled) and paraphrased (square) accuracy of each trial on one line."""
    shares = [
        100 * value
        for row in rows
        for value in (row.train, row.validation, row.paraphrased)
        if value is not None and math.isfinite(value)
    ]
    with theme():
        figure, axes = panel(WIDTH, 40 * len(rows) + 44, left=8, top=8)
        axes.grid(visible=False)
        across = axes.get_yaxis_transform()
        for place, row in enumerate(rows):
            colour = _COLOURS[row.role]
            axes.axhline(place, color=GRID, linewidth=0.8, zorder=0)
            if row.train is not None and row.validation is not None:
                ends = [100 * row.validation, 100 * row.train]
                axes.plot(ends, [place, place], color=colour, linewidth=2.4, alpha=0.35)
            for value, marker, face in (
                (row.train, "o", PAPER),
                (row.paraphrased, "s", colour),
                (row.validation, "o", colour),
            ):
                if value is not None:
                    axes.plot(
                        [100 * value],
                        [place],
                        color=colour,
                        marker=marker,
                        markersize=7 if marker == "o" else 6,
                        markerfacecolor=face,
                        markeredgewidth=1.6,
                    )
            axes.text(0, place - 0.24, label(row.name, 44), transform=across, ha="left", va="bottom")
        axes.set_xlim(max(min(shares) - 4, -2), min(max(shares) + 4, 102))
        axes.set_ylim(len(rows) - 0.55, -0.8)
        axes.yaxis.set_major_locator(NullLocator())
        axes.set_xlabel("pairwise accuracy, %", loc="right", labelpad=2)
        return to_svg(figure, name, description)


def trade_chart(
    name: str, points: Sequence[TradePoint], *, unit: str, start: tuple[float, float] | None, description: str
) -> Markup:
    """Accuracy against another figure, one dot a trial; a cross marks where training began."""
    with theme():
        figure, axes = panel(WIDTH, 220, left=44)
        if start is not None:
            axes.plot([start[0]], [100 * start[1]], color=MUTED, marker="+", markersize=12, markeredgewidth=2)
        for point in sorted(points, key=lambda each: _ORDER[each.role]):
            axes.plot(
                [point.x],
                [100 * point.accuracy],
                color=_COLOURS[point.role],
                marker="X" if point.role == "lost" else "o",
                markersize=9 if point.role == "chosen" else 7,
                markeredgecolor=PAPER,
                alpha=0.8 if point.role == "other" else 1,
            )
        axes.margins(0.1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: general(value)))
        axes.set_title("validation accuracy, %", pad=6)
        axes.set_xlabel(unit, loc="right", labelpad=2)
        return to_svg(figure, name, description)


def map_chart(
    name: str,
    points: Sequence[tuple[float, float, float, Role]],
    *,
    across: str,
    down: str,
    scale: tuple[float, float],
    description: str,
) -> Markup:
    """Trials as dots over two axes, (x, y, accuracy, role): the stronger the colour, the higher between the `scale`."""
    low, high = scale
    with theme():
        figure, axes = panel(WIDTH, 300, left=52)
        for x, y, accuracy, role in sorted(points, key=lambda each: _ORDER[each[3]]):
            part = (accuracy - low) / (high - low) if high > low else 1.0
            lost = role == "lost"
            axes.plot(
                [x],
                [y],
                color=BEFORE if lost else AFTER,
                marker="X" if lost else "o",
                markersize=13,
                alpha=0.6 if lost else 0.1 + 0.9 * min(max(part, 0.0), 1.0) ** 2,
                markeredgewidth=0,
            )
            if role in ("chosen", "runner_up"):
                width = 2.4 if role == "chosen" else 1.4
                axes.plot(
                    [x],
                    [y],
                    marker="o",
                    markersize=15,
                    markerfacecolor="none",
                    markeredgecolor=INK,
                    markeredgewidth=width,
                )
        axes.margins(0.1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: general(value)))
        axes.set_title(down, pad=6)
        axes.set_xlabel(across, loc="right", labelpad=2)
        return to_svg(figure, name, description)
