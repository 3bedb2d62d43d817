"""A whole evaluation on a tiny model: the file as agreed, its lines, comparison with an earlier one, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.core.objective import Objective
from simpo.data.render import Renderer, render_rows
from simpo.errors import DataError, RecipeError, RunFailed
from simpo.evaluate.evaluate import choose_prompts, evaluate_model, method_json
from simpo.evaluate.files import Evaluation, check_label, read_evaluation, write_evaluation
from simpo.evaluate.judge import Judge
from simpo.model.load import Policy
from simpo.model.reference import LiveReference
from simpo.model.score import score_all
from simpo.recipe import EvaluateRecipe
from simpo.records import Dataset, Example, Message, Source

SIMPO = Objective.of("simpo")
WRITING = EvaluateRecipe(generate=4, max_new_tokens=8, batch_size=3)


def _length(prompt: object, reply: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "score": len(reply),
        "parts": {"ticket": row["ticket"]},
        "escalates": row["category"] == "billing",
    }


LENGTH = Judge("tests:length", _length, hash="0" * 64)


@pytest.fixture
def evaluated(tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer) -> Evaluation:
    return evaluate_model(
        tiny_policy, held_out, tiny_renderer, objective=SIMPO, label="before", settings=WRITING, judge=LENGTH
    )


def test_the_report_holds_what_was_agreed(
    evaluated: Evaluation, tiny_policy: Policy, held_out: Dataset
) -> None:
    report = evaluated.report
    assert list(report) == [
        "schema", "label", "created", "model", "data", "method", "preference", "generation", "win_rate", "regression",
        "seconds", "peak_memory_bytes",
    ]  # fmt: skip
    assert (report["schema"], report["label"], report["win_rate"]) == (1, "before", None)
    assert report["regression"] is None and evaluated.regression == ()
    assert report["model"] == {"name": tiny_policy.name, "hash": tiny_policy.hash}
    assert report["data"] == {
        "name": "held-out.jsonl", "hash": held_out.hash, "num_pairs": 10, "num_prompts": 6, "dropped": {}
    }  # fmt: skip
    assert (report["preference"]["num_pairs"], report["preference"]["num_prompts"]) == (10, 6)
    generation = report["generation"]
    assert set(generation) == {
        "num_prompts", "settings", "chars", "tokens", "stopped", "distinct_1", "distinct_2", "repeated_4gram",
        "repetitive", "judge", "samples",
    }  # fmt: skip
    assert generation["settings"] == {"max_new_tokens": 8, "temperature": 0.0, "seed": 0}
    assert generation["num_prompts"] == len(generation["samples"]) == len(evaluated.replies) == 4
    assert set(generation["samples"][0]) == {
        "prompt", "reply", "stopped", "chars", "tokens", "score", "chosen", "rejected"
    }  # fmt: skip
    assert generation["judge"]["mean"]["value"] == pytest.approx(sum(generation["chars"]["values"]) / 4)
    assert report["seconds"] > 0
    assert report["peak_memory_bytes"] > 0


def test_pairs_are_scored_as_the_scorer_scores_them_and_in_the_order_of_the_data(
    evaluated: Evaluation, tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    groups = render_rows(held_out.rows, tiny_renderer).groups
    expected = score_all(tiny_policy.model, groups, batch_size=1)
    assert [pair["source"] for pair in evaluated.pairs] == [str(row.source) for row in held_out.rows]
    chosen = [pair["chosen_total"] for pair in evaluated.pairs]
    assert chosen == pytest.approx(expected.total[0::2].tolist(), rel=1e-5)
    assert [pair["rejected_tokens"] for pair in evaluated.pairs] == expected.tokens[1::2].tolist()
    rewards = [pair["rejected_reward"] for pair in evaluated.pairs]
    assert rewards == pytest.approx((2 * expected.mean[1::2]).tolist(), rel=1e-5)


def test_what_is_written_is_what_is_read(evaluated: Evaluation, tmp_path: Path) -> None:
    file = write_evaluation(tmp_path / "evaluation", evaluated)
    assert file == tmp_path / "evaluation" / "before.json"
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "before.json", "before.pairs.jsonl", "before.replies.jsonl"
    ]  # fmt: skip
    assert read_evaluation(file) == evaluated
    lines = (file.parent / "before.pairs.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [pair["id"] for pair in evaluated.pairs]


def test_an_evaluation_without_replies_leaves_none_of_an_earlier_one(
    evaluated: Evaluation, tmp_path: Path
) -> None:
    file = write_evaluation(tmp_path / "mine.json", evaluated)
    write_evaluation(file, dataclasses.replace(evaluated, replies=()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "mine.pairs.jsonl"]
    assert read_evaluation(file).replies == ()


def test_a_reply_with_odd_line_ends_is_read_back_whole(evaluated: Evaluation, tmp_path: Path) -> None:
    odd = dataclasses.replace(
        evaluated, replies=({"prompt_id": "p", "reply": "one\u2028two\x85three\r\nfour"},)
    )
    assert read_evaluation(write_evaluation(tmp_path, odd)).replies == odd.replies


@pytest.mark.parametrize("contents", ["{", "[]", '{"schema": 2, "preference": {}}'])
def test_a_file_that_is_no_evaluation_is_named(tmp_path: Path, contents: str) -> None:
    (tmp_path / "after.json").write_text(contents)
    with pytest.raises(RecipeError, match=r"after\.json"):
        read_evaluation(tmp_path / "after.json")


def test_no_generation_is_null(tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer) -> None:
    found = evaluate_model(
        tiny_policy, held_out, tiny_renderer, objective=SIMPO, label="x", settings=EvaluateRecipe()
    )
    assert (found.report["generation"], found.report["win_rate"], found.replies) == (None, None, ())


def test_a_model_against_itself_ties_everywhere(
    evaluated: Evaluation, tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    found = evaluate_model(
        tiny_policy, held_out, tiny_renderer,
        objective=SIMPO, label="after", settings=WRITING, judge=LENGTH, against=evaluated,
    )  # fmt: skip
    rate = found.report["win_rate"]
    assert (rate["against"], rate["value"], rate["wins"], rate["ties"], rate["losses"]) == (
        "before",
        0.5,
        0,
        4,
        0,
    )


def test_the_other_models_replies_are_scored_again_unless_this_very_judge_did(
    evaluated: Evaluation, tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    calls: list[str] = []

    def brevity(prompt: object, reply: str, row: object) -> float:
        calls.append(reply)
        return -len(reply)

    shorter = dataclasses.replace(evaluated, replies=tuple({**row, "reply": ""} for row in evaluated.replies))
    for judge, num_calls, value in (
        (Judge("tests:brevity", brevity, "1" * 64), 8, 0.0),  # another judge: 4 replies each
        (Judge("tests:length", brevity, None), 8, 0.0),  # a judge without a file may have changed
        (Judge("tests:length", brevity, "0" * 64), 4, 0.0),  # the same: the kept scores, all positive, win
    ):
        calls.clear()
        found = evaluate_model(
            tiny_policy, held_out, tiny_renderer,
            objective=SIMPO, label="after", settings=WRITING, judge=judge, against=shorter,
        )  # fmt: skip
        assert (len(calls), found.report["win_rate"]["value"]) == (num_calls, value)


def test_a_reference_equal_to_the_policy_gives_zero_rewards_and_only_ties(
    tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    found = evaluate_model(
        tiny_policy, held_out, tiny_renderer,
        objective=Objective.of("dpo"), label="x", settings=EvaluateRecipe(batch_size=3),
        reference=LiveReference(tiny_policy.model),
    )  # fmt: skip
    assert found.report["preference"]["accuracy"]["reward"]["value"] == 0.5
    assert all(pair["chosen_reward"] == 0 for pair in found.pairs)


def test_settings_that_contradict_each_other_are_refused_before_the_model_runs(
    evaluated: Evaluation, tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    def evaluate(**changes: Any) -> None:
        arguments = {"label": "x", "settings": WRITING, "judge": LENGTH, **changes}
        evaluate_model(tiny_policy, held_out, tiny_renderer, objective=SIMPO, **arguments)

    elsewhere = ({**evaluated.replies[0], "prompt_id": "elsewhere"},)
    del tiny_policy.model.model  # whoever runs it fails
    refused: dict[str, dict[str, Any]] = {
        "has nothing to score": {"settings": EvaluateRecipe()},
        "needs a judge": {"judge": None, "against": evaluated},
        "holds no replies": {"against": dataclasses.replace(evaluated, replies=())},
        "cannot be compared": {"settings": EvaluateRecipe(generate=4), "against": evaluated},
        "replied to none of these prompts": {"against": dataclasses.replace(evaluated, replies=elsewhere)},
        "there is no module": {
            "judge": None,
            "settings": WRITING.model_copy(update={"judge": "no_such:judge"}),
        },
        "label": {"label": "../x"},
    }
    for message, changes in refused.items():
        with pytest.raises(RecipeError, match=message):
            evaluate(**changes)


def test_a_reply_that_cannot_fit_is_refused_before_anything_is_scored(
    tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    def scorer(model: object, groups: object) -> Any:
        raise AssertionError("the model ran")

    with pytest.raises(RecipeError, match="do not fit the model's 512 positions"):
        evaluate_model(
            tiny_policy, held_out, tiny_renderer,
            objective=SIMPO, label="x", settings=EvaluateRecipe(generate=1, max_new_tokens=512), scorer=scorer,
        )  # fmt: skip


@pytest.mark.parametrize(("name", "given"), [("dpo", False), ("simpo", True)])
def test_a_reference_is_given_exactly_where_the_method_takes_one(
    tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer, name: str, given: bool
) -> None:
    reference = LiveReference(tiny_policy.model) if given else None
    with pytest.raises(ValueError, match=f"{name} takes"):
        evaluate_model(
            tiny_policy, held_out, tiny_renderer,
            objective=Objective.of(name), label="x", settings=EvaluateRecipe(), reference=reference,
        )  # fmt: skip


def test_data_without_pairs_is_refused(tiny_policy: Policy, tiny_renderer: Renderer) -> None:
    row = Example((Message("user", "a"),), "yes", Source("sft.jsonl", 1))
    for dataset in (Dataset("sft.jsonl", (row,), (), "sft"), Dataset("empty.jsonl", (), (), "pairs")):
        with pytest.raises(DataError, match="takes pairs"):
            evaluate_model(
                tiny_policy, dataset, tiny_renderer, objective=SIMPO, label="x", settings=EvaluateRecipe()
            )


def test_pairs_that_do_not_fit_are_counted_and_none_left_is_an_error(
    tiny_policy: Policy, held_out: Dataset
) -> None:
    def evaluate(max_length: int) -> Evaluation:
        renderer = Renderer(tiny_policy.tokenizer, stop_ids=tiny_policy.stop_ids, max_length=max_length)
        return evaluate_model(
            tiny_policy, held_out, renderer, objective=SIMPO, label="x", settings=EvaluateRecipe()
        )

    found = evaluate(60).report
    assert found["data"]["num_pairs"] == 10
    assert found["preference"]["num_pairs"] + found["data"]["dropped"]["overlong"] == 10
    with pytest.raises(DataError, match="none of 10 pairs is left; the first: "):
        evaluate(5)


def test_broken_weights_are_reported_with_a_pair(
    tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    with torch.no_grad():
        tiny_policy.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(RunFailed, match=r"held-out.jsonl:1: .* not finite"):
        evaluate_model(
            tiny_policy, held_out, tiny_renderer, objective=SIMPO, label="x", settings=EvaluateRecipe()
        )


def test_progress_reaches_all_pairs_and_prompts(
    tiny_policy: Policy, held_out: Dataset, tiny_renderer: Renderer
) -> None:
    seen: list[tuple[int, int]] = []
    evaluate_model(
        tiny_policy, held_out, tiny_renderer,
        objective=SIMPO, label="x", settings=WRITING, progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert seen == [(3, 14), (6, 14), (9, 14), (10, 14), (13, 14), (14, 14)]


def test_the_prompts_chosen_depend_on_the_seed_and_not_on_the_order_of_rows(
    held_out: Dataset, tiny_renderer: Renderer
) -> None:
    groups = render_rows(held_out.rows, tiny_renderer).groups

    def chosen(rows: Any, count: int, seed: int) -> list[str]:
        return [group.row.prompt_id for group in choose_prompts(rows, count, seed=seed)]

    assert chosen(groups, 4, 0) == chosen(groups[::-1], 4, 0) == chosen(groups, 6, 0)[:4]
    assert chosen(groups, 6, 1) != chosen(groups, 6, 0)
    assert len(set(chosen(groups, 100, 0))) == 6


@pytest.mark.parametrize("name", ["simpo", "dpo", "orpo", "alphapo", "repo", "simper", "sft"])
def test_the_method_is_described_as_the_recipe_describes_it(name: str) -> None:
    found = method_json(Objective.of(name))
    assert found["name"] == name
    assert found["description"].startswith(name)


def test_the_method_shows_the_margin_in_both_units() -> None:
    found = method_json(Objective.of("simpo", {"beta": 2.5, "gamma": 0.1}))
    assert found["parameters"] == {"beta": 2.5, "gamma": 0.1, "label_smoothing": 0.0, "sft_weight": 0.0}
    assert "gamma 0.1 nats per token (reward margin 0.25)" in found["description"]


@pytest.mark.parametrize("label", ["", ".", "../x", "a/b", "-" * 101, "a b", "nul\0"])
def test_a_label_is_a_plain_file_name(label: str) -> None:
    with pytest.raises(RecipeError, match="label"):
        check_label(label)
