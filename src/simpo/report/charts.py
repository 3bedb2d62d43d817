"""The report's charts: curves over steps, dots with intervals, two distributions of one quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, NullLocator

from simpo.report.source import Estimate
from simpo.report.svg import AFTER, BEFORE, GRID, INK, MUTED, NEUTRAL, PAPER, canvas, label, theme, to_svg
from simpo.report.words import count, general

Floats = npt.NDArray[np.float64]

MAX_POINTS = 400
WIDTH = 340
_COLOURS = {"before": BEFORE, "after": AFTER, "neutral": NEUTRAL}


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: x and y [T], drawn as a noisy line over steps, an exact one, or dots where it was measured."""

    x: Sequence[float]
    y: Sequence[float]
    colour: Literal["before", "after", "neutral"]
    style: Literal["line", "dots", "exact"] = "line"


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One line of a dot-and-interval chart; shares in [0, 1]."""

    name: str
    num_pairs: int
    before: Estimate | None
    after: Estimate | None


def line_chart(name: str, series: Sequence[Series], *, unit: str, description: str) -> Markup:
    """Curves over optimizer steps; `unit` stands above the vertical axis.

    A line of more than `MAX_POINTS` steps is averaged over bins; values that are not finite are gaps. A line of more
    than 40 points is drawn faint, with its running mean over it.
    """
    with theme():
        figure, axes = panel(WIDTH, 200, left=52)
        axes.set_title(unit, pad=6)
        axes.set_xlabel("optimizer step", loc="right", labelpad=2)
        for curve in series:
            _draw(axes, curve)
        axes.margins(x=0.02, y=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        small = max(map(abs, axes.get_ylim())) < 1e-3
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, small)))
        return to_svg(figure, name, description)


def interval_chart(name: str, rows: Sequence[IntervalRow], *, description: str) -> Markup:
    """Accuracy with its interval, before (hollow) and after (filled), one row a stratum; chance is dashed."""
    with theme():
        figure, axes = panel(WIDTH, 48 * len(rows) + 44, left=8, top=8)
        axes.grid(visible=False)
        for place, row in enumerate(rows):
            axes.axhline(place, color=GRID, linewidth=0.8, zorder=0)
            axes.plot([50, 50], [place - 0.22, place + 0.3], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            _row_labels(axes, row, place)
            _dot(axes, row.before, place - 0.1, BEFORE, filled=False)
            _dot(axes, row.after, place + 0.1, AFTER, filled=True)
        axes.set_xlim(*_accuracy_limits(rows))
        axes.set_ylim(len(rows) - 0.6, -0.7)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MultipleLocator(10))
        axes.set_xlabel("pairwise accuracy, %", loc="right", labelpad=2)
        return to_svg(figure, name, description)


def distribution_chart(
    name: str, before: Sequence[float], after: Sequence[float], *, unit: str, description: str
) -> Markup:
    """Two distributions of one quantity, one above the other on one scale, each with its median.

    Values beyond the 99th percentile of both together are counted in the last bin.
    """
    parts = [("before", before, BEFORE), ("after", after, AFTER)]
    present = [(title, np.asarray(values, float), colour) for title, values, colour in parts if len(values)]
    limit = float(np.quantile(np.concatenate([values for _, values, _ in present]), 0.99))
    fewest = min(len(values) for _, values, _ in present)
    edges = np.linspace(0, max(limit, 1.0), 1 + int(np.clip(2 * np.sqrt(fewest), 8, 28)))
    with theme():
        figure = canvas(380, 110 * len(present) + 30)
        for place, (title, values, colour) in enumerate(present):
            bottom = (len(present) - 1 - place) * 110 + 42
            axes = axes_at(figure, left=46, bottom=bottom, width=324, height=74)
            _histogram(axes, np.minimum(values, edges[-1]), edges, colour, title)
            axes.axvline(float(np.median(values)), color=INK, linewidth=1.4)
            axes.tick_params(labelbottom=place == len(present) - 1)
        axes.set_xlabel(unit, loc="right", labelpad=2)
        return to_svg(figure, name, description)


def thin(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    """At most `MAX_POINTS` points: means over equal bins of neighbours, NaN (a gap) where a bin has no finite value."""
    steps, values = np.asarray(x, float), np.asarray(y, float)
    values = np.where(np.isfinite(values), values, np.nan)
    if len(steps) <= MAX_POINTS:
        return steps, values
    bins = [np.arange(len(steps)) * MAX_POINTS // len(steps)]
    known = np.isfinite(values)
    counts = np.bincount(bins[0], weights=known.astype(float), minlength=MAX_POINTS)
    sums = np.bincount(bins[0], weights=np.where(known, values, 0.0), minlength=MAX_POINTS)
    sizes = np.bincount(bins[0], minlength=MAX_POINTS)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.bincount(bins[0], weights=steps, minlength=MAX_POINTS) / sizes, means


def running_mean(values: Floats) -> Floats:
    """The mean over a centred window of a tenth of the points; NaN is passed over."""
    half = max(len(values) // 20, 2)
    known = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    sums = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    counts = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def axes_at(figure: Figure, *, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes placed in pixels from the lower left corner."""
    total_width, total_height = figure.get_size_inches() * 72
    return figure.add_axes(
        (left / total_width, bottom / total_height, width / total_width, height / total_height)
    )


