"""DeepSpeed's ZeRO-2 and ZeRO-3 beside one rank and copies, for full fine-tunes, adapters and bfloat16 weights."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from simpo.errors import Interrupted, RecipeError
from simpo.train.run import resume
from tests.equivalence.test_ranks import CASES, assert_same_evaluations, interrupting_at, recipe_file
from tests.equivalence.test_resume import assert_same_run
from tests.equivalence.test_training import LORA, PAIR_FIGURES, assert_same_curves, assert_same_weights
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop
from tests.train.team import Team

HERE = importlib.util.find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not HERE, reason="deepspeed is not installed")
both_stages = pytest.mark.parametrize("stage", ["zero2", "zero3"])
BF16: dict[str, Any] = {"model": {"dtype": "bfloat16"}}


def by(strategy: str) -> dict[str, Any]:
    return {"parallel": {"strategy": strategy}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> dict[str, Trained]:
    """Every case trained by one process."""
    workshop = Workshop(tmp_path_factory.mktemp("alone"), tiny_model_dir)
    return {name: workshop.train(name, **sections) for name, sections in CASES.items()}


@needs_deepspeed
@both_stages
@pytest.mark.parametrize(("size", "cases"), [(2, tuple(CASES)), (3, ("full", "dpo", "few"))])
def test_ranks_that_cut_what_they_hold_train_what_one_trains(
    size: int,
    cases: tuple[str, ...],
    stage: str,
    alone: dict[str, Trained],
    workshop: Workshop,
    team: Team,
) -> None:
    recipes = [recipe_file(workshop, name, {**CASES[name], **by(stage)}) for name in cases]
    team.run(size, "train_each", recipes=recipes)
    for name in cases:
        one, several = alone[name], Trained(workshop.folder / name)
        check_run(several.path)
        assert several.events("ranks")[0]["strategy"] == stage
        assert_same_curves(one, several, PAIR_FIGURES if name != "sft" else ("loss", "grad_norm"))
        assert_same_weights(one, several)
        assert_same_evaluations(one, several)


@needs_deepspeed
@both_stages
@pytest.mark.parametrize("sections", [{}, LORA], ids=["full", "lora"])
def test_bfloat16_weights_have_the_masters_that_copies_have(
    sections: dict[str, Any], stage: str, workshop: Workshop, team: Team
) -> None:
    """Two micro-batches a rank, so that gradients are summed in float32 over both.

    What another order of sums rounds elsewhere in the first step is another bfloat16 weight in the next.
    """
    settings = {**sections, **BF16, "train": {"micro_batch_size": 2}}
    recipes = [
        recipe_file(workshop, name, {**settings, "parallel": {"strategy": name}}) for name in ("ddp", stage)
    ]
    team.run(2, "train_each", recipes=recipes)
    copies, parts = (Trained(workshop.folder / name) for name in ("ddp", stage))
    for figure in ("loss", "grad_norm", "chosen_logps"):
        (first, *later), (expected, *others) = parts.curve(figure), copies.curve(figure)
        assert first == pytest.approx(expected, rel=1e-4), figure
        assert later == pytest.approx(others, rel=5e-3), figure


# Checkpoints


@needs_deepspeed
@both_stages
@pytest.mark.parametrize("sections", [{}, BF16, LORA], ids=["full", "bfloat16", "lora"])
def test_a_checkpoint_is_what_copies_write_and_is_gone_on_from_bit_for_bit(
    sections: dict[str, Any], stage: str, workshop: Workshop, team: Team
) -> None:
    named = {"straight": by(stage), "torn": by(stage), "copies": by("ddp")}
    recipes = {name: recipe_file(workshop, name, {**sections, **how}) for name, how in named.items()}
    team.run(2, "train_each", recipes=[recipes["straight"]])
    for name in ("torn", "copies"):
        stopped = {"recipe": recipes[name], "rank": 1, "step": 2, "number": signal.SIGINT}
        assert team.statuses(2, "train_and_signal", **stopped) == [130, 130]
    torn, copies = Trained(workshop.folder / "torn"), Trained(workshop.folder / "copies")
    ours, theirs = (
        load_file(run.path / "checkpoints/step-000003/optimizer.safetensors") for run in (torn, copies)
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (tensor.shape, tensor.dtype), name
        if not name.startswith("rng."):
            assert float((ours[name] - tensor).norm()) <= 1e-2 * float(tensor.norm()), name
    team.run(2, "resume_each", runs=[str(torn.path)])
    assert_same_run(Trained(workshop.folder / "straight"), torn)


@needs_deepspeed
@both_stages
def test_a_run_goes_on_with_one_rank_with_copies_and_with_parts_again(
    stage: str, alone: dict[str, Trained], workshop: Workshop, team: Team
) -> None:
    run, recipe = workshop.folder / "run", recipe_file(workshop, "run", by(stage))
    assert (
        team.statuses(2, "train_and_signal", recipe=recipe, rank=1, step=1, number=signal.SIGINT) == [130] * 2
    )
    with pytest.raises(Interrupted, match="step 3"):
        resume(run, listen=interrupting_at(3))
    own = run / "recipe.yaml"
    own.write_text(own.read_text().replace(stage, "ddp"))
    assert (
        team.statuses(2, "resume_and_signal", run=str(run), rank=0, step=3, number=signal.SIGINT) == [130] * 2
    )
    own.write_text(own.read_text().replace("ddp", stage))
    team.run(3, "resume_each", runs=[str(run)])
    several = Trained(run)
    check_run(run)
    assert [event.get("strategy") for event in several.events("ranks")] == [stage, "ddp", stage]
    assert [event["step"] for event in several.events("resume")] == [2, 3, 4]
    assert_same_curves(alone["full"], several, PAIR_FIGURES)
    assert_same_weights(alone["full"], several)


# What goes wrong


@needs_deepspeed
@both_stages
def test_a_gradient_that_is_infinite_on_one_rank_changes_no_weight_on_any(
    stage: str, workshop: Workshop, team: Team
) -> None:
    stopped, broken = (recipe_file(workshop, name, by(stage)) for name in ("stopped", "broken"))
    team.statuses(2, "train_and_signal", recipe=stopped, rank=0, step=2, number=signal.SIGINT)
    assert team.statuses(2, "train_until_infinite", recipe=broken, rank=1, step=3) == [5, 5]
    assert team.said(0) == team.said(1) and "the gradient is not finite" in team.said(0)
    before, after = (
        load_file(workshop.folder / name / "checkpoints/step-000003/model/model.safetensors")
        for name in ("stopped", "broken")
    )
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@needs_deepspeed
@both_stages
def test_a_rank_that_dies_ends_the_others(stage: str, workshop: Workshop, team: Team) -> None:
    recipe = recipe_file(workshop, "run", by(stage))
    statuses = team.statuses(3, "train_and_signal", recipe=recipe, rank=1, step=3, number=signal.SIGKILL)
    assert statuses == [5, -signal.SIGKILL, 5]
    assert "rank 0 lost another rank" in team.said(0)


# What is refused, with nothing written


@both_stages
@pytest.mark.skipif(HERE, reason="deepspeed is installed")
def test_several_ranks_without_the_package_are_told_how_to_get_it(
    stage: str, workshop: Workshop, team: Team
) -> None:
    recipe = recipe_file(workshop, "run", by(stage))
    assert team.statuses(2, "train_each", recipes=[recipe]) == [2, 2]
    assert "deepspeed is not installed" in team.said(0) and "simpo[deepspeed]" in team.said(0)
    assert not (workshop.folder / "run").exists()


@both_stages
def test_one_process_is_alone_whatever_the_strategy(stage: str, workshop: Workshop) -> None:
    workshop.train("run", **by(stage), train={"max_steps": 1})
    assert Trained(workshop.folder / "run").events("ranks") == []


@both_stages
@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({**BF16, "train": {"rounding": "stochastic"}}, "train.rounding stochastic"),
        ({"train": {"optimizer": "adamw_8bit"}}, "train.optimizer adamw_8bit"),
        ({"train": {"offload_optimizer": True}}, "train.offload_optimizer"),
        ({"model": {"quantize": "nf4"}, "adapter": {"type": "lora"}}, "model.quantize nf4"),
    ],
)
def test_what_it_cannot_hold_is_refused(
    sections: dict[str, Any], message: str, stage: str, workshop: Workshop, team: Team
) -> None:
    recipe = recipe_file(workshop, "run", {**sections, **by(stage)})
    assert team.statuses(2, "train_each", recipes=[recipe]) == [2, 2]
    assert f"{message} does not work over several ranks with strategy {stage}" in team.said(1)
    assert not (workshop.folder / "run").exists()


@needs_deepspeed
@both_stages
def test_weights_of_two_types_are_refused(stage: str, workshop: Workshop, team: Team) -> None:
    recipe = recipe_file(workshop, "run", {**BF16, **by(stage)})
    assert team.statuses(2, "train_with_float32_norm", recipe=recipe) == [2, 2]
    assert f"{stage}: the weights are bfloat16 and float32" in team.said(1)
    assert not (workshop.folder / "run").exists()


def test_settings_of_accelerate_are_refused(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(RecipeError, match="from its recipe alone"):
        workshop.train("run", **by("zero2"))
    assert not (workshop.folder / "run").exists()
