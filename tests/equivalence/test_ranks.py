"""{one, two, four ranks} x {copies, shards} x {full, adapter}: one trajectory, up to rounding."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import Interrupted
from simpo.train.run import resume
from tests.equivalence.test_training import LORA, PAIR_FIGURES, assert_same_curves, assert_same_weights
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop
from tests.train.team import Team

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "sft": {"method": {"name": "sft"}},
    # What has most to share out: a reference behind the adapter, tokens instead of pairs, batches with fewer pairs than
    # ranks (the last of an epoch has two of three).
    "dpo": {**LORA, "method": {"name": "dpo", "reference": "adapter_off"}},
    "recomputed": {"method": {"name": "dpo", "reference": "live"}, "train": {"gradient_checkpointing": True}},
    "auto": {"train": {"micro_batch_size": None, "max_steps": 2}},
    "few": {"train": {"batch_size": 3, "micro_batch_size": None, "tokens_per_microbatch": 200, "epochs": 1}},
}


FOR_FOUR = ("full", "dpo", "few")


def recipe_file(workshop: Workshop, name: str, sections: dict[str, Any]) -> str:
    """A recipe of the workshop as a file."""
    path = workshop.folder / f"{name}.yaml"
    path.write_text(workshop.recipe(name, **sections).to_yaml(), encoding="utf-8")
    return str(path)


def assert_same_evaluations(one: Trained, several: Trained) -> None:
    """Every validation pair counts once, whatever divides by whatever, and the guard reads the same replies."""
    for ours, theirs in zip(one.events("evaluate"), several.events("evaluate"), strict=True):
        assert ours["num_pairs"] == theirs["num_pairs"] == 5
        for figure in ("loss", "chosen_logps", "margin"):
            if figure in ours:
                assert theirs[figure] == pytest.approx(ours[figure], rel=1e-3, abs=1e-4), figure
    told = [[look["num_prompts"] for look in run.events("guard")] for run in (one, several)]
    assert told[0] == told[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> dict[str, Trained]:
    """Every case trained by one process."""
    workshop = Workshop(tmp_path_factory.mktemp("alone"), tiny_model_dir)
    return {name: workshop.train(name, **sections) for name, sections in CASES.items()}


@pytest.mark.parametrize(
    ("strategy", "size", "cases"),
    [("ddp", 2, tuple(CASES)), ("fsdp2", 2, tuple(CASES)), ("ddp", 4, FOR_FOUR), ("fsdp2", 4, FOR_FOUR)],
)
def test_several_ranks_train_what_one_trains(
    strategy: str,
    size: int,
    cases: tuple[str, ...],
    alone: dict[str, Trained],
    workshop: Workshop,
    team: Team,
) -> None:
    recipes = [
        recipe_file(workshop, name, {**CASES[name], "parallel": {"strategy": strategy}}) for name in cases
    ]
    team.run(size, "train_each", recipes=recipes)
    for name in cases:
        one, several = alone[name], Trained(workshop.folder / name)
        check_run(several.path)
        assert several.events("ranks")[0]["size"] == size
        assert several.events("ranks")[0]["strategy"] == strategy
        figures = PAIR_FIGURES if name != "sft" else ("loss", "grad_norm")
        assert_same_curves(one, several, figures)
        assert_same_weights(one, several)
        assert [event["step"] for event in several.events("step")] == [
            event["step"] for event in one.events("step")
        ]
        assert_same_evaluations(one, several)


# Going on with another number of ranks


@pytest.mark.parametrize("sections", [{}, LORA], ids=["full", "lora"])
def test_a_run_goes_on_with_any_number_of_ranks(
    sections: dict[str, Any], alone: dict[str, Trained], workshop: Workshop, team: Team
) -> None:
    """One step apart: four ranks after two with shards, one after four, two with copies after one."""
    shards = {**sections, "parallel": {"strategy": "fsdp2"}}
    one = alone["lora" if sections else "full"]
    run = workshop.folder / "run"
    recipe = recipe_file(workshop, "run", shards)
    assert (
        team.statuses(2, "train_and_signal", recipe=recipe, rank=1, step=1, number=signal.SIGINT) == [130] * 2
    )
    assert (
        team.statuses(4, "resume_and_signal", run=str(run), rank=2, step=2, number=signal.SIGTERM)
        == [130] * 4
    )
    with pytest.raises(Interrupted, match="step 4"):
        resume(run, listen=interrupting_at(4))
    team.run(2, "resume_each", runs=[str(run)])
    several = Trained(run)
    check_run(run)
    assert [event["step"] for event in several.events("resume")] == [2, 3, 4]
    assert_same_curves(one, several, PAIR_FIGURES)
    assert_same_weights(one, several)


def interrupting_at(step: int) -> Callable[[dict[str, Any]], None]:
    def listen(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", step):
            os.kill(os.getpid(), signal.SIGINT)

    return listen


# What cannot be the same to rounding


def test_bfloat16_weights_train_on_several_ranks(workshop: Workshop, team: Team) -> None:
    """Masters give one rank's curves as nearly as bfloat16 can; weights rounded at random stay copies of each other."""
    bf16: dict[str, Any] = {"model": {"dtype": "bfloat16"}}
    alone, recipes = {}, []
    for rounding in ("master", "stochastic"):
        sections = {**bf16, "train": {"rounding": rounding}}
        alone[rounding] = workshop.train(f"{rounding}-alone", **sections)
        for strategy in ("ddp", "fsdp2"):
            shared = {**sections, "parallel": {"strategy": strategy}}
            recipes.append(recipe_file(workshop, f"{rounding}-{strategy}", shared))
    team.run(2, "train_each", recipes=recipes)
    for rounding, one in alone.items():
        for strategy in ("ddp", "fsdp2"):
            several = Trained(workshop.folder / f"{rounding}-{strategy}")
            for figure in ("loss", "grad_norm", "chosen_logps"):
                ours, theirs = one.curve(figure), several.curve(figure)
                close = pytest.approx(ours, rel=0.03 if rounding == "master" else 0.1)
                assert theirs == close, (rounding, strategy, figure)


def test_dropout_on_several_ranks_is_drawn_again_on_resume(workshop: Workshop, team: Team) -> None:
    sections: dict[str, Any] = {"adapter": {"type": "lora", "r": 4, "dropout": 0.3}}
    recipes = [recipe_file(workshop, name, sections) for name in ("straight", "other", "broken")]
    team.run(2, "train_each", recipes=recipes[:2])
    team.statuses(2, "train_and_signal", recipe=recipes[2], rank=0, step=2, number=signal.SIGINT)
    team.run(2, "resume_each", runs=[str(workshop.folder / "broken")])
    straight, other, broken = (Trained(workshop.folder / name) for name in ("straight", "other", "broken"))
    assert straight.trajectory() == other.trajectory() == broken.trajectory()
    assert straight.curve("loss")[1:] != workshop.train("alone", **sections).curve("loss")[1:]
