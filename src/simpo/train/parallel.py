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
from simpo.runs.ranks import Ranks
from simpo.train.weight_bytes import SIZES, bytes_per_weight
from simpo.train.zero import Stage, require_one_type

StrategyName = Literal["alone", "ddp", "fsdp2", "zero2", "zero3"]
CUT: tuple[StrategyName, ...] = ("fsdp2", "zero2", "zero3")  # the states, or more
ZERO_STAGES: dict[str, Stage] = {"zero2": 2, "zero3": 3}
ROOMY = 0.5  # of a GPU's memory: activations need the rest


@dataclass(frozen=True, slots=True)
class Strategy:
    """`alone` for one process; else what the recipe says, or `auto` found, and why in a sentence."""

    name: StrategyName
    reason: str


ALONE = Strategy("alone", "one process")


def choose_strategy(recipe: Recipe, policy: Policy, ranks: Ranks) -> Strategy:
    """What `parallel.strategy` comes to on this machine, the same on every rank."""
    if ranks.size == 1:
        return ALONE
    strategy: Strategy = ranks.on_main(_choose_here, recipe, policy, ranks.size)
    _require_held_alike(recipe, strategy.name)
    return strategy


def _choose_here(recipe: Recipe, policy: Policy, ranks: int) -> Strategy:
    device = policy.device
    cuda = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if cuda else 0.0
    return strategy_for(recipe, policy.parameter_counts()["trained"], device.type, memory, ranks)


def strategy_for(recipe: Recipe, trained: int, kind: str, memory: float, ranks: int) -> Strategy:
    """What `parallel.strategy` comes to for so many `trained` weights on `ranks` devices of a kind.

    kind: "cpu" or "cuda"; memory: bytes of one device. `auto` cuts where weights and states would fill much of it.
    """
    named = recipe.parallel.strategy
    if ranks == 1:
        return ALONE
    if named != "auto":
        return Strategy(named, "as the recipe says")
    obstacle = obstacle_to(recipe, "fsdp2")
    if obstacle is not None:
        return Strategy("ddp", f"{obstacle[0]} cannot be cut")
    if kind != "cuda":
        return Strategy("ddp", "no GPU whose memory could be short")
    needed = trained * (SIZES[recipe.model.dtype] + sum(bytes_per_weight(recipe).values()))
    figures = f"{needed / 2**30:.1f} GiB of states, {memory / 2**30:.0f} GiB a GPU"
    return Strategy("fsdp2" if needed > ROOMY * memory else "ddp", figures)


def obstacle_to(recipe: Recipe, strategy: str) -> tuple[str, str] | None:
    """A setting whose weights or states several ranks cannot share by this strategy, and what to do; None if none."""
    train, coarse = recipe.train, recipe.model.dtype == "bfloat16"
    copies = "set parallel.strategy: ddp, or leave it out"
    for held, key, where, fix in (
        (
            train.offload_optimizer,
            "train.offload_optimizer",
            ("ddp", *CUT),
            "leave it out: fsdp2, zero2 and zero3 cut the states",
        ),
        (train.optimizer != "adamw", f"train.optimizer {train.optimizer}", CUT, copies),
        (recipe.model.quantize != "none", f"model.quantize {recipe.model.quantize}", CUT, copies),
        (
            coarse and train.rounding not in (None, "master"),
            f"train.rounding {train.rounding}",
            tuple(ZERO_STAGES),
            "set parallel.strategy: fsdp2 or ddp, or train.rounding: master",
        ),
    ):
        if held and strategy in where:
            return key, fix
    return None


def _require_held_alike(recipe: Recipe, strategy: str) -> None:
    """RecipeError for weights or states that several ranks cannot share."""
    obstacle = obstacle_to(recipe, strategy)
    if obstacle is not None:
        key, fix = obstacle
        raise RecipeError(f"{key} does not work over several ranks with strategy {strategy}", fix=fix)


def require_strategy(recipe: Recipe, ranks: int) -> None:
    """RecipeError for a strategy that cannot be had, or not by so many ranks with the rest of the recipe."""
    name = recipe.parallel.strategy
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise RecipeError(
            "accelerate was configured to start DeepSpeed, whose settings a run takes from its recipe alone",
            fix="start with `simpo launch` or `accelerate launch --multi_gpu`, and name zero2 or zero3 in the recipe",
        )
    if ranks > 1 and name != "auto":
        _require_held_alike(recipe, name)


def require_one_type_for_zero(recipe: Recipe, policy: Policy, ranks: int) -> None:
    """RecipeError for weights of several types where DeepSpeed is to cut them."""
    stage = ZERO_STAGES.get(recipe.parallel.strategy)
    if stage is None or ranks == 1:
        return
    if stage == 3 or recipe.adapter.type == "none":  # else the adapter's, which is still to be made
        require_one_type(list(policy.model.parameters()), stage)


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
