"""Charts: what is drawn is what was given, small and safe."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from simpo.report.charts import (
    MAX_POINTS,
    IntervalRow,
    Series,
    distribution_chart,
    interval_chart,
    line_chart,
    running_mean,
    thin,
)
from simpo.report.source import Estimate
from simpo.report.svg import label


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_a_short_curve_is_left_as_it_is() -> None:
    x, y = thin(range(1, 5), [4.0, math.inf, math.nan, 1.0])
    assert x.tolist() == [1, 2, 3, 4]
    assert np.isnan(y).tolist() == [False, True, True, False]


def test_a_long_curve_is_averaged_over_bins_and_keeps_its_mean() -> None:
    values = np.sin(np.arange(4 * MAX_POINTS) / 50)
    x, y = thin(range(len(values)), values.tolist())
    assert len(x) == len(y) == MAX_POINTS
    assert y[0] == pytest.approx(values[:4].mean())
    assert y.mean() == pytest.approx(values.mean())
    assert x[-1] == pytest.approx(len(values) - 2.5)


def test_the_running_mean_passes_over_gaps_and_keeps_a_constant() -> None:
    values = np.full(100, 3.0)
    values[10:12] = np.nan
    assert running_mean(values) == pytest.approx(np.full(100, 3.0))


def test_every_chart_scales_with_its_box_and_says_what_it_shows() -> None:
    estimate = Estimate(value=0.7, low=0.6, high=0.8)
    charts = [
        line_chart("loss", [Series([1, 2, 3], [3.0, 2.0, 1.0], "neutral")], unit="nats", description="Loss"),
        interval_chart("strata", [IntervalRow("billing", 12, estimate, None)], description="Accuracy"),
        distribution_chart("lengths", [1, 2, 3], [], unit="characters", description="Lengths"),
    ]
    for svg, description in zip(charts, ("Loss", "Accuracy", "Lengths"), strict=True):
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox") and root.get("width") is None
        assert root.get("aria-label") == description
        assert "http" not in svg and "font-family" not in svg


def test_axes_are_labelled_with_their_units() -> None:
    curve = line_chart(
        "a", [Series([1, 2], [1.0, 2.0], "after", "dots")], unit="nats per token", description=""
    )
    assert {"nats per token", "optimizer step"} <= set(texts(curve))
    rows = [IntervalRow("billing", 1, Estimate(value=1.0), None)]
    assert {"pairwise accuracy, %", "1 pair", "billing"} <= set(
        texts(interval_chart("b", rows, description=""))
    )


def test_small_learning_rates_are_not_rounded_to_nothing() -> None:
    curve = line_chart(
        "lr", [Series([1, 2], [0.0, 8e-7], "neutral", "exact")], unit="per step", description=""
    )
    assert any(re.fullmatch(r"[\d.]+e\N{MINUS SIGN}7", text) for text in texts(curve))


def test_names_that_are_mathematics_or_not_in_the_font_are_drawn_as_text() -> None:
    names = [r"$\frac{", "\N{PARTY POPPER} 返品 ค", "<b>&amp;", "x" * 500, "a\x00b\nc"]
    rows = [IntervalRow(name, 2, None, Estimate(value=0.5, low=0.4, high=0.6)) for name in names]
    svg = interval_chart("hostile", rows, description='"quoted" <b>')
    drawn = texts(svg)
    assert r"$\frac{" in drawn and "<b>&amp;" in drawn and "a b c" in drawn
    assert max(map(len, drawn)) <= 40


def test_a_label_is_one_short_line_of_printable_text() -> None:
    assert label("a\tb\n\x07c\ud800") == "a b c"
    assert label("abcdef", 4) == "abc…"


def test_every_tick_of_an_axis_of_small_values_has_its_power_of_ten() -> None:
    svg = line_chart(
        "lr", [Series([1, 2, 3], [0.0, 9e-5, 1.8e-4], "neutral")], unit="per step", description=""
    )
    ticks = [text for text in texts(svg) if "e" in text and text[0].isdigit()]
    assert ticks and all(re.fullmatch(r"\d(\.\d)?e\N{MINUS SIGN}\d", tick) for tick in ticks)