def panel(width: int, height: int, *, left: int, top: int = 24) -> tuple[Figure, Axes]:
    figure = canvas(width, height)
    return figure, axes_at(figure, left=left, bottom=36, width=width - left - 10, height=height - 36 - top)


def _draw(axes: Axes, curve: Series) -> None:
    x, y = thin(curve.x, curve.y)
    colour = _COLOURS[curve.colour]
    if curve.style == "dots":
        axes.plot(
            x, y, color=colour, marker="o", markersize=6, markeredgecolor=PAPER, linewidth=1.2, zorder=3
        )
    elif curve.style == "line" and len(x) > 40:
        axes.plot(x, y, color=colour, alpha=0.3, linewidth=1)
        axes.plot(x, running_mean(y), color=colour)
    else:
        axes.plot(x, y, color=colour, marker="o" if len(x) == 1 else "", markersize=4)


def _dot(axes: Axes, estimate: Estimate | None, place: float, colour: str, *, filled: bool) -> None:
    if estimate is None or not math.isfinite(estimate.value):
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([100 * estimate.low, 100 * estimate.high], [place, place], color=colour, linewidth=2)
    axes.plot(
        [100 * estimate.value],
        [place],
        color=colour,
        marker="o",
        markersize=7,
        markerfacecolor=colour if filled else PAPER,
        markeredgewidth=1.8,
    )


def _row_labels(axes: Axes, row: IntervalRow, place: int) -> None:
    across = axes.get_yaxis_transform()
    axes.text(0, place - 0.34, label(row.name, 36), transform=across, ha="left", va="bottom")
    pairs = count(row.num_pairs, "pair")
    axes.text(1, place - 0.34, pairs, transform=across, ha="right", va="bottom", color=MUTED)


def _accuracy_limits(rows: Sequence[IntervalRow]) -> tuple[float, float]:
    """From the lowest to the highest end of an interval, chance included, with some air."""
    estimates = [estimate for row in rows for estimate in (row.before, row.after) if estimate]
    ends = [value for each in estimates for value in (each.low, each.value, each.high) if value is not None]
    finite = [100 * value for value in ends if math.isfinite(value)] + [50.0]
    return max(min(finite) - 4, -2), min(max(finite) + 4, 102)


def _histogram(axes: Axes, values: Floats, edges: Floats, colour: str, title: str) -> None:
    counts, _ = np.histogram(values, edges)
    shares = 100 * counts / max(len(values), 1)
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(shares, edges, color=colour, linewidth=1.4)
    axes.set_title(f"{title}: % of replies, median {np.median(values):,.0f}", pad=5)
    axes.set_xlim(0, edges[-1] * 1.01)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _tick(value: float, small: bool) -> str:
    """A value of an axis; on an axis of `small` values every one has its power of ten: 6e-5, 1.2e-4."""
    if small and value:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}".replace("-", "\N{MINUS SIGN}")
    return general(round(value, 10) if abs(value) > 1e-6 else value).replace("-", "\N{MINUS SIGN}", 1)
