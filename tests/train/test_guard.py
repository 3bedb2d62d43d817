"""The guard at work: when it looks, what it writes down, and what becomes of a run that collapses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.core.guard import Figures
from simpo.errors import DataError, Interrupted, RecipeError, RunFailed
from simpo.runs.checkpoint import best_model_folder
from simpo.train.advice import first_knobs, similarity
from simpo.train.feedback import feedback_rates
from simpo.train.guard import Guard, GuardState
from simpo.train.prepare import Prepared, prepare
from simpo.train.run import resume
from simpo.train.step import StepRecord
from tests.equivalence.test_resume import assert_same_run, at
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop, pair_rows, write_rows

UNWATCHED: dict[str, Any] = {"data": {"validation": None, "validation_fraction": 0}}
ABSURD: dict[str, Any] = {"lr": 1.0, "schedule": "constant", "warmup": 0.0}


def looks(run: Trained) -> list[tuple[int, str, str]]:
    return [(event["step"], event["why"], event["verdict"]) for event in run.events("guard")]


def test_the_guard_looks_at_the_start_and_at_every_evaluation(workshop: Workshop) -> None:
    run = workshop.train("run")
    assert looks(run) == [
        (0, "start", "healthy"),
        *((step, "evaluation", "healthy") for step in (2, 3, 4, 6)),
    ]
    first, *_, last = run.events("guard")
    assert first["num_prompts"] == 2 and first["figures"] == first["start"]
    assert last["start"] == {**first["figures"], "grad_norm": last["start"]["grad_norm"]}
    assert last["figures"]["median_tokens"] == 6 and last["figures"]["room"] in (6, 24)
    evaluation = run.events("evaluate")[-1]
    for name in ("chosen_logps", "loss", "saturated"):
        assert last["figures"][name] == evaluation[name]
    check_run(run.path)


def test_it_also_looks_every_k_steps_and_before_each_save(workshop: Workshop) -> None:
    run = workshop.train("run", guard={"every": 5}, train={"evaluate_every": None, "save_every": 2})
    assert [(step, why) for step, why, _ in looks(run)] == [
        (0, "start"),
        (2, "save"),
        (3, "evaluation"),
        (4, "save"),
        (5, "schedule"),
        (6, "evaluation"),
    ]
    check_run(run.path)


def test_without_validation_rows_the_batches_stand_in_for_them(workshop: Workshop) -> None:
    run = workshop.train("run", **UNWATCHED, train={"evaluate_every": None, "lr": 1e-2})
    start, *_, last = run.events("guard")
    assert start["figures"]["chosen_logps"] is None
    first = run.curve("chosen_logps")[0]
    assert last["start"]["chosen_logps"] == pytest.approx(first)
    recent = run.curve("chosen_logps")[-4:]
    assert last["figures"]["chosen_logps"] == pytest.approx(sum(recent) / 4)
    check_run(run.path)


@pytest.mark.parametrize("off", [{"guard": {"prompts": 0}}, {"method": {"name": "sft"}}], ids=["off", "sft"])
def test_a_run_without_a_guard_has_no_looks(off: dict[str, Any], workshop: Workshop) -> None:
    run = workshop.train("run", **off)
    assert looks(run) == []
    check_run(run.path)


def test_a_guard_for_sft_is_an_error() -> None:
    from simpo.recipe import resolve_recipe

    values = {"output": "x", "model": {"name": "m"}, "data": {"train": "t"}, "method": {"name": "sft"}}
    with pytest.raises(RecipeError, match="guard has no effect with method sft"):
        resolve_recipe({**values, "guard": {"every": 3}})
    assert "guard" not in resolve_recipe(values).to_yaml()


def test_the_guard_changes_nothing_in_training(workshop: Workshop) -> None:
    """With dropout, which draws from the random state that a reply might have moved."""
    adapter = {"type": "lora", "r": 4, "dropout": 0.3}
    without = workshop.train("without", adapter=adapter, guard={"prompts": 0})
    with_guard = workshop.train(
        "with", adapter=adapter, guard={"prompts": 5, "every": 1, "max_new_tokens": 20}
    )
    for kind in ("step", "evaluate"):
        theirs = [{k: v for k, v in e.items() if k not in ("time", "seconds")} for e in without.events(kind)]
        ours = [{k: v for k, v in e.items() if k not in ("time", "seconds")} for e in with_guard.events(kind)]
        assert ours == theirs
    ours_weights, their_weights = with_guard.weights(), without.weights()
    assert all(torch.equal(ours_weights[name], their_weights[name]) for name in their_weights)


def test_a_collapse_stops_the_run_and_keeps_the_checkpoint_from_before(workshop: Workshop) -> None:
    """Three gentle steps and their checkpoint; then the recipe in the folder is changed for the worse."""
    settings = {"schedule": "constant", "warmup": 0.0, "evaluate_every": 1, "lr": 1e-3}
    with pytest.raises(Interrupted):
        workshop.train("run", at("step", 4), train=settings)
    run = Trained(workshop.folder / "run")
    good = best_model_folder(run.path)
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    best_step = max(event["step"] for event in run.events("evaluate") if event["best"])
    recipe = run.folder.recipe_path
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("lr: 0.001", "lr: 1.0"), encoding="utf-8")
    with pytest.raises(RunFailed, match="the model is collapsing at step") as failure:
        resume(run.path)
    assert failure.value.exit_status == 5
    assert "lower train.lr (1 is high for a full fine-tune; try 1e-06)" in str(failure.value.fix)
    (event,) = [event for event in run.events("guard") if event["verdict"] == "collapsing"]
    kept = event["kept"]
    assert kept >= best_step and f"the checkpoint of step {kept} is kept" in failure.value.message
    assert event["advice"][0].startswith("lower train.lr") and event["samples"]
    assert run.folder.lineage()["status"] == "failed"
    assert run.events()[-1]["event"] == "failed"
    folder = best_model_folder(run.path)
    assert folder.parent.name == f"step-{kept:06d}"
    if kept == best_step:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert max(int(name[-6:]) for name in run.checkpoints() if name.startswith("step-")) < event["step"]
    check_run(run.path)


def test_a_run_that_collapses_at_once_leaves_no_checkpoint(workshop: Workshop) -> None:
    with pytest.raises(RunFailed, match="no checkpoint was saved before"):
        workshop.train("run", train=ABSURD)
    run = Trained(workshop.folder / "run")
    assert run.checkpoints() == []
    with pytest.raises(RecipeError, match="no checkpoint yet"):
        best_model_folder(run.path)
    check_run(run.path)


def test_where_the_user_wants_it_a_collapse_is_only_told_and_is_never_the_best(workshop: Workshop) -> None:
    run = workshop.train("run", train=ABSURD, guard={"stop_on_collapse": False})
    verdicts = {step: verdict for step, _, verdict in looks(run)}
    assert verdicts[6] == "collapsing" and run.events("stop")[0]["step"] == 6
    fallen = {step for step, verdict in verdicts.items() if verdict == "collapsing"}
    assert not fallen & {event["step"] for event in run.events("evaluate") if event["best"]}
    check_run(run.path)


def test_a_run_that_is_taken_up_again_goes_on_suspecting(workshop: Workshop) -> None:
    """What the guard remembers travels in the checkpoint: interrupted anywhere, the story is the same."""
    settings = {"lr": 3e-2, "schedule": "constant", "warmup": 0.0, "save_every": 1}
    sections: dict[str, Any] = {"train": settings, "guard": {"stop_on_collapse": False, "every": 2}}
    straight = workshop.train("straight", **sections)
    for step in (1, 3, 4, 5):
        name = f"cut-{step}"
        with pytest.raises(Interrupted):
            workshop.train(name, at("step", step), **sections)
        resume(workshop.folder / name)
        assert_same_run(straight, Trained(workshop.folder / name))


def record(**changes: float) -> StepRecord:
    plain = StepRecord(
        loss=0.7,
        grad_norm=1.0,
        pairs=8,
        tokens=100,
        chosen_logps=-2.0,
        rejected_logps=-3.0,
        margin=1.0,
        accuracy=0.6,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"chosen_logps": -7.0}, {"grad_norm": 11.0}, {"loss": 50.0}],
    ids=["likelihood", "gradient", "loss"],
)
def test_batches_that_give_cause_bring_a_look_forward(change: dict[str, float], workshop: Workshop) -> None:
    recipe = workshop.recipe("any").recipe
    guard = Guard(recipe, prepare(recipe))
    state = GuardState(start={}, looked_step=0)
    for _ in range(5):
        state = state.after_step(record())
    assert guard.due(state, 5, saving=False) is None
    alarmed = state.after_step(record(**change))
    assert guard.due(alarmed, 6, saving=False) == "alarm"
    assert guard.due(dataclasses.replace(alarmed, alarm_from=7), 6, saving=False) is None


def test_what_the_guard_remembers_survives_json() -> None:
    state = GuardState(start=dataclasses.asdict(Figures(stopped=1.0)), suspected=("stops",)).after_step(
        record()
    )
    assert GuardState.read(json.loads(json.dumps(dataclasses.asdict(state)))) == state


def prepared_of(
    workshop: Workshop, rows: list[dict[str, str]] | None = None, **sections: Any
) -> tuple[Any, Prepared]:
    if rows is not None:
        sections["data"] = {"train": write_rows(workshop.folder / "own.jsonl", rows)}
    recipe = workshop.recipe("any", **sections).recipe
    return recipe, prepare(recipe)


@pytest.mark.parametrize(
    ("sections", "first"),
    [
        ({"train": {"lr": 1e-4}}, "lower train.lr (0.0001 is high for a full fine-tune; try 1e-06)"),
        (
            {"train": {"lr": 5e-3}, "adapter": {"type": "lora"}},
            "lower train.lr (0.005 is high for an adapter",
        ),
        ({"train": {"lr": 1e-6}, "method": {"gamma": 5.0}}, "take a smaller method.gamma (5 nats per token"),
        ({"train": {"lr": 1e-6}, "method": {"beta": 0.1}}, "take a larger method.beta (0.1 leaves"),
        ({"train": {"lr": 1e-6, "epochs": 10}}, "take fewer train.epochs (4 of 10 were done"),
        ({"train": {"lr": 9e-7}}, "lower train.lr (9e-07; try 3e-07)"),
    ],
)
def test_the_knob_to_turn_first_is_the_one_furthest_from_what_works(
    sections: dict[str, Any], first: str, workshop: Workshop
) -> None:
    recipe, prepared = prepared_of(workshop, **sections)
    assert first_knobs(recipe, prepared.train, 4.0)[0].startswith(first)


def test_pairs_that_hardly_differ_are_named(workshop: Workshop) -> None:
    reply = "I have refunded the second charge. It takes three to five working days to reach your account"
    rows = [{**row, "chosen": reply + ".", "rejected": reply + "!"} for row in pair_rows(6)]
    recipe, prepared = prepared_of(workshop, rows, train={"lr": 1e-6})
    assert similarity(prepared.train) > 0.9
    assert first_knobs(recipe, prepared.train, 1.0)[0].startswith("leave out pairs that hardly differ")
    assert similarity(prepared_of(workshop)[1].train) < 0.8


def test_rates_of_overrides_and_escalations_are_written_down_at_the_end_of_each_epoch(
    workshop: Workshop,
) -> None:
    feedback = workshop.folder / "feedback.jsonl"
    feedback.write_text(
        '{"override": true, "escalation": false}\n\n{"override": false}\n{"override": false}\n{"override": true}\n'
    )
    run = workshop.train("run", guard={"feedback": str(feedback)})
    assert [
        (event["step"], event["epoch"], event["rows"], event["override"], event["escalation"])
        for event in run.events("feedback")
    ] == [(3, 1.0, 4, 0.5, 0.0), (6, 2.0, 4, 0.5, 0.0)]
    check_run(run.path)


@pytest.mark.parametrize("line", ['{"override": "yes"}', "[]", "{}", "{", '{"override": 1}'])
def test_a_line_of_feedback_that_says_neither_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text('{"override": true}\n' + line + "\n")
    with pytest.raises(DataError) as error:
        feedback_rates(path)
    assert error.value.where == f"{path}:2"


def test_feedback_that_goes_away_is_a_note_and_the_run_goes_on(workshop: Workshop) -> None:
    feedback = workshop.folder / "feedback.jsonl"
    feedback.write_text('{"override": true}\n')

    def remove(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 4):
            feedback.unlink()

    run = workshop.train("run", remove, guard={"feedback": str(feedback)})
    assert [event["step"] for event in run.events("feedback")] == [3]
    assert "the feedback cannot be read" in run.events("note")[0]["message"]
    assert run.events("stop")[0]["step"] == 6


def test_feedback_that_is_not_there_is_an_error_before_training(workshop: Workshop) -> None:
    with pytest.raises(DataError, match="feedback cannot be read"):
        workshop.train("run", guard={"feedback": str(workshop.folder / "nowhere.jsonl")})
    assert not (workshop.folder / "run").exists()
