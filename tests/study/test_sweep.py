"""Sweeps of the tiny model: what is tried, shared and chosen; killed and gone on with; by one worker or by two."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.errors import Interrupted, RecipeError, RunFailed, SimpoError
from simpo.recipe import load_recipe, resolve_recipe
from simpo.study.measure import Settings, measure
from simpo.study.sweep.run import run_sweep
from simpo.study.sweep.space import load_sweep
from simpo.train.run import train
from tests.runs.schema import check_run
from tests.study.sweeping import Toy, Workers, bytes_told, results
from tests.train.driver import wait_until
from tests.train.made_up import Trained, example_rows, write_rows

KILLS = int(os.environ.get("SIMPO_SWEEP_KILLS", "4"))  # the slow form: SIMPO_SWEEP_KILLS=10

FIRST, SECOND, ABSURD = (f"lr-{lr}_gamma-0.5_beta-2" for lr in ("0.0003", "0.003", "1"))


@pytest.fixture
def toy(tmp_path: Path, tiny_model_dir: Path) -> Toy:
    return Toy(tmp_path, tiny_model_dir)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    started = Workers()
    yield started
    started.close()


def sweep_of(
    toy: Toy, name: str, section: dict[str, Any] | None = None, listen: Any = None, **sections: Any
) -> dict[str, Any]:
    return run_sweep(load_sweep(toy.recipe(section, name, **sections)), toy.out(name), listen=listen)


def trial(table: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in table["trials"] if each["name"] == name)
    return dict(found)


def test_a_sweep_tries_chooses_and_says_why(toy: Toy) -> None:
    table = sweep_of(toy, "sweep")
    assert table == json.loads((toy.out("sweep") / "sweep.json").read_text(encoding="utf-8"))
    assert (table["schema"], table["kind"], table["status"], table["strategy"]) == (
        1,
        "sweep",
        "done",
        "staged",
    )
    assert [stage["key"] for stage in table["stages"]] == ["train.lr", "method.gamma", "method.beta"]
    assert table["stages"][0]["trials"] == [FIRST, SECOND, ABSURD]
    assert [each["name"] for each in table["trials"]][:3] == [FIRST, SECOND, ABSURD]
    assert (
        trial(table, ABSURD)["status"] == "collapsed"
        and "collapsing at step" in trial(table, ABSURD)["message"]
    )
    assert "1 of" in table["notes"][0] and "collapsed" in table["notes"][0]
    best = trial(table, SECOND)
    assert best["status"] == "done" and best["steps"] == best["planned_steps"] == 5
    assert [point["step"] for point in best["curve"]] == [0, 2, 4, 5]
    assert best["gap"] == pytest.approx(best["train_accuracy"] - best["accuracy"]["value"])
    assert best["paraphrase_accuracy"]["value"] <= 1 and best["drift"] > trial(table, FIRST)["drift"] > 0
    assert table["data"]["num_validation"] == 12 and table["data"]["num_paraphrases"] == 8
    chosen = table["chosen"]
    assert chosen["name"] in chosen["ties"] and table["runner_up"]["name"] != chosen["name"]
    assert trial(table, chosen["name"])["stages"], "the chosen one belongs to a stage"
    for each in table["trials"]:
        check_run(toy.out("sweep") / each["run"])


def test_the_chosen_setting_and_no_other_meets_the_test_pairs_once(toy: Toy) -> None:
    table = sweep_of(toy, "sweep")
    out = toy.out("sweep")
    measured = [path.parts[-3] for path in out.glob("trials/*/evaluation/*.json")]
    assert measured == [table["chosen"]["name"]]
    after = json.loads(
        (out / "trials" / measured[0] / "evaluation" / "after.json").read_text(encoding="utf-8")
    )
    assert table["chosen"]["test"] == after["preference"]["accuracy"]["reward"]
    assert "used once" in table["chosen"]["test_note"]
    recipe = load_recipe(out / "chosen.yaml").recipe
    assert recipe.train.lr == trial(table, measured[0])["settings"]["train.lr"] and recipe.train.seed == 1
    again = run_sweep(load_sweep(toy.folder / "sweep.yaml"), out)
    assert {**again, "updated": 0} == {**table, "updated": 0}


def test_a_judge_is_not_asked_where_a_sweep_wants_no_replies_and_stays_in_the_chosen_recipe(toy: Toy) -> None:
    judge = "examples.harbor.judge:score"
    table = sweep_of(toy, "sweep", {"method.beta": [2.0]}, evaluate={"judge": judge})
    assert table["chosen"]["test"] is not None
    assert load_recipe(toy.out("sweep") / "chosen.yaml").recipe.evaluate.judge == judge


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"evaluate": {"generate": 2, "judge": "no_such:judge"}}, "no_such"),
        ({"data": {"test": "no-such.jsonl"}}, "no-such.jsonl"),
    ],
)
def test_what_the_last_look_could_not_use_is_found_before_any_trial(
    toy: Toy, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(SimpoError, match=said):
        sweep_of(toy, "sweep", {"method.beta": [2.0]}, **sections)
    assert not toy.out("sweep").exists()


def test_without_test_pairs_that_is_said(toy: Toy) -> None:
    table = sweep_of(toy, "sweep", {"method.beta": [2.0]}, data={"test": None})
    assert table["chosen"]["test"] is None and "no data.test" in table["chosen"]["test_note"]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"adapter": {"type": "lora", "r": 4, "dropout": 0.3}},
        {"method": {"name": "dpo"}, "adapter": {"type": "lora", "r": 4, "dropout": 0.3}},
        {"train": {"gradient_checkpointing": True}, "method": {"name": "dpo", "reference": "live"}},
    ],
    ids=["full", "lora", "dpo", "checkpointing"],
)
def test_a_trial_in_a_sweep_is_the_run_it_would_be_alone_bit_for_bit(
    sections: dict[str, Any], toy: Toy
) -> None:
    """The second and third trial train what the first one has trained before them and was put back."""
    lrs = {"train.lr": [1e-2, 1e-3, 3e-3], "prune": False}
    table = sweep_of(toy, "sweep", lrs, **sections)
    assert [each["status"] for each in table["trials"]] == ["done"] * 3
    for each in table["trials"]:
        shared = Trained(toy.out("sweep") / each["run"])
        text = (shared.path / "recipe.yaml").read_text(encoding="utf-8")
        alone_recipe = toy.folder / "alone.yaml"
        shutil.rmtree(toy.folder / "alone", ignore_errors=True)
        alone_recipe.write_text(text.replace(str(shared.path), str(toy.folder / "alone")), encoding="utf-8")
        alone = Trained(train(load_recipe(alone_recipe)).path)
        assert alone.trajectory() == shared.trajectory()
        ours, theirs = shared.weights(), alone.weights()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_its_accuracy_is_the_one_that_eval_finds(toy: Toy) -> None:
    table = sweep_of(toy, "sweep", {"train.lr": [1e-2]}, adapter={"type": "lora", "r": 4})
    (each,) = table["trials"]
    _, report = measure(
        str(toy.out("sweep") / each["run"]),
        Settings(data=(str(toy.folder / "validation.jsonl"),)),
        out=toy.folder,
    )
    assert report["preference"]["accuracy"]["reward"] == each["accuracy"]
    assert report["preference"]["chosen_logps"] == pytest.approx(each["chosen_logps"], abs=1e-5)


def test_a_hopeless_trial_is_stopped_early_and_loses(toy: Toy) -> None:
    """Training on the rejected replies from the third trial on would be hopeless; so are vanishing learning rates."""
    table = sweep_of(
        toy, "sweep", {"train.lr": [1e-2, 2e-2, 1e-9], "evaluations": 5}, adapter={"type": "lora"}
    )
    hopeless = table["trials"][2]
    assert hopeless["status"] == "pruned" and hopeless["steps"] < 5
    assert "the best trial had" in hopeless["message"] and hopeless["accuracy"]["low"] is None
    assert table["chosen"]["name"] != hopeless["name"]
    spared = sweep_of(toy, "spared", {"train.lr": [1e-2, 2e-2, 1e-9], "evaluations": 5, "prune": False})
    assert spared["trials"][2]["status"] == "done"


def test_where_every_trial_collapses_the_sweep_fails_and_tells(toy: Toy) -> None:
    with pytest.raises(
        RunFailed, match="none of 2 trials came to its end; the first: the model is collapsing"
    ):
        sweep_of(toy, "sweep", {"train.lr": [1.0, 2.0]}, train={"schedule": "constant", "warmup": 0.0})
    table = json.loads((toy.out("sweep") / "sweep.json").read_text(encoding="utf-8"))
    assert table["status"] == "done" and table["chosen"] is None
    assert [each["status"] for each in table["trials"]] == ["collapsed", "collapsed"]


def test_a_folder_that_holds_something_else_is_refused(toy: Toy) -> None:
    sweep = load_sweep(toy.recipe())
    for out in (toy.folder, toy.folder / "sweep.yaml"):
        before = sorted(toy.folder.iterdir())
        with pytest.raises(RecipeError) as error:
            run_sweep(sweep, out)
        assert error.value.exit_status == 2 and sorted(toy.folder.iterdir()) == before


def test_trials_on_a_merged_parent_share_one_base(toy: Toy) -> None:
    recipe = {
        "output": str(toy.folder / "parent"),
        "model": {"name": str(toy.model)},
        "data": {"train": write_rows(toy.folder / "sft.jsonl", example_rows(8)), "validation_fraction": 0},
        "method": {"name": "sft"},
        "adapter": {"type": "lora", "r": 4},
        "train": {"lr": 1e-2, "batch_size": 8},
    }
    parent = train(resolve_recipe(recipe)).path
    sections: dict[str, Any] = {"model": {"name": str(parent)}, "adapter": {"type": "lora", "r": 4}}
    table = sweep_of(toy, "sweep", {"train.lr": [1e-3, 1e-2]}, **sections)
    out = toy.out("sweep")
    assert len([path for path in out.rglob("base") if path.is_dir()]) == 1
    for each in table["trials"]:
        _, report = measure(
            str(out / each["run"]), Settings(data=(str(toy.folder / "validation.jsonl"),)), out=toy.folder
        )
        assert report["preference"]["accuracy"]["reward"] == each["accuracy"]


def test_another_sweep_in_the_same_folder_is_refused_and_changes_nothing(toy: Toy) -> None:
    sweep_of(toy, "sweep", {"method.beta": [2.0]})
    before = (toy.out("sweep") / "sweep.json").read_bytes()
    with pytest.raises(RecipeError, match="begun with another recipe or other ranges"):
        sweep_of(toy, "sweep", {"method.beta": [3.0]})
    assert (toy.out("sweep") / "sweep.json").read_bytes() == before


def test_trials_that_would_be_measured_on_other_pairs_are_refused(toy: Toy) -> None:
    with pytest.raises(RecipeError, match="measured on other pairs"):
        sweep_of(toy, "sweep", {"data.max_length": [256, 75]})


def test_ctrl_c_saves_the_trial_and_the_same_command_goes_on(toy: Toy) -> None:
    straight = sweep_of(toy, "straight")

    def press(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 3):
            os.kill(os.getpid(), signal.SIGINT)

    torn = toy.out("torn")
    for _ in range(2):
        with pytest.raises(Interrupted, match="at step 3 of 5"):
            sweep_of(toy, "torn", listen=press)
        assert json.loads((torn / "sweep.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    sweep_of(toy, "torn")
    assert comparable(torn) == comparable(toy.out("straight"))
    assert straight["status"] == "done"


def comparable(out: Path) -> dict[str, Any]:
    """The results, but for the name of the recipe's file."""
    return {key: value for key, value in results(out).items() if key != "recipe"}


