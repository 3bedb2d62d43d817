"""How the ranks of a run share its weights: which strategy, and what it does to the model before the first step."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from simpo.errors import RecipeError, RunFailed
from simpo.model.load import Policy
from simpo.model.reference import LiveReference, Reference
from simpo.model.sharding import is_sharded, shard
from simpo.recipe import Recipe
from simpo.runs.ranks import Ranks, current

# Bytes a trained weight takes with its gradient and AdamW's two moments, by what holds the weights and their updates.
STATE_BYTES = {"float32": 16, "master": 18, "stochastic": 8, "nearest": 8}
ROOMY = 0.5  # of a GPU's memory: activations need the rest


@dataclass(frozen=True, slots=True)
class Strategy:
    """`alone` for one process; else what the recipe says, or `auto` found, and why in a sentence."""

    name: Literal["alone", "ddp", "fsdp2", "zero2"]
    reason: str


def choose_strategy(recipe: Recipe, policy: Policy, ranks: Ranks) -> Strategy:
    """What `parallel.strategy` comes to on this machine, the same on every rank."""
    if ranks.size == 1:
        return Strategy("alone", "one process")
    strategy: Strategy = ranks.on_main(_choose, recipe, policy)
    _require_held_alike(recipe, strategy.name)
    return strategy


def _obstacle(recipe: Recipe, strategy: str) -> tuple[str, str] | None:
    """A setting whose weights or states several ranks cannot share by this strategy, and what to do; None if none."""
    train, coarse = recipe.train, recipe.model.dtype == "bfloat16"
    copies = "set parallel.strategy: ddp, or leave it out"
    cut = ("fsdp2", "zero2")
    for held, key, where, fix in (
        (
            train.offload_optimizer,
            "train.offload_optimizer",
            ("ddp", *cut),
            "leave it out: fsdp2 and zero2 cut the states",
        ),
        (train.optimizer != "adamw", f"train.optimizer {train.optimizer}", cut, copies),
        (recipe.model.quantize != "none", f"model.quantize {recipe.model.quantize}", cut, copies),
        (
            coarse and train.rounding not in (None, "master"),
            f"train.rounding {train.rounding}",
            ("zero2",),
            "set parallel.strategy: fsdp2 or ddp, or train.rounding: master",
        ),
    ):
        if held and strategy in where:
            return key, fix
    return None


def _require_held_alike(recipe: Recipe, strategy: str) -> None:
    """RecipeError for weights or states that several ranks cannot share."""
    obstacle = _obstacle(recipe, strategy)
    if obstacle is not None:
        key, fix = obstacle
        raise RecipeError(f"{key} does not work over several ranks with strategy {strategy}", fix=fix)


def require_strategy(recipe: Recipe) -> None:
    """RecipeError for a strategy that cannot be had, or not with the rest of the recipe."""
    name = recipe.parallel.strategy
    if name == "zero3":
        raise RecipeError(
            "parallel.strategy zero3 is not supported",
            fix="set parallel.strategy: fsdp2, which cuts the same things",
        )
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise RecipeError(
            "accelerate was configured to start DeepSpeed, whose settings a run takes from its recipe alone",
            fix="start with `simpo launch` or `accelerate launch --multi_gpu`, and set parallel.strategy: zero2",
        )
    if current().size > 1 and name != "auto":
        _require_held_alike(recipe, name)


def _choose(recipe: Recipe, policy: Policy) -> Strategy:
    named = recipe.parallel.strategy
    if named in ("ddp", "fsdp2", "zero2"):
        return Strategy(named, "as the recipe says")
    obstacle = _obstacle(recipe, "fsdp2")
    if obstacle is not None:
        return Strategy("ddp", f"{obstacle[0]} cannot be cut")
    if policy.device.type != "cuda":
        return Strategy("ddp", "no GPU whose memory could be short")
    kind = recipe.train.rounding or "master" if recipe.model.dtype == "bfloat16" else "float32"
    needed = policy.parameter_counts()["trained"] * STATE_BYTES[kind]
    there = torch.cuda.get_device_properties(policy.device).total_memory
    figures = f"{needed / 2**30:.1f} GiB of states, {there / 2**30:.0f} GiB a GPU"
    return Strategy("fsdp2" if needed > ROOMY * there else "ddp", figures)


def shard_models(policy: Policy, reference: Reference | None, ranks: Ranks) -> None:
    """Cut the weights of the policy, and of a live reference, into one shard a rank."""
    shard(policy.model, ranks.size, policy.device)
    if isinstance(reference, LiveReference):
        shard(reference.model, ranks.size, policy.device)


def require_same_copies(model: Any, ranks: Ranks) -> None:
    """RunFailed where the copies of the weights on several ranks are no longer the same: none of them is the result."""
    if ranks.size == 1 or is_sharded(model):
        return
    trained = [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]
    sums = ranks.gather(torch.stack([weight.sum(dtype=torch.float64) for weight in trained]).tolist())
    odd = [rank for rank, theirs in enumerate(sums) if theirs != sums[0]]
    if odd:
        raise RunFailed(
            f"the weights of rank {odd[0]} are no longer those of rank 0; they were not saved",
            fix="see whether all machines have the same GPUs and libraries, and go on with `simpo train --resume`",
        )
