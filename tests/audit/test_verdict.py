"""From findings to a verdict: each rule at its limit, and which method suits."""

from __future__ import annotations

import numpy as np
import pytest

from simpo.audit.findings import Finding, Repair, Severity
from simpo.audit.verdict import LIMITS, judge, suited


def finding(
    kind: str = "mojibake",
    severity: Severity = "warning",
    repair: Repair | None = None,
    rows: int = 0,
    *,
    count: int | None = None,
    of: int = 1000,
    unit: str = "pairs",
) -> Finding:
    """A finding of this kind on the first `rows` pairs."""
    number = rows if count is None else count
    return Finding(
        kind, severity, f"{kind}: {number}.", "", number, of, unit, rows=np.arange(rows), repair=repair
    )


def test_without_findings_and_with_notes_alone_the_data_is_fit() -> None:
    verdict = judge([finding(severity="note", repair="mend", rows=5)], 1000, 900, 1000)
    assert (verdict.fit, verdict.title) == ("fit", "Fit to train on: 1,000 pairs of 900 prompts.")
    assert (verdict.reasons, verdict.repairs) == ((), ())


def test_a_warning_that_nothing_repairs_is_a_reason_and_leaves_the_data_fit() -> None:
    verdict = judge([finding("role_order", rows=5)], 1000, 900, 1000)
    assert (verdict.fit, verdict.reasons) == ("fit", ("role_order: 5.",))


def test_errors_and_warnings_with_a_repair_make_the_data_fit_once_they_are_repaired() -> None:
    listed = [finding("secret", "error", "drop", 2), finding("mojibake", "warning", "mend", 5)]
    verdict = judge(listed, 1000, 900, 1000)
    assert (verdict.fit, verdict.title) == ("repair", "Fit to train on once 2 repairs are made.")
    assert verdict.repairs == (("secret", "drop", 2), ("mojibake", "mend", 5))
    assert judge(listed[1:], 1000, 900, 1000).title == "Fit to train on once 1 repair is made."


def test_an_error_that_nothing_repairs_is_against_training() -> None:
    verdict = judge([finding("labels", "error", rows=5)], 1000, 900, 1000)
    assert (verdict.fit, verdict.against) == ("unfit", ("labels: 5.",))
    assert verdict.title == "Not fit to train on: labels: 5."


@pytest.mark.parametrize(("pairs", "fit"), [(99, "unfit"), (100, "fit"), (0, "unfit")])
def test_too_few_pairs_are_against_training(pairs: int, fit: str) -> None:
    assert judge([], pairs, pairs, 1000).fit == fit


@pytest.mark.parametrize(("broken", "fit"), [(200, "repair"), (201, "unfit")])
def test_more_than_a_fifth_of_broken_rows_is_against_training(broken: int, fit: str) -> None:
    rows = finding("missing_key", "error", "drop", count=broken, unit="rows")
    assert judge([rows], 800, 800, 1000).fit == fit


def test_rows_that_make_no_pair_are_not_broken() -> None:
    ties = finding("tie", "warning", count=900, unit="rows")
    assert judge([ties], 100, 100, 1000).fit == "fit"


@pytest.mark.parametrize(("dropped", "fit"), [(500, "repair"), (501, "unfit")])
def test_repairs_that_drop_more_than_half_are_against_training_and_a_pair_counts_once(
    dropped: int, fit: str
) -> None:
    listed = [finding("blank_completion", "error", "drop", dropped), finding("secret", "error", "drop", 300)]
    assert judge(listed, 1000, 900, 1000).fit == fit


def test_every_limit_says_why() -> None:
    assert all(len(limit.why) > 30 for limit in LIMITS.values())


def test_the_advice_follows_the_figures() -> None:
    small = {method.method: method for method in suited([], 300, 300)}
    assert (small["dpo"].suits, small["collect more"].suits) == (True, True)
    large = {method.method: method for method in suited([], 20_000, 15_000)}
    assert (large["dpo"].suits, large["collect more"].suits) == (None, False)
    assert (large["rollouts (GRPO)"].suits, large["RLHF"].suits) == (False, None)
    checked = finding("verifiable_answers", "note", count=10_000, of=20_000)
    methods = {method.method: method for method in suited([checked], 20_000, 15_000)}
    assert methods["rollouts (GRPO)"].suits is True
    assert "50.0 %" in methods["rollouts (GRPO)"].reason
    assert all(method.reason and "\n" not in method.reason for method in methods.values())
