"""What the loop decides: when to evaluate, save, prune and stop, and which checkpoint is the run's result."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.core.methods import METHODS
from simpo.data.read import read_rows
from simpo.data.render import Renderer, render_rows
from simpo.errors import Interrupted, RecipeError
from simpo.model.load import load_policy
from simpo.model.score import score_all
from simpo.recipe import ModelRecipe
from simpo.runs.folder import RunFolder, read_json
from simpo.train.prepare import Prepared
from simpo.train.run import resume, train
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop, pair_rows, write_rows
from tests.train.plainly import detached_logps, oracle_loss

CPU = torch.device("cpu")
WHOLE = {"batch_size": 20, "micro_batch_size": 10, "evaluate_every": None}


def steps_of(run: Trained, kind: str) -> list[int]:
    return [event["step"] for event in run.events(kind)]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_begins_at_the_oracles_loss_and_goes_down(name: str, workshop: Workshop) -> None:
    """Two steps of all the rows; the reference is where training begins, so that a DPO starts at log 2."""
    run = workshop.train(name, method={"name": name}, train={**WHOLE, "lr": 1e-3, "warmup": 0.0})
    pairwise = METHODS[name].pairwise
    kind = "pairs" if pairwise else "examples"
    rows = read_rows(workshop.rows(kind)["train"], kind="pairs" if pairwise else "examples").rows
    policy = load_policy(ModelRecipe(name=str(workshop.model)), device=CPU)
    groups = render_rows(rows, Renderer(policy.tokenizer, stop_ids=policy.stop_ids)).groups
    own = [detached_logps(policy.model.double(), group) for group in groups]
    if pairwise:
        expected = math.fsum(oracle_loss(logps, logps, name) for logps in own) / len(own)
    else:
        tokens = [logp for logps in own for logp in logps[0]]
        expected = -math.fsum(tokens) / len(tokens)
    first, second = run.curve("loss")
    assert first == pytest.approx(expected, rel=2e-6, abs=2e-6)
    assert second < first
    check_run(run.path)


@pytest.mark.parametrize("sections", [{}, {"adapter": {"type": "lora"}}], ids=["full", "lora"])
def test_a_model_learns_eight_pairs_by_heart(sections: dict[str, Any], workshop: Workshop) -> None:
    train_settings = {
        "lr": 1e-2,
        "epochs": 25,
        "schedule": "constant",
        "evaluate_every": None,
    }
    data = {"train": workshop.rows(count=8)["train"], "validation": None, "validation_fraction": 0}
    run = workshop.train("overfit", **sections, data=data, train=train_settings)
    accuracy, margin = run.curve("accuracy"), run.curve("margin")
    assert accuracy[0] < 1 and accuracy[-1] == 1
    assert margin[-1] > 2.0 * 0.5, "the mean margin passes beta * gamma"
    assert run.curve("loss")[-1] < 0.3 < run.curve("loss")[0]


def test_evaluations_and_saves_come_when_they_are_due(workshop: Workshop) -> None:
    """3 steps an epoch, 2 epochs: at the start, every second step, and where an epoch ends."""
    run = workshop.train("run")
    assert steps_of(run, "evaluate") == [0, 2, 3, 4, 6]
    assert steps_of(run, "checkpoint") == [2, 3, 4, 6]
    assert [event["epoch"] for event in run.events("evaluate")] == [0, 0.6667, 1, 1.3333, 2]
    assert [event["pairs"] for event in run.events("step")] == [8, 8, 4, 8, 8, 4]
    often = workshop.train("often", train={"save_every": 1, "evaluate_every": None})
    assert steps_of(often, "evaluate") == [0, 3, 6]
    assert steps_of(often, "checkpoint") == [1, 2, 3, 4, 5, 6]
    unwatched = workshop.train(
        "unwatched", data={"validation": None, "validation_fraction": 0}, train={"evaluate_every": None}
    )
    assert steps_of(unwatched, "evaluate") == []
    assert steps_of(unwatched, "checkpoint") == [3, 6]
    assert unwatched.events("stop")[0]["best_step"] == 6
    check_run(unwatched.path)


@pytest.mark.parametrize(
    ("settings", "steps", "reason"),
    [
        ({"epochs": 1}, 3, "done"),
        ({"epochs": 0.3}, 1, "done"),
        ({"max_steps": 2}, 2, "max_steps"),
        ({"max_steps": 9}, 6, "done"),
    ],
)
def test_a_run_takes_the_steps_of_its_plan_and_says_why_it_stopped(
    settings: dict[str, Any], steps: int, reason: str, workshop: Workshop
) -> None:
    run = workshop.train("run", train=settings)
    assert run.events("start")[0]["plan"]["steps"] == steps
    assert steps_of(run, "step") == list(range(1, steps + 1))
    assert run.events("stop")[0]["reason"] == reason
    assert steps_of(run, "evaluate")[-1] == steps


def contrary(workshop: Workshop) -> dict[str, Any]:
    """Validation pairs that prefer what training unlearns: the loss on them grows with every step."""
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pair_rows(5)]
    return {"validation": write_rows(workshop.folder / "contrary.jsonl", rows)}


def test_the_best_checkpoint_is_kept_and_is_what_a_run_folder_loads_as(workshop: Workshop) -> None:
    run = workshop.train("run", data=contrary(workshop), train={"lr": 1e-2, "warmup": 0.0})
    losses = {event["step"]: event["loss"] for event in run.events("evaluate") if event["step"] > 0}
    best = min(losses, key=losses.__getitem__)
    assert best < 6, "the last step is the worst here"
    assert run.events("stop")[0]["best_step"] == best
    assert [event["step"] for event in run.events("evaluate") if event["best"]][-1] == best
    assert run.checkpoints() == ["best.json", f"step-{best:06d}", "step-000006"]
    check_run(run.path)

    policy = load_policy(ModelRecipe(name=str(run.path)), device=CPU)
    assert policy.parent_run == run.path
    rows = read_rows(contrary(workshop)["validation"], kind="pairs").rows
    groups = render_rows(rows, Renderer(policy.tokenizer, stop_ids=policy.stop_ids)).groups
    logps = score_all(policy.model, groups)
    margins = logps.mean[0::2] - logps.mean[1::2]
    told = next(event for event in run.events("evaluate") if event["step"] == best)
    assert 2.0 * float(margins.mean()) == pytest.approx(told["margin"], rel=1e-5)


def test_a_run_stops_when_validation_has_not_improved_for_its_patience(workshop: Workshop) -> None:
    settings = {"lr": 1e-2, "warmup": 0.0, "evaluate_every": 1, "patience": 2}
    run = workshop.train("run", data=contrary(workshop), train=settings)
    (stop,) = run.events("stop")
    assert stop["reason"] == "early_stop" and stop["step"] == stop["best_step"] + 2 < 6
    losses = [event["loss"] for event in run.events("evaluate")][1:]
    assert min(losses) == losses[-3], "the two evaluations after the best were no better"
    assert steps_of(run, "step") == list(range(1, stop["step"] + 1))
    assert run.folder.lineage()["status"] == "done"
    check_run(run.path)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_and_the_best_are_kept(keep: int, workshop: Workshop) -> None:
    best, looked = 0, 0

    def look(event: dict[str, Any]) -> None:
        nonlocal best, looked
        step = event["step"]
        if event["event"] == "evaluate" and event["best"]:
            best = step
        if event["event"] == "checkpoint":
            kept = sorted({best} | set(range(max(1, step - keep + 1), step + 1)))
            names = Trained(workshop.folder / "run").checkpoints()
            assert names == ["best.json", *(f"step-{number:06d}" for number in kept)]
            looked += 1

    settings = {"lr": 1e-2, "warmup": 0.0, "evaluate_every": 1, "keep_checkpoints": keep}
    workshop.train("run", look, data=contrary(workshop), train=settings)
    assert looked == 6 and 0 < best < 6


def test_a_run_that_is_done_is_left_as_it_is(workshop: Workshop) -> None:
    run = workshop.train("run")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert resume(run.path).path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_run_killed_after_its_last_event_is_closed_without_another_step(workshop: Workshop) -> None:
    run = workshop.train("run")
    told = run.trajectory()
    run.folder.update_lineage(status="running")  # the kill came between the event and this
    resume(run.path)
    assert run.trajectory() == told
    assert len(run.events("stop")) == 1 and run.folder.lineage()["status"] == "done"
    check_run(run.path)


def test_the_validation_figures_are_those_of_training(workshop: Workshop) -> None:
    """Trained and validated on the same rows, the start's evaluation is the first step's figures."""
    rows = workshop.rows()["train"]
    for name in ("simpo", "sft"):
        data = {} if name == "sft" else {"validation": rows}
        if name == "sft":
            data = {"validation": workshop.rows("examples")["train"]}
        run = workshop.train(name, method={"name": name}, data=data, train={**WHOLE, "epochs": 1})
        evaluated, first = run.events("evaluate")[0], run.events("step")[0]
        for figure in {"loss", "margin", "accuracy", "chosen_logps", "rejected_logps"} & first.keys():
            assert evaluated[figure] == pytest.approx(first[figure], rel=1e-5), figure


@pytest.mark.parametrize("name", ["dpo", "dpo_norm", "ipo"])
def test_a_policy_that_is_its_reference_prefers_nothing_whatever_the_rounding(
    name: str, workshop: Workshop
) -> None:
    """In bfloat16 two scorings of one model differ by a hundredth of a nat per token: no preference of the model's."""
    run = workshop.train("run", method={"name": name}, train={"precision": "bf16", "micro_batch_size": 3})
    for first in (run.events("evaluate")[0], run.events("step")[0]):
        assert (first["margin"], first["accuracy"]) == (0.0, 0.5)
    assert run.events("step")[-1]["margin"] != 0.0 and run.events("evaluate")[-1]["margin"] != 0.0
    if name == "dpo":  # the loss is told as it was: its distance from log 2 is the rounding
        assert run.curve("loss")[0] == pytest.approx(math.log(2), abs=0.02)


