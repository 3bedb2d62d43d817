"""What length, style and words foretell, counted by hand where it can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simpo.audit.findings import Finding
from simpo.audit.labels.judged import judge
from simpo.audit.labels.sample import PairSample
from simpo.audit.labels.style import style_findings
from simpo.records import Pair
from tests.audit.labels.labelled import by_length, by_quality, pair


def _finding(pairs: list[Pair], limit: int = 50_000) -> Finding:
    sample = PairSample(limit)
    for number, one in enumerate(pairs):
        sample.see(number, one)
    (finding,) = style_findings(judge(sample), sample)
    return finding


def _mark(found: Finding, name: str) -> dict[str, Any]:
    return next(row for row in found.figures["marks"] if row["mark"] == name)


def test_a_mark_is_counted_where_the_replies_differ_in_it() -> None:
    # Bold wins in 3 of 4 pairs that differ in it; 2 pairs have as much on both sides.
    texts = [("**a** b", "c d")] * 3 + [("c d", "**a** b")] + [("**a** b", "**c** d"), ("a b", "c d")]
    found = _finding([pair(at, chosen, rejected) for at, (chosen, rejected) in enumerate(texts)])
    bold = _mark(found, "bold")
    assert (bold["pairs"], bold["differs"]) == (4, pytest.approx(4 / 6))
    assert bold["more_chosen"]["value"] == pytest.approx(3 / 4)
    # Over all ordered pairs of differences (ties one half): 3 up, 1 down, 2 none.
    d = np.array([1, 1, 1, -1, 0, 0])
    beats = (d[:, None] > -d[None, :]).mean() + 0.5 * (d[:, None] == -d[None, :]).mean()
    assert bold["auc"]["value"] == pytest.approx(beats)
    assert _mark(found, "headings")["more_chosen"] is None


def test_a_ruler_that_prefers_the_shorter_is_a_ruler_too() -> None:
    short = _finding(by_length(np.random.default_rng(0), 400, share=0.1))
    assert short.figures["predictors"]["length"]["accuracy"]["value"] < 0.15
    assert short.severity == "warning" and short.title.startswith("Length alone foretells 9")


def test_words_that_foretell_more_than_style_make_no_warning() -> None:
    found = _finding(by_quality(np.random.default_rng(1), 600, turned=0.0)[0])
    accuracy = {name: one["accuracy"]["value"] for name, one in found.figures["predictors"].items()}
    assert accuracy["all_words"] > 0.9 > accuracy["length_and_marks"]
    assert found.severity == "note"


def test_what_is_left_to_foretell_is_measured_on_pairs_of_one_length() -> None:
    even = [pair(at, "x" * 100, "y" * 105) for at in range(30)]
    uneven = [pair(30 + at, "x" * 100, "y" * 300) for at in range(20)]
    assert _finding([*even, *uneven]).figures["length_matched"]["pairs"] == 30
    assert _finding(uneven).figures["length_matched"] is None


def test_a_sample_is_said_to_be_one() -> None:
    found = _finding(by_length(np.random.default_rng(2), 300, share=0.8), limit=100)
    assert found.figures["sampled"] is True and "(of a sample of " in found.title
    assert 50 <= found.of <= 100
