"""From findings to a verdict: each rule at its limit, and which method suits."""

from __future__ import annotations

import numpy as np
import pytest

from simpo.audit.findings import Finding, Repair, Severity
from simpo.audit.limits import LIMITS
from simpo.audit.methods import Method, suited
from simpo.audit.verdict import judge


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
    assert verdict.title == "Fit to train on: 1,000 pairs of 900 prompts; look at 1 warning first."


def test_errors_and_warnings_with_a_repair_make_the_data_fit_once_they_are_repaired() -> None:
    listed = [finding("secret", "error", "drop", 2), finding("mojibake", "warning", "mend", 5)]
    verdict = judge(listed, 1000, 900, 1000)
    assert (verdict.fit, verdict.title) == ("repair", "Fit to train on once 2 repairs are made.")
    assert verdict.repairs == (("secret", "drop", 2), ("mojibake", "mend", 5))
    assert judge(listed[1:], 1000, 900, 1000).title == "Fit to train on once 1 repair is made."


def test_labels_that_are_only_suspected_are_a_reason_to_read_and_no_repair() -> None:
    verdict = judge([finding("suspected_flip", "warning", "drop", 600)], 1000, 900, 1000)
    assert (verdict.fit, verdict.repairs, verdict.reasons) == ("fit", (), ("suspected_flip: 600.",))


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


def advice(findings: list[Finding], pairs: int = 20_000, prompts: int = 15_000) -> dict[str, Method]:
    """The advice by method."""
    methods = suited(findings, pairs, prompts)
    assert all(method.reason.endswith(".") and "\n" not in method.reason for method in methods)
    return {method.method: method for method in methods}


def measured(kind: str, **figures: float) -> Finding:
    """A note with these figures as intervals."""
    values = {name: {"value": value, "low": value, "high": value} for name, value in figures.items()}
    return Finding(kind, "note", "", "", 1, 1, figures=values)


def test_few_pairs_favour_a_reference_and_more_prompts() -> None:
    small = advice([], 300, 300)
    assert (small["dpo"].suits, small["collect more"].suits) == (True, True)
    large = advice([])
    assert (large["dpo"].suits, large["collect more"].suits, large["simpo"].suits) == (None, False, True)


@pytest.mark.parametrize(
    ("share", "skewed"), [(0.82, True), (0.66, True), (0.6, False), (0.5, False), (0.3, True)]
)
def test_skewed_lengths_favour_rewards_that_are_means_over_tokens(share: float, skewed: bool) -> None:
    found = advice([measured("length_bias", chosen_longer=share)])
    assert found["simpo"].suits is True
    assert found["dpo"].suits is (False if skewed else None)
    assert found["dpo-norm"].suits is (True if skewed else None)
    assert f"{100 * max(share, 1 - share):.1f} %" in found["simpo"].reason


def test_low_agreement_asks_for_more_votes() -> None:
    assert advice([measured("agreement", alpha=0.39)])["collect more"].suits is True
    assert advice([measured("agreement", alpha=0.41)])["collect more"].suits is False


def test_answers_that_a_program_checks_favour_rollouts_and_scores_leave_a_reward_model_open() -> None:
    half = finding("verifiable_answers", "note", count=10_000, of=20_000)
    assert advice([half])["rollouts (GRPO)"].suits is True
    assert "50.0 %" in advice([half])["rollouts (GRPO)"].reason
    fewer = finding("verifiable_answers", "note", count=9_999, of=20_000)
    assert advice([fewer])["rollouts (GRPO)"].suits is False
    scored = finding("scored_pairs", "note", count=5_000, of=20_000)
    assert advice([scored])["RLHF"].suits is None
    assert "25.0 % of the pairs carry scores" in advice([scored])["RLHF"].reason
