"""The audit against Harbor's planted defects: floors of recall and precision, and how a score is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.audit_truth import MEANT, Score, generated, main, measure, score

# Recall and precision of each kind. The near duplicates that are missed have a typing error in a short message.
FLOORS = {
    "exact_duplicate": (1.0, 1.0),
    "near_duplicate": (0.9, 0.97),
    "contradiction": (1.0, 1.0),
    "chosen_equals_rejected": (1.0, 1.0),
}


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Harbor, written once."""
    return generated(tmp_path_factory.mktemp("harbor"), seed=3, pairs=2400)


def test_the_audit_finds_what_was_planted_and_little_else(harbor: Path) -> None:
    scores = {one.kind: one for one in measure(harbor)}
    assert scores.keys() >= FLOORS.keys()
    for kind, (recall, precision) in FLOORS.items():
        one = scores[kind]
        assert one.planted >= 20, one
        assert one.found >= recall * one.planted, one
        assert one.right >= precision * one.flagged, one


def test_a_planted_row_counts_as_found_by_itself_or_by_the_row_it_was_made_from() -> None:
    truth: list[dict[str, str | None]] = [
        {"id": "a2", "kind": "copy", "of": "a1"},
        {"id": "b2", "kind": "copy", "of": "b1"},
        {"id": "c", "kind": "flip", "of": None},
    ]
    flagged = {"exact": {"a1", "x"}, "near": {"c"}}
    assert score("copy", ("exact", "near"), truth, flagged) == Score("copy", ("exact", "near"), 2, 1, 3, 1)
    assert score("flip", ("near",), truth, flagged) == Score("flip", ("near",), 1, 1, 1, 1)
    assert score("flip", ("other",), truth, flagged) == Score("flip", ("other",), 1, 0, 0, 0)


def test_the_table_has_a_line_for_each_planted_kind(harbor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(harbor)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(harbor)
    assert [line.split()[0] for line in lines[2:]] == list(MEANT)
