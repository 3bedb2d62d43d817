"""A judge of two replies: both orders, each question once, and what it answers is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simpo.errors import RunFailed
from simpo.evaluate.judge import Judge
from simpo.evaluate.pair_judge import PairJudge, PairVerdict, compares_replies
from simpo.records import Dataset


def test_it_is_told_by_the_replies_it_takes() -> None:
    def of_two(prompt: Any, first: str, second: str, columns: Any) -> float:
        return 0.5

    assert compares_replies(Judge("j", of_two))  # type: ignore[arg-type]
    assert not compares_replies(Judge("j", lambda prompt, reply, columns: 0.5))

    def of_one(prompt: Any, reply: str, columns: Any, model: str = "m") -> float:
        return 0.5

    assert not compares_replies(Judge("j", of_one))


def test_place_cancels_and_content_stays(tmp_path: Path, held_out: Dataset) -> None:
    def judge(prompt: Any, first: str, second: str, columns: Any) -> dict[str, float]:
        return {"first": min(1.0, 0.2 + 0.5 * (first > second) + 0.3 * (len(prompt) == 1))}

    asked = PairJudge(Judge("j", judge), tmp_path / "memory.jsonl")  # type: ignore[arg-type]
    verdict = asked(held_out.rows[0], "b", "a")
    assert (verdict.forward, verdict.backward) == (1.0, 0.5)
    assert verdict.outcome == 0.75
    assert asked(held_out.rows[0], "a", "b").outcome == 0.25


@pytest.mark.parametrize(
    ("forward", "backward", "agrees"),
    [(0.9, 0.8, True), (0.9, 0.2, False), (0.5, 0.5, True), (0.5, 0.9, True), (0.52, 0.48, True)],
)
def test_orders_agree_where_they_favour_one_side(forward: float, backward: float, agrees: bool) -> None:
    assert PairVerdict(forward, backward).agrees is agrees


def test_a_question_is_asked_once_even_by_the_next_process(tmp_path: Path, held_out: Dataset) -> None:
    calls: list[tuple[str, str]] = []

    def judge(prompt: Any, first: str, second: str, columns: Any) -> float:
        calls.append((first, second))
        return 1.0

    memory = tmp_path / "deep" / "memory.jsonl"
    for _ in range(2):
        asked = PairJudge(Judge("j", judge, "hash"), memory)  # type: ignore[arg-type]
        assert asked(held_out.rows[0], "a", "b") == PairVerdict(1.0, 0.0)
    assert calls == [("a", "b"), ("b", "a")]
    with memory.open("a", encoding="utf-8") as file:
        file.write('{"key": "torn')
    PairJudge(Judge("j", judge, "other hash"), memory)(held_out.rows[0], "a", "b")  # type: ignore[arg-type]
    assert len(calls) == 4  # another judge is asked for itself


def test_equal_replies_are_a_tie_and_not_asked_about(tmp_path: Path, held_out: Dataset) -> None:
    def judge(*_: Any) -> float:
        raise AssertionError("asked")

    asked = PairJudge(Judge("j", judge), tmp_path / "memory.jsonl")
    assert asked(held_out.rows[0], "same", "same") == PairVerdict(0.5, 0.5)


@pytest.mark.parametrize("answer", ["first", 1.5, -0.1, float("nan"), None, {"second": 1}])
def test_an_answer_that_is_no_preference_is_named(tmp_path: Path, held_out: Dataset, answer: Any) -> None:
    asked = PairJudge(Judge("mine:judge", lambda *_: answer), tmp_path / "memory.jsonl")
    with pytest.raises(RunFailed, match="mine:judge returned") as error:
        asked(held_out.rows[0], "a", "b")
    assert error.value.where == "held-out.jsonl:1"


def test_a_judge_that_raises_is_named(tmp_path: Path, held_out: Dataset) -> None:
    def judge(*_: Any) -> float:
        raise OSError("no connection")

    with pytest.raises(RunFailed, match="raised OSError: no connection"):
        PairJudge(Judge("j", judge), tmp_path / "memory.jsonl")(held_out.rows[0], "a", "b")
