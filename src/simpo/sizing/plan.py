"""What a recipe will take, in memory and time, and what of it would fit: worked out before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from simpo.model.work import matmul_peak, work_of
from simpo.recipe import Recipe
from simpo.sizing.blueprint import Blueprint, typical_group
from simpo.sizing.footprint import Footprint, footprint
from simpo.sizing.given import Lengths, find_lengths, read_config
from simpo.sizing.target import Device, plan_device
from simpo.train.parallel import StrategyName, obstacle_to, require_strategy, strategy_for

CUT = {
    "fsdp2": "Weights and states are cut over the ranks (FSDP2).",
    "zero2": "Gradients and states are cut over the ranks (ZeRO-2); weights are whole on each.",
    "zero3": "Weights, gradients and states are cut over the ranks (ZeRO-3).",
}


# The share of a GPU's products that a step is assumed to reach; of a CPU's, measured by benchmarks/roofline.py.
REACHED = {"cuda": 0.4, "cpu": 0.55}


@dataclass(frozen=True, slots=True)
class Alternative:
    """The recipe with some settings changed, and whether that fits."""

    name: str
    settings: Mapping[str, Any]
    peak: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe's prediction: `footprint` on one device of `ranks`, seconds a step where they can be told."""

    device: Device
    ranks: int
    lengths: Lengths
    parameters: dict[str, int]
    footprint: Footprint
    fits: bool
    steps: int | None
    seconds_per_step: float | None
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values, bytes as whole numbers."""
        whole = asdict(self)
        whole["footprint"]["parts"] = {name: round(size) for name, size in self.footprint.parts.items()}
        whole["footprint"]["host"] = round(self.footprint.host)
        whole["footprint"]["peak"] = round(self.footprint.peak)
        whole["alternatives"] = [{**asdict(each), "peak": round(each.peak)} for each in self.alternatives]
        return {"schema": 1, **whole, "notes": list(self.notes)}


def make_plan(
    recipe: Recipe,
    *,
    gpu: str | None = None,
    ranks: int = 1,
    lengths: tuple[int, int, int] | None = None,
    config: Any = None,
) -> Plan:
    """Predict a recipe's peak memory on one device of `ranks`, and its time; say which changes would make it fit.

    gpu: a size or a name (`plan_device`); lengths: tokens of a typical prompt, chosen and rejected reply, else those of
    the recipe's data; config: a configuration in place of the model's. Raises RecipeError for a model whose
    configuration cannot be read or whose activations cannot be counted, and for what several ranks cannot share.
    """
    device = plan_device(gpu, recipe.train.device)
    found = find_lengths(recipe, lengths)
    config = read_config(recipe) if config is None else config
    require_strategy(recipe, ranks)
    counts = Blueprint(config, recipe).counts
    strategy = strategy_for(recipe, counts.trained, device.kind, device.total, ranks).name
    predicted = footprint(recipe, config, found, device, ranks, strategy)
    steps = None
    if recipe.train.max_steps is not None or found.pairs:
        planned = math.ceil(recipe.train.epochs * (found.pairs or 0) / recipe.train.batch_size)
        steps = int(min(planned or math.inf, recipe.train.max_steps or math.inf))
    seconds = _seconds(recipe, config, found, device, ranks)
    parameters = {"total": counts.total + counts.adapter, "trained": counts.trained}
    notes = _notes(device, strategy, seconds)
    others = alternatives(recipe, config, found, device, ranks)
    fits = predicted.peak <= device.total
    return Plan(device, ranks, found, parameters, predicted, fits, steps, seconds, others, notes)


def _seconds(recipe: Recipe, config: Any, lengths: Lengths, device: Device, ranks: int) -> float | None:
    """Seconds a step: the operations it cannot do without, a third more where layers run twice, at a share."""
    flops = device.flops
    if device.kind == "cpu":
        kind = torch.float32 if recipe.train.precision == "float32" == recipe.model.dtype else torch.bfloat16
        flops = matmul_peak(kind, torch.device("cpu"), size=1024, repeats=4)
    if flops is None:
        return None
    group = typical_group(lengths.prompt, lengths.chosen, lengths.rejected)
    work = work_of(Blueprint(config, recipe).model, [group]).total * recipe.train.batch_size
    again = 4 / 3 if recipe.train.gradient_checkpointing else 1.0
    return work * again / flops / REACHED[device.kind] / ranks


def _notes(device: Device, strategy: StrategyName, seconds: float | None) -> tuple[str, ...]:
    found = []
    if device.kind == "cuda":
        found.append(
            "Memory on GPUs is predicted, and was checked against measured peaks on a CPU alone (docs/plan.md)."
        )
        if seconds is not None:
            found.append(
                f"Time assumes {REACHED['cuda']:.0%} of the GPU's bfloat16 products; it was not measured."
            )
    if strategy in CUT:
        found.append(CUT[strategy])
    return tuple(found)


_STOCHASTIC = {"model.dtype": "bfloat16", "train.rounding": "stochastic"}
_CHECKPOINTED = {"train.gradient_checkpointing": True}
_LORA = {"model.dtype": "bfloat16", "adapter.type": "lora"}
# From the least to the most that is given up, in the order they are listed.
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gradient checkpointing", _CHECKPOINTED),
    ("bfloat16 weights, rounded at random", _STOCHASTIC),
    ("that with checkpointing", _STOCHASTIC | _CHECKPOINTED),
    ("that with 8-bit moments too", _STOCHASTIC | _CHECKPOINTED | {"train.optimizer": "adamw_8bit"}),
    ("states on the CPU, bfloat16, checkpointing",
     {"model.dtype": "bfloat16", "train.offload_optimizer": True} | _CHECKPOINTED),
    ("LoRA on bfloat16 weights", _LORA),
    ("LoRA with checkpointing", _LORA | _CHECKPOINTED),
    ("QLoRA (NF4) with checkpointing", _LORA | _CHECKPOINTED | {"model.quantize": "nf4"}),
)  # fmt: skip


FEWER_TOKENS = 2048


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings; what else says how weights and states are held makes way for them."""
    values = recipe.model_dump(exclude_unset=True)
    train, model = values.setdefault("train", {}), values["model"]
    if "model.dtype" in settings:
        for section, keys in (
            (train, ("rounding", "optimizer", "offload_optimizer", "precision")),
            (model, ("quantize",)),
        ):
            for key in keys:
                section.pop(key, None)
        if settings.get("adapter.type") is None:
            values.pop("adapter", None)
            values.get("method", {}).pop("reference", None)
    for key, value in settings.items():
        section_name, _, leaf = key.partition(".")
        values.setdefault(section_name, {})[leaf] = value
    return Recipe.model_validate(values)