def test_before_is_called_with_the_starting_policy_and_no_step_taken(workshop: Workshop) -> None:
    seen: list[Any] = []

    def before(run: RunFolder, prepared: Prepared) -> None:
        (weights,) = [t for name, t in prepared.policy.model.state_dict().items() if "embed" in name]
        seen.append((run.path, weights.clone(), run.events_path.exists()))

    run = train(workshop.recipe("run"), before=before)
    start = load_policy(ModelRecipe(name=str(workshop.model)), device=CPU)
    assert len(seen) == 1 and seen[0][0] == run.path and not seen[0][2]
    assert torch.equal(seen[0][1], start.model.get_input_embeddings().weight)


def test_a_run_in_a_thread_trains_without_touching_signals(workshop: Workshop) -> None:
    runs: list[Trained] = []
    thread = threading.Thread(target=lambda: runs.append(workshop.train("run", train={"max_steps": 1})))
    thread.start()
    thread.join()
    assert runs[0].folder.lineage()["status"] == "done"


def refused(workshop: Workshop, **sections: Any) -> RecipeError:
    """The error of a recipe that is refused with nothing written."""
    with pytest.raises(RecipeError) as error:
        workshop.train("refused", **sections)
    assert not (workshop.folder / "refused").exists()
    assert not list(workshop.folder.glob(".refused*"))
    assert error.value.exit_status == 2 and error.value.fix
    return error.value


