"""Length in the labels: shares and curves by hand and by simulation, matched subsets by category."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.findings import Finding
from simpo.audit.labels.length_bias import Lengths, length_findings
from simpo.records import Pair
from tests.audit.labels.labelled import pair

sizes = st.lists(
    st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(0, 5)), min_size=1, max_size=40
)


def _pairs(lengths: list[tuple[int, int]], categories: list[str | None] | None = None) -> list[Pair]:
    named = categories or [None] * len(lengths)
    return [
        pair(number, "c" * chosen, "r" * rejected, category=category)
        for number, ((chosen, rejected), category) in enumerate(zip(lengths, named, strict=True))
    ]


def _findings(pairs: list[Pair]) -> dict[str, Finding]:
    lengths = Lengths()
    for one in pairs:
        lengths.see(one)
    return {finding.kind: finding for finding in length_findings(lengths.table())}


def test_no_pairs_make_no_finding() -> None:
    assert _findings([]) == {}


def test_the_longer_are_counted_by_hand() -> None:
    found = _findings(_pairs([(20, 10), (30, 10), (10, 40), (10, 10)]))["length_bias"]
    assert (found.count, found.of) == (2, 3)
    assert found.figures["equal"] == 1
    # log ratios log 2, log 3, -log 4, 0: of the 16 sums d_i + d_j 8 are positive and 1 + 0 ties (0 + 0) half:
    # log2 with log2, log3, 0; log3 with log2, log3, 0; 0 with log2, log3.
    assert found.figures["auc"]["value"] == pytest.approx(8.5 / 16)
    assert found.figures["median_chars"] == {"chosen": 15.0, "rejected": 10.0}


def test_a_strong_skew_is_a_warning_in_either_direction() -> None:
    longer = _findings(_pairs([(20, 10)] * 90 + [(10, 20)] * 10))["length_bias"]
    shorter = _findings(_pairs([(10, 20)] * 90 + [(20, 10)] * 10))["length_bias"]
    even = _findings(_pairs([(10, 20)] * 50 + [(20, 10)] * 50))["length_bias"]
    assert [one.severity for one in (longer, shorter, even)] == ["warning", "warning", "note"]
    assert "learn to write more" in longer.action
    assert "learn to write less" in shorter.action


def test_one_prompt_proves_no_skew() -> None:
    rows = [pair(number, "c" * (20 + number), "r", prompt="the same") for number in range(50)]
    assert _findings(rows)["length_bias"].severity == "note"


def test_the_curve_is_that_of_the_rule_behind_it() -> None:
    # P(first wins) = sigmoid(1.5 * log ratio).
    rng = np.random.default_rng(0)
    ratios = rng.normal(0, 0.8, 4000)
    first_wins = rng.random(4000) < 1 / (1 + np.exp(-1.5 * ratios))
    lengths = []
    for ratio, wins in zip(ratios, first_wins, strict=True):
        first, second = round(1000 * math.exp(ratio / 2)), round(1000 * math.exp(-ratio / 2))
        lengths.append((first, second) if wins else (second, first))
    figures = _findings(_pairs(lengths))["length_bias"].figures
    for point in figures["curve"]:
        truth = 1 / (1 + math.exp(-1.5 * point["log_ratio"]))
        assert point["value"] == pytest.approx(truth, abs=0.05)
        assert point["low"] <= point["value"] <= point["high"]
    inside = [
        row["low"] <= 1 / (1 + math.exp(-1.5 * row["log_ratio"])) <= row["high"] for row in figures["bins"]
    ]
    assert sum(inside) >= len(inside) - 2
    assert sum(row["pairs"] for row in figures["bins"]) + figures["equal"] == 4000


def test_the_curve_steps_where_the_longer_wins_however_little_longer_it_is() -> None:
    rng = np.random.default_rng(2)
    lengths = []
    for ratio in rng.uniform(0.03, 1.0, 3000):
        short, long = 1000, round(1000 * math.exp(ratio))
        lengths.append((long, short) if rng.random() < 0.8 else (short, long))
    for point in _findings(_pairs(lengths))["length_bias"].figures["curve"]:
        if abs(point["log_ratio"]) > 0.1:
            assert point["value"] == pytest.approx(0.8 if point["log_ratio"] > 0 else 0.2, abs=0.04)


def test_the_curve_goes_through_one_half_and_is_odd() -> None:
    rng = np.random.default_rng(1)
    lengths = [(int(a), int(b)) for a, b in rng.integers(5, 500, size=(300, 2))]
    curve = _findings(_pairs(lengths))["length_bias"].figures["curve"]
    values = [point["value"] for point in curve]
    assert values[len(values) // 2] == 0.5
    assert np.add(values, values[::-1]) == pytest.approx(1)


def test_matched_pairs_are_counted_by_category() -> None:
    rows = _pairs([(100, 105), (100, 90), (100, 200), (50, 50)], ["a", "a", "b", None])
    found = _findings(rows)["length_matched"]
    # log(100 / 90) is 0.105, just outside.
    assert (found.count, found.of) == (2, 4)
    assert found.figures["by_category"] == [
        {"category": "a", "matched": 1, "pairs": 2},
        {"category": "b", "matched": 0, "pairs": 1},
        {"category": "(none)", "matched": 1, "pairs": 1},
    ]


def test_the_points_of_a_large_file_are_a_part_of_it_with_both_ends() -> None:
    rows = _pairs([(number + 1, 5) for number in range(4500)])
    points = _findings(rows)["length_bias"].figures["points"]
    assert len(points) == 2000
    assert (points[0], points[-1]) == ([1, 5], [4500, 5])


@given(sizes)
def test_any_lengths_make_figures_that_json_can_hold(rows: list[tuple[int, int, int]]) -> None:
    pairs = [pair(at, "c" * a, "r" * b, prompt=f"p{p}", category=str(p)) for at, (a, b, p) in enumerate(rows)]
    for found in _findings(pairs).values():
        json.dumps(found.to_json(), allow_nan=False)
        assert found.count <= found.of