def test_a_sweep_killed_at_random_moments_ends_with_the_table_of_an_undisturbed_one(
    toy: Toy, workers: Workers
) -> None:
    recipe, straight, killed = toy.recipe(), toy.out("straight"), toy.out("killed")
    assert workers.wait(workers.start(recipe, straight)) == 0
    end, chance = bytes_told(straight), random.Random(KILLS)
    moments = sorted(chance.randrange(end) for _ in range(KILLS))
    statuses = []
    for moment in moments:
        pid = workers.start(recipe, killed)
        wait_until(lambda pid=pid, moment=moment: bytes_told(killed) > moment or not workers.alive(pid))  # type: ignore[misc]
        if workers.alive(pid):
            os.kill(pid, signal.SIGKILL)
        statuses.append(workers.wait(pid))
    assert workers.wait(workers.start(recipe, killed)) == 0
    assert statuses.count(-signal.SIGKILL) >= KILLS // 2  # the last ones may have come after its end
    assert results(killed) == results(straight)
    for each in results(killed)["trials"]:
        one, other = (Trained(out / each["run"]) for out in (killed, straight))
        assert one.trajectory() == other.trajectory()
        told = [event["step"] for event in read_lines(one.path) if event["event"] == "stop"]
        assert len(told) <= 1, "a finished trial was trained again"


def read_lines(run: Path) -> list[dict[str, Any]]:
    """Every event that was ever written, those of steps that were taken again as well."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def test_two_workers_share_a_sweep_and_run_each_trial_once(toy: Toy, workers: Workers) -> None:
    section = {
        "strategy": "grid",
        "train.lr": [1e-3, 2e-3, 3e-3, 4e-3],
        "method.beta": [2.0, 5.0],
        "prune": False,
    }
    recipe, out = toy.recipe(section), toy.out("shared")
    pids = [workers.start(recipe, out) for _ in range(2)]
    assert [workers.wait(pid) for pid in pids] == [0, 0]
    table = results(out)
    assert len(table["trials"]) == 8 and {each["status"] for each in table["trials"]} == {"done"}
    for each in table["trials"]:
        events = Counter(event["event"] for event in read_lines(out / each["run"]))
        assert events["start"] == events["stop"] == 1 and events["step"] == 5
    alone = toy.out("alone")
    assert workers.wait(workers.start(recipe, alone)) == 0
    assert results(alone) == table