@pytest.mark.parametrize("key", ["patience", "evaluate_every"])
def test_a_setting_of_evaluation_without_validation_rows_is_refused(key: str, workshop: Workshop) -> None:
    error = refused(
        workshop,
        data={"validation": None, "validation_fraction": 0},
        train={"evaluate_every": None, key: 2},
    )
    assert f"train.{key} has no effect" in str(error)


def test_an_adapter_target_that_no_module_has_is_refused_with_the_names_there_are(workshop: Workshop) -> None:
    error = refused(workshop, adapter={"type": "lora", "target": ["q_proj", "qproj"]})
    assert "'qproj'" in str(error) and "k_proj" in str(error)


def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    workshop: Workshop,
) -> None:
    missing = [name for name in ("trackio", "mlflow", "wandb") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("every tracker is installed here")
    assert f"pip install {missing[0]}" in str(refused(workshop, tracking={"tracker": missing[0]}))


def test_several_processes_that_do_not_know_where_to_meet_are_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "MASTER_ADDR" in str(refused(workshop)) and "simpo launch" in str(refused(workshop))


def test_a_run_folder_that_exists_is_refused_and_left_alone(workshop: Workshop) -> None:
    run = workshop.train("run", train={"max_steps": 1})
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(RecipeError, match="exists already") as error:
        workshop.train("run")
    assert f"simpo train --resume {run.path}" in str(error.value.fix)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_the_matmul_precision_is_set_for_the_run_alone(workshop: Workshop) -> None:
    """A CPU without bfloat16 units multiplies as before; on one with them about 3 digits are left."""
    switch: Any = torch.backends.mkldnn
    before = switch.matmul.fp32_precision
    seen: dict[str, set[str]] = {}

    def listener(name: str) -> Any:
        return lambda event: seen.setdefault(name, set()).add(switch.matmul.fp32_precision)

    runs = {
        precision: workshop.train(
            precision, listener(precision), train={"precision": precision, "max_steps": 3}
        )
        for precision in ("float32", "bf16", "bf16_matmul")
    }
    assert seen == {"float32": {before}, "bf16": {before}, "bf16_matmul": {"bf16"}}
    assert switch.matmul.fp32_precision == before
    for precision in ("bf16", "bf16_matmul"):
        assert runs[precision].curve("loss") == pytest.approx(runs["float32"].curve("loss"), rel=0.05)
    with pytest.raises(Interrupted):
        workshop.train("cut", _interrupt, train={"precision": "bf16_matmul"})
    assert switch.matmul.fp32_precision == before


def _interrupt(event: dict[str, Any]) -> None:
    if event["event"] == "start":
        os.kill(os.getpid(), 2)


def test_a_full_fine_tune_can_begin_where_an_adapter_ended(workshop: Workshop) -> None:
    adapted = workshop.train("adapted", adapter={"type": "lora", "r": 4})
    merged = load_policy(ModelRecipe(name=str(adapted.path)), device=CPU)
    start = {name: weight.detach().clone() for name, weight in merged.model.named_parameters()}
    full = workshop.train("full", model={"name": str(adapted.path)}, train={"max_steps": 1})
    trained = full.weights()
    assert trained.keys() == start.keys() and full.curve("grad_norm")[0] > 0
    assert all(not torch.equal(trained[name], start[name]) for name in start)


def test_a_run_tells_its_lineage_from_sft_to_preference(workshop: Workshop) -> None:
    """SFT, then SimPO with an adapter on it, then DPO with an adapter on that: each names all before it."""
    sft = workshop.train("sft", method={"name": "sft"})
    lora = {"type": "lora", "r": 4}
    simpo = workshop.train("simpo", model={"name": str(sft.path)}, adapter=lora)
    dpo = workshop.train("dpo", model={"name": str(simpo.path)}, adapter=lora, method={"name": "dpo"})
    for run in (sft, simpo, dpo):
        check_run(run.path)
    assert [run.folder.lineage()["kind"] for run in (sft, simpo, dpo)] == ["sft", "preference", "preference"]
    lineage = dpo.folder.lineage()
    assert [(parent["run"], parent["kind"]) for parent in lineage["parents"]] == [
        (str(sft.path), "sft"),
        (str(simpo.path), "preference"),
    ]
    assert lineage["model"]["parent_run"] == str(simpo.path)
    assert lineage["parents"][0]["model_hash"] == sft.folder.lineage()["model"]["hash"]
    assert lineage["parents"][1]["data_hash"] == simpo.folder.lineage()["data"]["train"]["hash"]
    # The parent's adapter was merged into weights that exist nowhere else: the run holds them for its own adapter.
    assert (dpo.path / "base" / "config.json").exists()
    loaded = load_policy(ModelRecipe(name=str(dpo.path)), device=CPU)
    told = dpo.events("evaluate")[-1]
    rows: Sequence[Any] = read_rows(workshop.rows()["validation"], kind="pairs").rows
    groups = render_rows(rows, Renderer(loaded.tokenizer, stop_ids=loaded.stop_ids)).groups
    assert float(score_all(loaded.model, groups).mean[0::2].mean()) == pytest.approx(
        told["chosen_logps"], rel=1e-4
    )


def test_recipe_and_rendering_are_written_before_the_first_step(workshop: Workshop) -> None:
    sections: dict[str, Any] = {"method": {"reward_margin": 0.8}, "train": {"max_steps": 1}}

    def look(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            run = RunFolder.open(workshop.folder / "run")
            assert run.load_recipe().resolved()[0] == workshop.recipe("run", **sections).resolved()[0]
            assert json.loads(run.rendering_path.read_text(encoding="utf-8"))
            assert run.lineage()["status"] == "running"

    run = workshop.train("run", look, **sections)
    assert run.folder.load_recipe().recipe.method.parameters["gamma"] == pytest.approx(0.4)


def test_best_json_names_the_step_and_nothing_of_the_machine(workshop: Workshop) -> None:
    run = workshop.train("run", train={"max_steps": 1})
    assert read_json(Path(run.folder.checkpoints) / "best.json") == {"step": 1}
