"""Overlap with held-out files and benchmarks: found on both sides, and not where only phrases are shared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.copies.prompts import Asked
from simpo.audit.findings import Finding
from simpo.audit.leakage.check import Leakage
from simpo.audit.leakage.quotes import COVERED, QUOTED, Quotes
from simpo.audit.leakage.references import benchmark_references, held_out_references
from simpo.errors import DataError
from simpo.records import Pair
from tests.audit.made import pair

LONG = "Tom has three apples and gives one of them to each of his two sisters. How many are left for him?"


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def found(check: Leakage, *pairs: Pair) -> dict[str, Finding]:
    for number, one in enumerate(pairs):
        check.see(number, one)
    return {finding.kind: finding for finding in check.findings()}


def held(path: Path, *prompts: str, chosen: str = "yes", rejected: str = "no") -> Path:
    return write(path, *({"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt in prompts))


def test_the_same_prompt_and_nearly_the_same_are_found_with_their_places(tmp_path: Path) -> None:
    file = held(
        tmp_path / "test.jsonl", "How do I cancel my plan?", "Where is my order? It was due on Friday.", "Hi?"
    )
    findings = found(
        Leakage(file),
        pair("Do you sell lamps?"),
        pair("How do I cancel  my Plan?", line=2),
        pair("Where is my oder? It was due on Friday.", line=3),
    )
    leaked = findings["leaked_prompt"]
    assert leaked.severity == "error"
    assert leaked.rows.tolist() == [1, 2]
    assert (leaked.count, leaked.of, leaked.repair) == (2, 3, "drop")
    assert [(str(one.source), str(one.other)) for one in leaked.examples] == [
        ("made.jsonl:2", f"{file}:1"),
        ("made.jsonl:3", f"{file}:2"),
    ]
    assert leaked.figures["pairs"] == {"same": 1, "near": 1, "quoted": 0}
    assert leaked.figures["leaked"]["value"] == pytest.approx(2 / 3)
    assert leaked.figures["files"] == {str(file): {"prompts": 3, "leaked": 2}}


def test_where_nothing_leaks_a_note_says_that_it_was_looked_for(tmp_path: Path) -> None:
    findings = found(Leakage(held(tmp_path / "test.jsonl", "How do I cancel?")), pair("Do you sell lamps?"))
    assert list(findings) == ["leaked_prompt"]
    assert (findings["leaked_prompt"].severity, findings["leaked_prompt"].count) == ("note", 0)
    assert findings["leaked_prompt"].repair is None


def test_few_leaks_among_many_held_out_prompts_are_a_warning(tmp_path: Path) -> None:
    far = held(tmp_path / "far.jsonl", *(f"{number * 7919} {number * 104729}" for number in range(300)))
    assert found(Leakage(far), pair(f"{7 * 7919} {7 * 104729}"))["leaked_prompt"].severity == "warning"


def test_every_held_out_prompt_that_a_prompt_is_near_counts_as_leaked(tmp_path: Path) -> None:
    file = held(tmp_path / "test.jsonl", LONG, LONG + " Please answer.", "Do you sell lamps?")
    leaked = found(Leakage(file), pair(LONG))["leaked_prompt"]
    assert leaked.count == 1
    assert leaked.figures["files"] == {str(file): {"prompts": 3, "leaked": 2}}


def test_a_chosen_answer_that_is_held_out_is_found_and_a_short_one_is_no_leak(tmp_path: Path) -> None:
    answer, other = (
        "The parcel left Lyon this morning and comes tomorrow.",
        "Please be patient while we look into it all.",
    )
    file = held(tmp_path / "test.jsonl", "Where is it?", chosen=answer, rejected=other)
    findings = found(
        Leakage(file),
        pair("When does my lamp come?", answer.upper(), "Never, I am afraid."),
        pair("In other words: what about it?", answer, other),
        pair("And the chair?", "You are welcome!", answer),
    )
    assert findings["leaked_answer"].rows.tolist() == [0, 1]
    assert findings["leaked_answer"].figures == {"both": 1}
    assert findings["leaked_prompt"].count == 0


def test_a_question_of_a_benchmark_is_found_alone_last_or_inside_a_longer_prompt(tmp_path: Path) -> None:
    file = write(
        tmp_path / "bench.jsonl",
        {"id": 1, "question": LONG},
        {"id": 2, "question": "Who wrote Faust in 1808?"},
    )
    findings = found(
        Leakage(benchmark=file),
        pair(LONG.lower()),
        pair(
            (("user", "Hello, who are you?"), ("assistant", "A model."), ("user", LONG + " Thanks")), line=2
        ),
        pair(
            f"Solve this step by step, and end with the number. {LONG} Think first. Then write one line.",
            line=3,
        ),
        pair("Tom has three apples and eats them all at once on the way home. Why?", line=4),
        pair("Hello, tell me something about apples", line=5),
    )
    leaked = findings["benchmark_prompt"]
    assert leaked.severity == "warning"
    assert leaked.rows.tolist() == [0, 1, 2]
    assert leaked.figures["pairs"] == {"same": 1, "near": 1, "quoted": 1}
    assert [str(one.other) for one in leaked.examples] == [f"{file}:1"] * 3
    assert leaked.figures["files"] == {str(file): {"prompts": 2, "leaked": 1}}


def test_a_lookup_takes_in_every_pair_however_many_wait(tmp_path: Path) -> None:
    file = held(tmp_path / "test.jsonl", LONG)
    pairs = [pair(LONG, f"yes {number}", "no", line=number + 1) for number in range(1100)]
    assert found(Leakage(file), *pairs)["leaked_prompt"].rows.tolist() == list(range(1100))


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"question": "Who wrote Faust in 1808?"}, ["who wrote faust in 1808?"]),
        ({"Problem": "Add two and three and four."}, ["add two and three and four."]),
        (
            {"instruction": "Translate to French.", "input": "Good morning"},
            ["translate to french. good morning"],
        ),
        (
            {"context": "A man and a woman met.", "question": "Who left?"},
            ["a man and a woman met. who left?"],
        ),
        (
            {"turns": ["Write a long poem.", "Now make it rhyme."]},
            ["write a long poem.", "now make it rhyme."],
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": "I cannot log in"},
                ]
            },
            ["i cannot log in"],
        ),
        ({"conversations": [{"from": "human", "value": "I cannot log in"}]}, ["i cannot log in"]),
        ({"a": "short", "b": "the longest text of the row"}, ["the longest text of the row"]),
        ({"question": "Why?", "b": "the longest text of the row"}, []),
        ({"question": None, "label": 3}, []),
    ],
)
def test_the_question_of_a_row_is_found_by_its_column(
    tmp_path: Path, row: Mapping[str, Any], asked: list[str]
) -> None:
    file = write(tmp_path / "bench.jsonl", {"question": "What is the first question here?"}, row)
    assert [one.asked for one in benchmark_references(file)][1:] == [Asked(text) for text in asked]


def test_a_benchmark_may_be_lines_of_text(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_bytes(b"Who wrote Faust in 1808?\n\nWhat is the tallest tr\xe9e?\r\n")
    assert [(one.source.line, one.asked.user) for one in benchmark_references(file)] == [
        (1, "who wrote faust in 1808?"),
        (3, "what is the tallest tr\ufffde?"),
    ]


@pytest.mark.parametrize("text", ["", '{"label": 1}\n', '{"question": "Why?"}\n'])
def test_a_benchmark_without_a_question_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bench.jsonl"
    file.write_text(text)
    with pytest.raises(DataError, match=r"empty|no question"):
        Leakage(benchmark=file)


def test_missing_reference_files_are_refused(tmp_path: Path) -> None:
    for reference in ({"held_out": tmp_path / "none.jsonl"}, {"benchmark": tmp_path / "none.txt"}):
        with pytest.raises(DataError, match="no such file"):
            Leakage(**reference)


def test_held_out_files_without_a_whole_pair_are_refused(tmp_path: Path) -> None:
    file = held(tmp_path / "test.jsonl", "Hello?", chosen="same", rejected="same")
    with pytest.raises(DataError, match="no pair can be used"):
        list(held_out_references(file))


def shares(questions: Sequence[str], prompt: str) -> dict[int, float]:
    """The share of each question's distinct runs that a prompt holds, by slicing."""

    def cut(text: str) -> set[str]:
        return {text[at : at + QUOTED] for at in range(len(text) - QUOTED + 1)}

    held = cut(prompt)
    return {at: len(cut(text) & held) / len(cut(text)) for at, text in enumerate(questions) if cut(text)}


