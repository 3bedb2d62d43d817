"""The closing table: its figures are those of the evaluation files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simpo.report.summary import SummaryRow, summary_table
from simpo.report.words import duration, general, memory, number, percent, percent_range
from tests.report.synthetic_run import write_run, write_sft_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def by_label(run: Path) -> dict[str, SummaryRow]:
    rows = summary_table(run)
    assert len({row.label for row in rows}) == len(rows)
    return {row.label: row for row in rows}


def test_the_figures_equal_those_of_the_evaluation_files(run: Path) -> None:
    rows = by_label(run)
    for label in ("before", "after"):
        content = json.loads((run / "evaluation" / f"{label}.json").read_text(encoding="utf-8"))
        accuracy, generation = content["preference"]["accuracy"]["reward"], content["generation"]
        figures = {name: getattr(row, label) for name, row in rows.items()}
        ranges = {name: getattr(row, f"{label}_range") for name, row in rows.items()}
        assert figures["Held-out pairwise accuracy"] == f"{100 * accuracy['value']:.1f} %"
        assert (
            ranges["Held-out pairwise accuracy"]
            == f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %"
        )
        assert figures["Median reply length, characters"] == f"{generation['chars']['median']:.0f}"
        assert figures["Replies that stop"] == f"{100 * generation['stopped']:.1f} %"
        assert figures["Repetition"] == f"{100 * generation['repeated_4gram']:.1f} %"
        assert figures["Rubric score"] == f"{generation['judge']['mean']['value']:.2f}"
        for part in content["preference"]["strata"]:
            if part["by"] != "category":
                assert figures[part["name"]] == f"{100 * part['accuracy']['value']:.1f} %"
                assert rows[part["name"]].part
    assert rows["Rubric win rate"].after == "69.0 %"
    assert rows["Rubric win rate"].note == "against before; 41 won, 6 tied, 17 lost; 50 % is a draw"
    assert rows["Training time"].after == "1 h 12 min"
    assert rows["Peak memory"].after == "3.4 GB"


def test_the_change_of_accuracy_is_over_the_same_pairs_and_narrower_than_two_intervals(run: Path) -> None:
    values = {}
    for label in ("before", "after"):
        content = json.loads((run / "evaluation" / f"{label}.json").read_text(encoding="utf-8"))
        values[label] = content["preference"]["accuracy"]["reward"]
    note = by_label(run)["Held-out pairwise accuracy"].note
    change, low, high = (float(word.strip("+()")) for word in note.split() if word.strip("(").startswith("+"))
    assert change == pytest.approx(100 * (values["after"]["value"] - values["before"]["value"]), abs=0.05)
    assert low < change < high
    apart = 100 * (values["after"]["high"] - values["before"]["low"])
    assert high < apart


def test_a_row_as_cells_carries_its_interval_in_brackets(run: Path) -> None:
    rows = by_label(run)
    accuracy = rows["Held-out pairwise accuracy"]
    assert accuracy.cells[1] == f"{accuracy.before} ({accuracy.before_range})"
    assert rows["chosen longer"].cells[0] == "  chosen longer"
    assert rows["Peak memory"].cells == ("Peak memory", "", "3.4 GB", "while training")


def test_an_sft_run_is_summed_up_by_its_validation_loss(tmp_path: Path) -> None:
    rows = by_label(write_sft_run(tmp_path / "run"))
    assert list(rows) == ["Validation loss", "Training time", "Peak memory"]
    assert rows["Validation loss"].before == "2.100"
    assert rows["Training time"].note == "0.89 examples per second"


def test_a_run_without_an_evaluation_before_leaves_that_column_empty(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "evaluation" / "before.json").unlink()
    rows = by_label(copy)
    assert all(row.before == "" for row in rows.values())
    assert rows["Held-out pairwise accuracy"].after.endswith(" %")


def test_an_unfinished_run_has_no_cost_but_its_validation_figures(tmp_path: Path) -> None:
    rows = by_label(write_run(tmp_path / "run", ending="interrupted", evaluated=False))
    assert list(rows) == ["Validation loss", "Validation accuracy"]


def test_figures_read_as_a_person_writes_them() -> None:
    assert number(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"
    assert number(float("nan")) == number(None) == "\N{EN DASH}"
    assert percent(0.7385) == "73.9 %" and percent(None) == "\N{EN DASH}"
    assert percent_range(0.5, None) == ""
    assert [general(value) for value in (2.0, 0.5, 8e-7, 1e-6, 12000.0)] == [
        "2",
        "0.5",
        "8e-7",
        "1e-6",
        "12000",
    ]
    assert [duration(value) for value in (4.21, 59.97, 72, 7500)] == [
        "4.2 s",
        "1 min 00 s",
        "1 min 12 s",
        "2 h 05 min",
    ]
    assert [memory(value) for value in (0, 812, 3.412e9)] == ["0 B", "812 B", "3.4 GB"]
