"""Regression sets in a run and in `simpo eval`: asked before and after, and compared question by question."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simpo.cli.app import main
from simpo.errors import RecipeError
from simpo.evaluate.files import read_evaluation
from simpo.runs.folder import read_json
from simpo.study.align import align
from simpo.study.measure import Settings, measure
from tests.study.conftest import Bench


@pytest.fixture
def choices(bench: Bench) -> str:
    """Twelve questions with two options."""
    return bench.write(
        "choices.jsonl",
        [
            {
                "question": f"Where is parcel {n}?",
                "options": ["your parcel is here", "no idea, sorry"],
                "answer": "A",
            }
            for n in range(12)
        ],
    )


def test_a_run_is_asked_before_and_after(bench: Bench, choices: str) -> None:
    settings = {"generate": 0, "regression": {"choices": choices}, "limit_regression": 10}
    run = align(bench.recipe(output=str(bench.folder / "run"), evaluate=settings))
    before, after = (read_evaluation(run.evaluation_path(label)) for label in ("before", "after"))
    assert before.report["regression"]["choices"]["change"] is None
    told = after.report["regression"]["choices"]
    assert told["num_items"] == len(before.regression) == len(after.regression) == 10
    change = sum(line["value"] for line in after.regression) - sum(
        line["value"] for line in before.regression
    )
    assert told["change"]["against"] == "before"
    assert told["change"]["value"] == pytest.approx(change / 10)
    assert told["change"]["low"] <= told["change"]["value"] <= told["change"]["high"]


def test_eval_asks_the_sets_it_is_given_and_compares_with_an_earlier_one(
    bench: Bench, choices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    test, model = str(bench.folder / "test.jsonl"), str(bench.model)
    out = ["--data", test, "--out", str(bench.folder / "evaluation")]
    assert main(["eval", model, *out, "--regression", f"mine={choices}", "--label", "first"]) == 0
    assert "mine: right option" in capsys.readouterr().out
    earlier = ["--against", str(bench.folder / "evaluation" / "first.json")]
    again = ["--regression", f"mine={choices}", "--limit-regression", "12", "--label", "second", "--json"]
    assert main(["eval", model, *out, *earlier, *again]) == 0
    told = json.loads(capsys.readouterr().out)["regression"]["mine"]
    assert (told["change"]["against"], told["change"]["value"]) == ("first", 0.0)


def test_other_questions_are_not_compared(bench: Bench, choices: str) -> None:
    data, model = (str(bench.folder / "test.jsonl"),), str(bench.model)
    asked: dict[str, Any] = {"regression": {"mine": choices}, "limit_regression": 5}
    first, _ = measure(model, Settings(data=data, label="first", evaluate=asked), out=bench.folder)
    asked = {"regression": {"mine": choices}, "limit_regression": 6}
    second, _ = measure(
        model, Settings(data=data, label="second", against=first, evaluate=asked), out=bench.folder
    )
    assert read_json(second)["regression"]["mine"]["change"] is None


def test_an_earlier_evaluation_without_a_judge_or_a_set_is_refused(bench: Bench) -> None:
    data, model = (str(bench.folder / "test.jsonl"),), str(bench.model)
    first, _ = measure(model, Settings(data=data, label="first"), out=bench.folder)
    with pytest.raises(RecipeError, match="needs a judge"):
        measure(model, Settings(data=data, against=first), out=bench.folder)
