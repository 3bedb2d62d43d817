"""The charts of an audit: lengths of both sides, what length alone decides, how wide the votes agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from simpo.report.audit.source import CurvePoint, LengthBin, MarginShare
from simpo.report.charts import panel
from simpo.report.svg import AFTER, BEFORE, INK, MUTED, NEUTRAL, PAPER, label, theme, to_svg
from simpo.report.words import count, whole

MAX_DOTS = 1500
WIDTH = 360


def length_scatter(
    name: str, lengths: Sequence[tuple[float, float]], *, description: str, corners: tuple[str, str]
) -> Markup:
    """One dot a pair, rejected length across and chosen length up, in characters on log axes; equal is the diagonal.

    corners: what is written above the diagonal, where the chosen side is longer, and below it.
    """
    shown = lengths[:: math.ceil(len(lengths) / MAX_DOTS)] if len(lengths) > MAX_DOTS else lengths
    values = np.maximum(np.asarray(shown, float), 1.0)
    low, high = float(values.min()) / 1.3, float(values.max()) * 1.3
    with theme():
        figure, axes = panel(WIDTH, 344, left=56)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        chosen_longer = values[:, 0] > values[:, 1]
        for part, colour in ((~chosen_longer, BEFORE), (chosen_longer, AFTER)):
            axes.plot(
                values[part, 1],
                values[part, 0],
                linestyle="",
                marker="o",
                markersize=3.6,
                markerfacecolor=colour,
                markeredgewidth=0,
                alpha=0.45,
            )
        for text, place, side in ((corners[0], (0.02, 0.98), "left"), (corners[1], (0.98, 0.02), "right")):
            axes.text(
                *place,
                label(text, 44),
                transform=axes.transAxes,
                ha=side,
                va="top" if side == "left" else "bottom",
                color=AFTER if side == "left" else BEFORE,
            )
        _log_ticks(axes)
        axes.set_title("chosen, characters", pad=6)
        axes.set_xlabel("rejected, characters", loc="right", labelpad=2)
        return to_svg(figure, name, description)


def _log_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    steps = [10.0**power * lead for power in range(7) for lead in (1, 3)]
    ticks = [step for step in steps if low <= step <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))
        axis.set_minor_locator(NullLocator())


def win_curve(
    name: str, curve: Sequence[CurvePoint], bins: Sequence[LengthBin], *, description: str
) -> Markup:
    """How likely a reply is the chosen one, over how many times as long as the other it is.

    Line and band: fitted, with its interval. Dots: counted, in bins of pairs whose lengths differ alike.
    """
    ordered = sorted(curve, key=lambda point: point.log_ratio)
    x = [point.log_ratio for point in ordered]
    with theme():
        figure, axes = panel(WIDTH, 344, left=44)
        axes.axhline(50, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.fill_between(
            x, [100 * _low(point) for point in ordered], [100 * _high(point) for point in ordered],
            color=AFTER, alpha=0.18, linewidth=0,
        )  # fmt: skip
        axes.plot(x, [100 * point.value for point in ordered], color=AFTER)
        for each in bins:
            axes.plot(
                [each.log_ratio] * 2, [100 * _low(each), 100 * _high(each)], color=NEUTRAL, linewidth=1.2
            )
            axes.plot(
                [each.log_ratio],
                [100 * each.value],
                color=NEUTRAL,
                marker="o",
                markersize=6,
                markeredgecolor=PAPER,
            )
        axes.set_ylim(-3, 103)
        axes.yaxis.set_major_locator(MultipleLocator(25))
        _ratio_ticks(axes)
        axes.set_title("chance that a reply is the chosen one, %", pad=6)
        axes.set_xlabel("times as long as the other reply", loc="right", labelpad=2)
        return to_svg(figure, name, description)


def _low(point: CurvePoint | LengthBin) -> float:
    return point.value if point.low is None else point.low


def _high(point: CurvePoint | LengthBin) -> float:
    return point.value if point.high is None else point.high


def _ratio_ticks(axes: Axes) -> None:
    """Ratios in words that need no logarithm: a quarter, half, equal, twice."""
    low, high = axes.get_xlim()
    powers = range(math.floor(low / math.log(2)), math.ceil(high / math.log(2)) + 1)
    step = max(1, math.ceil(len(powers) / 7))
    ticks = [
        power * math.log(2)
        for power in powers
        if power % step == 0 and low - 0.05 <= power * math.log(2) <= high + 0.05
    ]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _ratio(value)))


def _ratio(log_ratio: float) -> str:
    power = round(log_ratio / math.log(2))
    return whole(2**power) if power >= 0 else f"1/{2**-power}"


def margin_chart(name: str, margins: Sequence[MarginShare], *, description: str) -> Markup:
    """How many items were decided by which margin of the votes, from unanimous to split, as bars."""
    ordered = sorted(margins, key=lambda each: -each.margin)
    with theme():
        figure, axes = panel(WIDTH, 34 * len(ordered) + 24, left=112, top=4)
        axes.grid(visible=False)
        for place, each in enumerate(ordered):
            axes.barh(place, 100 * each.share, height=0.62, color=AFTER, alpha=0.35 + 0.5 * each.margin)
            axes.text(
                100 * each.share,
                place,
                f"  {100 * each.share:.0f} %, {count(each.items, 'item')}",
                va="center",
                ha="left",
                color=MUTED,
            )
        axes.set_yticks(range(len(ordered)), [_margin_word(each.margin) for each in ordered])
        for text in axes.get_yticklabels():
            text.set_color(INK)
        axes.set_ylim(len(ordered) - 0.5, -0.6)
        axes.set_xlim(0, 140)
        axes.xaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure, name, description)


def _margin_word(margin: float) -> str:
    if margin >= 1:
        return "unanimous"
    if margin <= 0:
        return "split"
    return f"margin {margin:.2f}"