TEXTS = st.lists(st.text("ab ", min_size=0, max_size=60), max_size=5)


@given(TEXTS, TEXTS, st.data())
def test_quotes_are_those_that_slicing_finds(
    questions: list[str], prompts: list[str], data: st.DataObject
) -> None:
    if questions:
        prompts = [*prompts, "x" + data.draw(st.sampled_from(questions)) + "y"]
    for prompt, quote in zip(prompts, Quotes(questions).quoted(prompts), strict=True):
        expected = {at: share for at, share in shares(questions, prompt).items() if share >= COVERED}
        assert (quote is not None) == bool(expected)
        if quote is not None:
            assert expected[quote[0]] == pytest.approx(quote[1])
            assert quote[1] == pytest.approx(max(expected.values()))


def test_a_phrase_that_all_questions_share_makes_no_quote() -> None:
    phrase = "Answer the following question with one letter and nothing else: "
    questions = [
        f"{phrase}{number * 7919} or {number * 104729}, which one is the larger of them?"
        for number in range(30)
    ]
    quotes = Quotes(questions)
    assert quotes.quoted([phrase + "is the sky blue?", "So: " + questions[4] + " Be quick."]) == [
        None,
        (4, 1.0),
    ]


def test_real_files_overlap_as_their_description_says(test_data: Path) -> None:
    check = Leakage(
        held_out=test_data / "label_noise_ultrafeedback.jsonl.gz",
        benchmark=sorted((test_data / "regression").glob("*.jsonl")),
    )
    from simpo.data.read import read_rows

    pairs = read_rows(test_data / "preference_ultrafeedback.jsonl.gz", on_bad_row="drop").rows
    findings = found(check, *(row for row in pairs if isinstance(row, Pair)))
    assert (
        findings["leaked_prompt"].figures["leaked"]["value"] == 1.0
    )  # the same rows, some with the label turned
    assert findings["benchmark_prompt"].count == 0
