"""Charts of shares with their intervals: one to a line, or several to a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from simpo.report.charts import panel
from simpo.report.source import Estimate
from simpo.report.svg import AFTER, BEFORE, GRID, INK, MUTED, NEUTRAL, PAPER, label, theme, to_svg

WIDTH = 360
# The colours of several things side by side, in order; `open` ones are drawn hollow.
SERIES = {"m0": AFTER, "m1": BEFORE, "m2": INK, "m3": NEUTRAL, "base": MUTED}
OPEN = ("base",)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One line of a chart of shares: a name, the share with its interval, and on how much it stands."""

    name: str
    estimate: Estimate
    note: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One line with several shares: (series, share with its interval) each."""

    name: str
    estimates: tuple[tuple[str, Estimate], ...]
    note: str = ""


def share_chart(
    name: str, rows: Sequence[ShareRow], *, unit: str, even: float | None, description: str
) -> Markup:
    """Shares with their intervals, one line each; the value of chance is dashed where there is one."""
    ends = [100 * value for row in rows for value in _ends(row.estimate)]
    low, high = min([*ends, 100 * (even or 0.5)]), max([*ends, 100 * (even or 0.5)])
    with theme():
        figure, axes = panel(WIDTH, 44 * len(rows) + 44, left=8, top=8)
        axes.grid(visible=False)
        across = axes.get_yaxis_transform()
        for place, row in enumerate(rows):
            colour = BEFORE if row.strong else AFTER
            axes.axhline(place, color=GRID, linewidth=0.8, zorder=0)
            if even is not None:
                dashes = (0, (2, 2))
                axes.plot(
                    [100 * even] * 2, [place - 0.2, place + 0.28], color=MUTED, linewidth=1, linestyle=dashes
                )
            first, last = min(_ends(row.estimate)), max(_ends(row.estimate))
            axes.plot([100 * first, 100 * last], [place, place], color=colour, linewidth=2)
            axes.plot([100 * row.estimate.value], [place], color=colour, marker="o", markersize=7)
            axes.text(0, place - 0.26, label(row.name, 34), transform=across, ha="left", va="bottom")
            axes.text(1, place - 0.26, row.note, transform=across, ha="right", va="bottom", color=MUTED)
        axes.set_xlim(max(low - 5, -2), min(high + 5, 102))
        axes.set_ylim(len(rows) - 0.6, -0.75)
        axes.yaxis.set_major_locator(NullLocator())
        axes.set_xlabel(unit, loc="right", labelpad=2)
        return to_svg(figure, name, description)


def _ends(estimate: Estimate) -> list[float]:
    return [value for value in (estimate.low, estimate.value, estimate.high) if value is not None]


def group_chart(
    name: str,
    rows: Sequence[GroupRow],
    *,
    unit: str,
    even: float | None,
    description: str,
    limits: tuple[float, float] = (-2.0, 102.0),
) -> Markup:
    """Shares of several series with their intervals, a line a row; the value of no difference is dashed."""
    ends = [100 * value for row in rows for _, each in row.estimates for value in _ends(each)]
    if even is not None:
        ends.append(100 * even)
    heights = [26 + 11 * len(row.estimates) for row in rows]
    with theme():
        figure, axes = panel(WIDTH, sum(heights) + 44, left=8, top=4)
        axes.grid(visible=False)
        across, top = axes.get_yaxis_transform(), 0.0
        for row, height in zip(rows, heights, strict=True):
            axes.axhline(top, color=GRID, linewidth=0.8, zorder=0)
            axes.text(0, top + 4, label(row.name, 36), transform=across, ha="left", va="top")
            axes.text(1, top + 4, row.note, transform=across, ha="right", va="top", color=MUTED)
            if even is not None:
                dashes = (0, (2, 2))
                axes.plot(
                    [100 * even] * 2, [top + 20, top + height - 2], color=MUTED, linewidth=1, linestyle=dashes
                )
            for place, (series, estimate) in enumerate(row.estimates):
                _mark(axes, estimate, top + 25 + 11 * place, series)
            top += height
        axes.set_ylim(top, 0)
        span = max(max(ends) - min(ends), 1.0)
        axes.set_xlim(max(min(ends) - 0.08 * span, limits[0]), min(max(ends) + 0.08 * span, limits[1]))
        axes.yaxis.set_major_locator(NullLocator())
        axes.set_xlabel(unit, loc="right", labelpad=2)
        return to_svg(figure, name, description)


def _mark(axes: Axes, estimate: Estimate, place: float, series: str) -> None:
    colour = SERIES[series]
    axes.plot(
        [100 * min(_ends(estimate)), 100 * max(_ends(estimate))], [place, place], color=colour, linewidth=1.8
    )
    axes.plot(
        [100 * estimate.value],
        [place],
        color=colour,
        marker="o",
        markersize=6.5,
        markerfacecolor=PAPER if series in OPEN else colour,
        markeredgewidth=1.6,
    )
