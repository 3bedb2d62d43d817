"""`simpo plan`: what it counts is what there is, what it says fits fits, and no weight is needed for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.errors import RecipeError
from simpo.model.lean import make_lean
from simpo.model.load import load_policy
from simpo.recipe import Recipe
from simpo.sizing.blueprint import Blueprint, typical_group
from simpo.sizing.footprint import footprint
from simpo.sizing.given import find_lengths, read_config
from simpo.sizing.plan import CUT, changed, make_plan
from simpo.sizing.target import plan_device
from simpo.train.accelerator import make_accelerator, run_scorer
from simpo.train.budget import kept_bytes
from simpo.train.optimizer import make_optimizer, reserve
from simpo.train.prepare import attach_adapter, checkpoint_activations, prepare
from simpo.train.weight_bytes import bytes_per_weight
from tests.train.made_up import Workshop

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "bfloat16": {"model": {"dtype": "bfloat16"}},
    "stochastic": {"model": {"dtype": "bfloat16"}, "train": {"rounding": "stochastic"}},
    "lora": {"adapter": {"type": "lora", "r": 4}},
    "autocast": {"train": {"precision": "bf16"}},
    "checkpointing": {"train": {"gradient_checkpointing": True}},
}


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_states_are_counted_to_the_byte(kind: str, workshop: Workshop) -> None:
    recipe = workshop.recipe("run", **KINDS[kind]).recipe
    plan = make_plan(recipe, gpu="1GB")
    policy = load_policy(recipe.model, device=torch.device("cpu"))
    attach_adapter(recipe, policy, workshop.folder)
    optimizer = make_optimizer(policy.model, recipe.train)
    reserve(optimizer)
    parts = plan.footprint.parts
    assert parts["weights"] == bytes_of(policy.model.parameters())
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    assert parts["moments"] == bytes_of(moments)
    assert parts["masters"] == bytes_of(getattr(optimizer, "masters", []))
    held = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert parts["gradients"] == bytes_of(held)
    assert plan.parameters == policy.parameter_counts()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_forward_keeps_is_counted_without_a_number(kind: str, workshop: Workshop) -> None:
    """Against the same count on real tensors, the head apart, which a plan counts by itself."""
    recipe = workshop.recipe("run", **KINDS[kind]).recipe
    prepared = prepare(recipe)
    model = prepared.policy.model
    attach_adapter(recipe, prepared.policy, workshop.folder)
    model = prepared.policy.model
    accelerator = make_accelerator(recipe, prepared.policy.device)
    choice = run_scorer(recipe, accelerator, model, prepared.train, gradients=False)
    assert choice.name == "shared"
    make_lean(model)
    if recipe.train.gradient_checkpointing:
        checkpoint_activations(model)
    model.train()
    group = typical_group(160, 15, 17)  # 192 tokens: nothing is filled up
    one = kept_bytes(model, lambda: choice.scorer(model, [group]))
    two = kept_bytes(model, lambda: choice.scorer(model, [group] * 2))
    planned = Blueprint(read_config(recipe), recipe).kept(group, cuda=False)
    assert planned.group == pytest.approx(two - one, rel=0.1)


def test_no_weight_is_needed_and_none_is_read(workshop: Workshop) -> None:
    config = json.loads((workshop.model / "config.json").read_text())
    folder = workshop.folder / "config-alone"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    recipe = workshop.recipe("run", model={"name": str(folder)}).recipe
    plan = make_plan(recipe, gpu="80GB", lengths=(40, 20, 30))
    whole = make_plan(workshop.recipe("run").recipe, gpu="80GB", lengths=(40, 20, 30))
    assert plan.footprint == whole.footprint and plan.lengths.origin == "as given"
    assert plan.fits and plan.seconds_per_step is None, "of a size alone no speed is known"


def test_lengths_are_those_of_the_rows_or_what_max_length_allows(workshop: Workshop) -> None:
    recipe = workshop.recipe("run").recipe
    found = find_lengths(recipe, None)
    groups = prepare(recipe).train
    assert found.pairs == 20 and found.origin == "medians of 20 training rows"
    assert found.prompt in range(min(len(g.prompt) for g in groups), max(len(g.prompt) for g in groups) + 1)
    moved = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": "nowhere.jsonl"})})
    assumed = find_lengths(moved, None)
    assert (assumed.prompt, assumed.longest, assumed.pairs) == (85, 256, None)
    assert "a third of data.max_length each" in assumed.origin


def recipe_of(**sections: Any) -> Recipe:
    values: dict[str, Any] = {"output": "run", "model": {"name": "m"}, "data": {"train": "t.jsonl"}}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, (4, 8, 0)),
        ({"model": {"name": "m", "dtype": "bfloat16"}}, (4, 8, 4)),
        ({"model": {"name": "m", "dtype": "bfloat16"}, "train": {"rounding": "stochastic"}}, (2, 4, 0)),
        (
            {"model": {"name": "m", "dtype": "bfloat16"},
             "train": {"rounding": "stochastic", "optimizer": "adamw_8bit"}},
            (2, 2 * (1 + 4 / 256), 0),
        ),
        ({"train": {"offload_optimizer": True}}, (4, 8, 4)),
    ],
)  # fmt: skip
def test_bytes_of_a_trained_weight_are_those_of_its_optimizer(
    sections: dict[str, Any], expected: tuple[float, float, float]
) -> None:
    each = bytes_per_weight(recipe_of(**sections))
    assert (each["gradients"], each["moments"], each["masters"]) == expected


def test_each_change_that_is_proposed_takes_less_and_says_whether_it_fits(workshop: Workshop) -> None:
    plan = make_plan(workshop.recipe("run").recipe, gpu="0.62GB", lengths=(100, 60, 60))
    peaks = {each.name.partition(", 2048 tokens")[0]: each.peak for each in plan.alternatives}
    assert len(peaks) == 11 and peaks["LoRA with checkpointing"] < plan.footprint.peak
    assert peaks["that with 8-bit moments too"] < peaks["that with checkpointing"]
    assert peaks["8 ranks, sharded"] < peaks["2 ranks, sharded"]
    for each in plan.alternatives:
        assert each.fits == (each.peak <= plan.device.total)


def test_what_a_strategy_cuts_is_counted_once_over_all_ranks(workshop: Workshop) -> None:
    """Of bfloat16 weights: ZeRO-2 leaves the weights whole, FSDP2 and ZeRO-3 cut them too, copies cut nothing."""
    bfloat16: dict[str, Any] = {"model": {"dtype": "bfloat16"}}
    parts = {}
    for strategy in ("ddp", "zero2", "zero3", "fsdp2"):
        recipe = workshop.recipe(strategy, **bfloat16, parallel={"strategy": strategy}).recipe
        plan = make_plan(recipe, gpu="80GB", ranks=4, lengths=(100, 60, 60))
        assert [note for note in plan.notes if note in CUT.values()] == [CUT[s] for s in CUT if s == strategy]
        parts[strategy] = plan.footprint.parts
    for name in ("gradients", "moments", "masters"):
        assert parts["ddp"][name] / 4 == parts["fsdp2"][name], name
        assert parts["zero2"][name] == parts["zero3"][name] == parts["fsdp2"][name], name
    assert (
        parts["zero3"]["weights"]
        == parts["fsdp2"]["weights"]
        < parts["zero2"]["weights"]
        == parts["ddp"]["weights"]
    )


def test_several_ranks_are_planned_as_they_would_train(workshop: Workshop) -> None:
    """What ranks cannot share is refused, not cut by `auto`, and not proposed to them."""
    small: dict[str, Any] = {"gpu": "0.0004GB", "lengths": (100, 60, 60)}
    names = {
        ranks: {each.name.partition(", 2048 tokens")[0] for each in plan.alternatives}
        for ranks in (1, 2)
        for plan in [make_plan(workshop.recipe(f"of-{ranks}").recipe, ranks=ranks, **small)]
    }
    alone = {"states on the CPU, bfloat16, checkpointing", "2 ranks, sharded"}
    assert names[1] - names[2] == alone and "4 ranks, sharded" in names[2]
    parts = {}
    for optimizer in ("adamw", "adamw_8bit"):
        recipe = workshop.recipe(optimizer, train={"optimizer": optimizer}).recipe
        one, two = (make_plan(recipe, ranks=ranks, **small) for ranks in (1, 2))
        parts[optimizer] = one.footprint.parts["weights"] / two.footprint.parts["weights"]
        assert [note in CUT.values() for note in two.notes].count(True) == (optimizer == "adamw")
    assert parts == {"adamw": 2, "adamw_8bit": 1}
    held = workshop.recipe("held", parallel={"strategy": "ddp"}, train={"offload_optimizer": True}).recipe
    with pytest.raises(RecipeError, match="offload_optimizer does not work over several ranks"):
        make_plan(held, ranks=2, **small)


def test_a_change_leaves_what_it_does_not_name(workshop: Workshop) -> None:
    recipe = workshop.recipe("run", model={"dtype": "bfloat16"}, train={"rounding": "stochastic"}).recipe
    other = changed(recipe, {"train.gradient_checkpointing": True})
    assert other.train.gradient_checkpointing and other.model.dtype == "bfloat16"
    assert other.train.rounding == "stochastic" and other.data == recipe.data


def test_states_on_the_cpu_are_not_on_the_gpu(workshop: Workshop) -> None:
    recipe = workshop.recipe("run", train={"offload_optimizer": True}).recipe
    there = make_plan(recipe, gpu="80GB", lengths=(40, 20, 30)).footprint
    weights = there.parts["weights"]
    assert there.parts["moments"] == there.parts["gradients"] == there.parts["masters"] == 0
    assert there.host == 4 * weights  # a gradient, two moments and a master of float32 each


@pytest.mark.parametrize(
    ("gpu", "total"), [("80GB", 80e9), ("24gib", 24 * 2**30), ("H100", 80e9), ("24", 24e9)]
)
def test_a_gpu_is_named_by_its_size_or_its_name(gpu: str, total: float) -> None:
    assert plan_device(gpu, "auto").total == total


@pytest.mark.parametrize("gpu", ["big", "-3GB", "nan", "0", ""])
def test_what_is_no_gpu_is_refused(gpu: str) -> None:
    with pytest.raises(RecipeError, match="is no size like 80GB"):
        plan_device(gpu, "auto")


def test_a_live_reference_and_the_cache_of_replies_are_counted(workshop: Workshop) -> None:
    plain = workshop.recipe("run").recipe
    live = workshop.recipe("run", method={"name": "dpo", "reference": "live"}).recipe
    config, lengths, device = (
        read_config(plain),
        find_lengths(plain, (40, 20, 30)),
        plan_device("80GB", "auto"),
    )
    one, other = (footprint(recipe, config, lengths, device) for recipe in (plain, live))
    assert one.parts["reference"] == 0 and other.parts["reference"] == other.parts["weights"]
    # 2 layers, keys and values of 2 heads of 8 numbers, 4 bytes each: 256 a token; 2 prompts of 40 + 6 tokens.
    assert one.parts["cache"] == 256 * 2 * (40 + 6)


def test_the_command_prints_a_table_or_json_and_checks(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    from simpo.cli.app import main

    path = workshop.folder / "recipe.yaml"
    path.write_text(workshop.recipe("run").to_yaml())
    assert main(["plan", str(path), "--gpu", "a100", "--ranks", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1 and told["ranks"] == 2 and told["fits"] is True
    assert told["footprint"]["peak"] > told["footprint"]["parts"]["weights"] > 0
    assert main(["plan", str(path), "--gpu", "0.1GB", "--check"]) == 4
    shown = capsys.readouterr()
    assert "does not fit: " in shown.out and "QLoRA" in shown.out and "was checked against" in shown.out
    assert main(["plan", str(path), "--lengths", "1,2"]) == 2
    assert not Path(workshop.folder / "run").exists()
