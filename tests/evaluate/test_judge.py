"""Judges: loaded by name, called with what they need, checked, and compared between two models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simpo.errors import RecipeError, RunFailed
from simpo.evaluate.judge import Judge, Verdict, load_judge, read_verdict, summarise_verdicts, win_rate
from simpo.records import Message, Pair, Source

ROW = Pair(
    prompt=(Message("system", "Be short."), Message("user", "Where is it?")),
    chosen="yes",
    rejected="no",
    source=Source("held-out.jsonl", 812),
    category="shipping",
    extra={"ticket": 7},
)

MODULE = """
import math
LIMIT = 3
def score(prompt, reply, row):
    return {"score": len(reply), "parts": {"ticket": row["ticket"]}, "escalates": row["category"] == "shipping"}
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_judge_is_found_in_the_current_folder_and_sees_prompt_reply_and_columns(workplace: Path) -> None:
    (workplace / "rubric.py").write_text(MODULE)
    judge = load_judge("rubric:score")
    assert judge(ROW, "four") == Verdict(4.0, {"ticket": 7.0}, True)
    assert judge.name == "rubric:score"
    assert judge.hash is not None
    assert len(judge.hash) == 64


def test_a_judge_gets_turns_as_plain_mappings_and_cannot_change_the_row() -> None:
    seen: list[Any] = []

    def score(prompt: list[dict[str, str]], reply: str, row: dict[str, Any]) -> float:
        seen.extend([prompt, reply, dict(row)])
        row["ticket"] = None
        return 1

    assert Judge("here:score", score)(ROW, "hello") == Verdict(1.0)
    assert seen == [
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where is it?"}],
        "hello",
        {"ticket": 7, "category": "shipping"},
    ]
    assert ROW.extra == {"ticket": 7}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rubric", "not of the form module:function"),
        (":score", "not of the form module:function"),
        ("rubrik:score", "there is no module rubrik\n  fix: run in the folder that holds it"),
        ("rubric.deep:score", "there is no module rubric.deep"),
        ("rubric:scores", r"rubric has no scores\n  fix: did you mean rubric:score\?"),
        ("rubric:LIMIT", "LIMIT is a int, not a function"),
        ("needy:score", "needy imports no_such_library, which is not installed"),
        ("broken:score", "importing broken raised ZeroDivisionError"),
        ("torn:score", "importing torn raised SyntaxError"),
    ],
)
def test_a_judge_that_cannot_be_loaded_says_why(workplace: Path, spec: str, message: str) -> None:
    (workplace / "rubric.py").write_text(MODULE)
    (workplace / "needy.py").write_text("import no_such_library")
    (workplace / "broken.py").write_text("1 / 0")
    (workplace / "torn.py").write_text("def score(")
    with pytest.raises(RecipeError, match=message):
        load_judge(spec)


def test_a_judge_that_raises_is_reported_with_the_row_and_its_own_error() -> None:
    def score(prompt: object, reply: str, row: dict[str, Any]) -> float:
        return float(row["severity"])

    with pytest.raises(
        RunFailed, match=r"held-out.jsonl:812: the judge here:score raised KeyError: 'severity'"
    ) as caught:
        Judge("here:score", score)(ROW, "hello")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (2, Verdict(2.0)),
        (True, Verdict(1.0)),
        (np.float32(0.5), Verdict(0.5)),
        ({"score": 1.5}, Verdict(1.5)),
        ({"score": 1, "parts": {"polite": 0}, "escalates": False}, Verdict(1.0, {"polite": 0.0}, False)),
        ({"score": 1, "parts": None, "escalates": np.True_}, Verdict(1.0, {}, True)),
    ],
)
def test_numbers_and_mappings_are_verdicts(answer: object, expected: Verdict) -> None:
    assert read_verdict(answer) == expected


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "score is not a finite number"),
        ("7", "score is not a finite number"),
        (float("nan"), "score is not a finite number"),
        ({"score": float("inf")}, "score is not a finite number"),
        ({"parts": {}}, "score is missing"),
        ({"score": 1, "escalate": True}, "unknown key 'escalate'"),
        ({"score": 1, "escalates": "no"}, "escalates is neither true nor false"),
        ({"score": 1, "parts": [1]}, "parts is no mapping"),
        ({"score": 1, "parts": {"polite": "yes"}}, "part polite is not a finite number"),
    ],
)
def test_anything_else_is_no_verdict(answer: object, message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        Judge("here:score", lambda prompt, reply, row: answer)(ROW, "hello")


def test_verdicts_in_figures_by_hand() -> None:
    judge = Judge("here:score", lambda prompt, reply, row: 0)
    verdicts = [
        Verdict(1.0, {"polite": 1.0, "short": 0.0}, True),
        Verdict(2.0, {"polite": 0.0}, False),
        Verdict(6.0),
    ]
    found = summarise_verdicts(judge, verdicts, ["a", "b", "c"]).to_json()
    assert found["mean"]["value"] == 3.0
    assert found["mean"]["low"] < 3 < found["mean"]["high"]
    assert found["parts"] == {"polite": 0.5, "short": 0.0}
    assert found["escalation_rate"] == 0.5  # of the two replies of which the judge said


def test_a_judge_that_never_speaks_of_escalation_gives_no_rate() -> None:
    judge = Judge("here:score", lambda prompt, reply, row: 0)
    assert summarise_verdicts(judge, [Verdict(1.0), Verdict(0.0)], ["a", "b"]).escalation_rate is None


def test_win_rate_by_hand() -> None:
    # Two wins, one tie, one loss: (1 + 1 + 0.5 + 0) / 4
    found = win_rate([3, 2, 1, 0], [1, 1, 1, 1], ["a", "b", "c", "d"])
    assert (found.rate.value, found.wins, found.ties, found.losses) == (0.625, 2, 1, 1)
    assert set(found.to_json("before")) == {"against", "value", "low", "high", "wins", "ties", "losses"}


def test_a_model_against_itself_wins_half() -> None:
    found = win_rate([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], ["a", "b", "c"])
    assert (found.rate.value, found.ties) == (0.5, 3)
    assert found.rate.low < 0.5 < found.rate.high