def alternatives(
    recipe: Recipe, config: Any, lengths: Lengths, device: Device, ranks: int
) -> tuple[Alternative, ...]:
    """What the recipe would take with other settings, and over more ranks; nothing that ranks could not share."""

    def weighed(
        name: str, settings: Mapping[str, Any], other: Recipe, count: int, strategy: StrategyName
    ) -> Alternative:
        peak = footprint(other, config, lengths, device, count, strategy).peak
        cut = other.train.tokens_per_microbatch
        if peak > device.total and other.train.micro_batch_size is None and cut in (None, "auto"):
            # A budget that is found fills what is free: with fewer tokens at a time the same may fit.
            fewer = changed(other, {"train.tokens_per_microbatch": FEWER_TOKENS})
            peak = footprint(fewer, config, lengths, device, count, strategy).peak
            name = f"{name}, {FEWER_TOKENS} tokens at a time"
            settings = {**settings, "train.tokens_per_microbatch": FEWER_TOKENS}
        return Alternative(name, settings, peak, peak <= device.total)

    found = []
    for name, settings in CHANGES:
        other = changed(recipe, settings)
        trained = Blueprint(config, other).counts.trained
        strategy = strategy_for(other, trained, device.kind, device.total, ranks).name
        if other != recipe and obstacle_to(other, strategy) is None:
            found.append(weighed(name, settings, other, ranks, strategy))
    named = recipe.parallel.strategy
    cut: StrategyName = named if named in ("zero2", "zero3") else "fsdp2"
    if device.kind == "cuda" and obstacle_to(recipe, cut) is None:
        found += [
            weighed(f"{count} ranks, sharded", {"ranks": count, "parallel.strategy": cut}, recipe, count, cut)
            for count in (2, 4, 8)
            if count > ranks
        ]
    return tuple(found)
