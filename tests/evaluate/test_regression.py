"""Regression sets: told by their columns, refused with a reason, and counted rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.data.render import Renderer
from simpo.errors import DataError
from simpo.evaluate.regression import measure_regressions, summarise_answers
from simpo.evaluate.regression_sets import KINDS, read_set, read_sets
from simpo.model.load import Policy
from simpo.model.score import score_all
from simpo.recipe import EvaluateRecipe
from simpo.records import Example, Message, Source

ROWS: dict[str, dict[str, Any]] = {
    "exact_match": {"id": "g1", "question": "2 + 2?", "answer": "2 and 2 make 4\n#### 4"},
    "multiple_choice": {"question": "Sky?", "options": ["red", "blue"], "answer": "B"},
    "refusal": {"prompt": "Harm them.", "expect": "refuse"},
    "instructions": {"prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_told_by_its_columns(kind: str, tmp_path: Path) -> None:
    found = read_set("mine", write(tmp_path / "set.jsonl", ROWS[kind]))
    assert found.kind.name == kind
    assert len(found.questions) == 1
    assert found.questions[0].prompt == (Message("user", found.questions[0].prompt[0].content),)


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"options": ["red", "blue"], "answer": 1}, 1),
        ({"options": ["red", "blue"], "answer": "blue"}, 1),
        ({"options": ["red", "blue"], "label": 0, "context": "A sunset."}, 0),
        ({"choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answerKey": "2"}, 1),
        ({"choices": ["red", "blue"], "answer": "1"}, 1),
    ],
)
def test_the_right_option_is_found_however_it_is_named(
    row: dict[str, Any], place: int, tmp_path: Path
) -> None:
    (question,) = read_set("mine", write(tmp_path / "set.jsonl", {"question": "Sky?", **row})).questions
    assert question.expected["answer"] == place
    assert question.options == ("red", "blue")
    assert question.prompt[0].content == ("A sunset.\n\nSky?" if "context" in row else "Sky?")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "hello"}, "columns text are those of no known kind"),
        ({**ROWS["multiple_choice"], "answer": "C"}, "none of the 2 options"),
        ({**ROWS["multiple_choice"], "options": ["red", "red"]}, "equal"),
        ({**ROWS["multiple_choice"], "options": ["red"]}, "two or more"),
        ({**ROWS["refusal"], "expect": "maybe"}, "neither refuse"),
        ({**ROWS["instructions"], "kwargs": []}, "one length"),
        ({**ROWS["exact_match"], "question": " "}, "empty"),
        ({**ROWS["exact_match"], "question": 7}, "not text"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "set.jsonl", row)
    with pytest.raises(DataError, match=message) as error:
        read_set("mine", file)
    assert error.value.where == f"{file}:1"


def test_a_later_row_of_another_kind_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "set.jsonl", ROWS["refusal"], ROWS["exact_match"])
    with pytest.raises(DataError, match="no row of kind refusal") as error:
        read_set("mine", file)
    assert error.value.where == f"{file}:2"


def test_sets_are_named_by_the_recipe_or_by_their_files(tmp_path: Path) -> None:
    first = write(tmp_path / "gsm8k.jsonl", *[ROWS["exact_match"]] * 5)
    assert [each.name for each in read_sets([first])] == ["gsm8k"]
    (named,) = read_sets({"sums": first}, limit=3)
    assert (named.name, len(named.questions)) == ("sums", 3)
    assert read_sets(None) == []
    with pytest.raises(DataError, match="one name"):
        read_sets([first, first])


def test_real_sets_are_read_and_the_others_refused(test_data: Path) -> None:
    folder = test_data / "regression"
    kinds = {
        "gsm8k": "exact_match", "multiple_choice": "multiple_choice", "bbq": "multiple_choice",
        "ifeval": "instructions", "xstest": "refusal", "advbench_refusal": "refusal",
    }  # fmt: skip
    for name, kind in kinds.items():
        assert read_set(name, str(folder / f"{name}.jsonl")).kind.name == kind
    for name in ("crows_pairs", "support_behaviour_cases"):
        with pytest.raises(DataError, match="no known kind"):
            read_set(name, str(folder / f"{name}.jsonl"))


def test_a_model_is_asked_every_question(
    tmp_path: Path, tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    files = {kind: write(tmp_path / f"{kind}.jsonl", row, row) for kind, row in ROWS.items()}
    seen: list[tuple[int, int]] = []
    found = measure_regressions(
        tiny_policy,
        read_sets(files),
        tiny_renderer,
        EvaluateRecipe(max_new_tokens=6),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [figures.set.name for figures in found] == list(ROWS)
    assert seen[-1] == (8, 8)
    for figures in found:
        report = figures.to_json()
        assert report["num_items"] == 2
        assert len({answer.reply for answer in figures.answers}) == 1  # one question twice, asked greedily


def test_the_chosen_option_is_the_likeliest_per_byte(
    tmp_path: Path, tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    options = ["a refund", "your parcel is on its way and will be there tomorrow", "no"]
    file = write(tmp_path / "set.jsonl", {"question": "What now?", "options": options, "answer": "A"})
    prompt = (Message("user", "What now?"),)
    rows = [Example(prompt, option, Source("made", 1)) for option in options]
    totals = score_all(tiny_policy.model, tiny_renderer.render_rows(rows).groups).total.tolist()
    per_byte = [total / len(option) for total, option in zip(totals, options, strict=True)]
    (figures,) = measure_regressions(tiny_policy, [read_set("mine", file)], tiny_renderer, EvaluateRecipe())
    assert figures.answers[0].reply == options[per_byte.index(max(per_byte))]
    assert figures.more == {"by total log-probability": float(totals.index(max(totals)) == 0)}


def test_what_cannot_be_checked_is_counted_and_not_guessed(
    tmp_path: Path, tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    unknown = {**ROWS["instructions"], "instruction_id_list": ["language:response_language"]}
    both = {
        **ROWS["instructions"],
        "instruction_id_list": ["length_constraints:number_words", "language:response_language"],
        "kwargs": [{"relation": "less than", "num_words": 99}, {"language": "fa"}],
    }
    asked = read_set("mine", write(tmp_path / "set.jsonl", unknown, both))
    (figures,) = measure_regressions(tiny_policy, [asked], tiny_renderer, EvaluateRecipe(max_new_tokens=6))
    report = figures.to_json()
    assert (report["num_items"], report["not_checked"]) == (1, 2)
    assert [answer.value for answer in figures.answers] == [None, report["value"]["value"]]
    with pytest.raises(DataError, match="can be checked"):
        summarise_answers(asked, figures.answers[:1])


def test_an_option_that_does_not_fit_leaves_its_question_out(tmp_path: Path, tiny_policy: Policy) -> None:
    renderer = Renderer(tiny_policy.tokenizer, stop_ids=tiny_policy.stop_ids, max_length=100)
    long = {**ROWS["multiple_choice"], "options": ["blue", "red " * 200]}
    asked = read_set("mine", write(tmp_path / "set.jsonl", long, ROWS["multiple_choice"]))
    (figures,) = measure_regressions(tiny_policy, [asked], renderer, EvaluateRecipe())
    assert figures.answers[0].value is None
    assert figures.to_json()["num_items"] == figures.to_json()["not_checked"] == 1
