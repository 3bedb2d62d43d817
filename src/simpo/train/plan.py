"""What a recipe will take, in memory and time, and what of it would fit: worked out before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from simpo.data.render import render_rows
from simpo.errors import RecipeError, SimpoError
from simpo.model.find import base_of, is_adapter_folder, resolve_model_folder
from simpo.model.load import choose_device, load_tokenizer
from simpo.model.pack import num_packed_tokens
from simpo.model.work import matmul_peak, work_of
from simpo.recipe import Recipe
from simpo.train.budget import budget_for, enough_for, free_bytes
from simpo.train.footprint import (
    NF4,
    SIZES,
    Blueprint,
    Footprint,
    bytes_per_weight,
    head_bytes,
    typical_group,
)
from simpo.train.prepare import load_data, tokenizer_renderer

GIB = 2**30
# What the process holds besides tensors that are counted: the interpreter, its libraries and the products that oneDNN
# compiles (150 MiB after a few steps), or CUDA's context.
RUNTIME = {"cpu": 0.7 * GIB, "cuda": 0.6 * GIB}
NUM_SAMPLED_ROWS = 256

Strategy = Literal["ddp", "fsdp2", "zero2"]
CUT = {
    "fsdp2": "Weights and states are cut over the ranks (FSDP2).",
    "zero2": "Gradients and states are cut over the ranks (ZeRO-2); weights are whole on each.",
}


@dataclass(frozen=True, slots=True)
class Device:
    """What is planned for. total: bytes of one GPU, or of the CPU's memory. flops: bfloat16 operations a second."""

    name: str
    kind: str
    total: float
    flops: float | None = None


# Memory in units of 1e9 bytes as sold, and dense bfloat16 products a second, from the makers' data sheets.
GPUS = {
    "t4": (16, 65e12), "a10": (24, 125e12), "l4": (24, 121e12), "rtx3090": (24, 71e12), "rtx4090": (24, 165e12),
    "v100": (32, 125e12), "a100-40gb": (40, 312e12), "l40s": (48, 362e12), "a100": (80, 312e12),
    "h100": (80, 989e12), "h200": (141, 989e12), "b200": (180, 2250e12),
}  # fmt: skip
# The share of a GPU's products that a step is assumed to reach; of a CPU's, measured by benchmarks/roofline.py.
REACHED = {"cuda": 0.4, "cpu": 0.55}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a typical group, of the longest one, pairs in a run, and where these are from."""

    prompt: int
    chosen: int
    rejected: int
    longest: int
    pairs: int | None
    origin: str


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


def plan_device(gpu: str | None, setting: str) -> Device:
    """The device that `--gpu` names (a size, `80GB`, or a name of the table), else the one of this machine.

    Raises RecipeError for a GPU that is neither.
    """
    if gpu is None:
        device = choose_device(setting)
        if device.type == "cuda":
            properties = torch.cuda.get_device_properties(device)
            return Device(properties.name, "cuda", float(properties.total_memory), _flops_of(properties.name))
        return Device("this machine's CPU", "cpu", float(free_bytes(torch.device("cpu")) or math.inf))
    known = GPUS.get(gpu.lower())
    if known is not None:
        return Device(gpu.lower(), "cuda", known[0] * 1e9, known[1])
    number = gpu.lower().removesuffix("gib").removesuffix("gb").removesuffix("g")
    try:
        size = float(number)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise RecipeError(f"--gpu {gpu!r} is no size like 80GB and none of {', '.join(GPUS)}")
    return Device(f"a GPU of {gpu}", "cuda", size * (GIB if "gib" in gpu.lower() else 1e9))


def _flops_of(name: str) -> float | None:
    words = name.lower().replace(" ", "")
    return next((flops for key, (_, flops) in GPUS.items() if key.partition("-")[0] in words), None)


def read_config(recipe: Recipe) -> Any:
    """The model's configuration alone, of an adapter its base's; a hub id gives up its config.json and no weight."""
    from transformers import AutoConfig

    name, settings = recipe.model.name, {"trust_remote_code": recipe.model.trust_remote_code}
    here = Path(name).expanduser().exists()
    if here or name.startswith((".", "/", "~")) or name.count("/") != 1:
        folder, _ = resolve_model_folder(name, recipe.model.revision)
        name = str(base_of(folder, recipe.model.trust_remote_code) if is_adapter_folder(folder) else folder)
    try:
        revision = None if here else recipe.model.revision
        return AutoConfig.from_pretrained(name, revision=revision, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f"the model's configuration cannot be read: {str(error).splitlines()[0]}", where=name
        ) from None


def find_lengths(recipe: Recipe, given: tuple[int, int, int] | None) -> Lengths:
    """Lengths as given, else of the recipe's first rows, else those that `data.max_length` allows."""
    if given is not None:
        longest = max(recipe.data.max_length, given[0] + max(given[1:]))
        return Lengths(*given, longest, None, "as given")
    try:
        data = load_data(recipe)["train"]
        tokenizer, stops = load_tokenizer(recipe.model)
        rendered = render_rows(
            data.rows[:NUM_SAMPLED_ROWS], tokenizer_renderer(tokenizer, stops, recipe.data)
        )
    except SimpoError as error:
        groups: tuple[Any, ...] = ()
        why = error.message
    else:
        groups, why = rendered.groups, "no row could be rendered"
    if not groups or len(groups[0].completions) != 2:
        third = recipe.data.max_length // 3
        return Lengths(
            third, third, third, recipe.data.max_length, None, f"a third of data.max_length each: {why}"
        )
    prompt = round(median(len(group.prompt) for group in groups))
    chosen, rejected = (round(median(len(group.completions[side]) for group in groups)) for side in (0, 1))
    longest = max(num_packed_tokens(group) for group in groups)
    return Lengths(
        prompt, chosen, rejected, longest, len(data.rows), f"medians of {len(groups)} training rows"
    )


def footprint(
    recipe: Recipe, config: Any, lengths: Lengths, device: Device, ranks: int = 1, strategy: Strategy = "ddp"
) -> Footprint:
    """Bytes by part on one device, of several ranks with what `strategy` cuts over them."""
    plan = Blueprint(config, recipe)
    counts, cuda = plan.counts, device.kind == "cuda"
    size, each = SIZES[recipe.model.dtype], bytes_per_weight(recipe)
    trained = counts.adapter or counts.total
    if recipe.model.quantize == "nf4":
        weights = NF4 * counts.linear + size * (counts.total - counts.linear + counts.adapter)
    else:
        weights = size * (counts.total + counts.adapter)
    states = {name: value * trained for name, value in each.items()}
    host = sum(states.values()) if recipe.train.offload_optimizer else 0.0
    if host and cuda:
        states = dict.fromkeys(states, 0.0)
    whole = 0.0
    if strategy == "zero2":
        states["masters"] = SIZES["float32"] * trained  # of float32 weights too
    if strategy != "ddp":
        states = {name: value / ranks for name, value in states.items()}
    if strategy == "fsdp2":
        whole = size * (counts.ends + 2 * counts.layer)
        weights /= ranks
    group = typical_group(lengths.prompt, lengths.chosen, lengths.rejected)
    kept, tokens_each = plan.kept(group, cuda=cuda), num_packed_tokens(group)
    resident = weights + states["masters"] + states["moments"] + states["gradients"] + whole
    enough = enough_for(device.kind, trained, counts.total + counts.adapter)
    tokens, reason = _tokens(
        recipe, device, kept.group / tokens_each, resident, tokens_each, lengths.longest, enough
    )
    tokens = min(tokens, tokens_each * math.ceil(recipe.train.batch_size / ranks))
    groups = tokens / tokens_each
    activations = kept.fixed + kept.group * groups
    if recipe.train.gradient_checkpointing:
        activations += kept.layer * groups
    compute = 2.0 if recipe.train.precision == "bf16" else size
    inner = getattr(config.get_text_config(), "intermediate_size", 4 * counts.hidden)
    # A backward works in some tensors of a layer's widest activations, and makes each gradient before it is put in
    # place: of a weight that is embedding and head at once the one's, the other's and their sum.
    workspace = tokens * compute * (2 * inner + 4 * counts.hidden) + whole
    if not counts.adapter:
        tied = getattr(config.get_text_config(), "tie_word_embeddings", False)
        made = each["gradients"] if not cuda or host else size
        workspace += counts.largest * made * (3 if tied and not cuda else 1)
    rows = groups * (lengths.chosen + lengths.rejected)
    parts = {
        "runtime": RUNTIME[device.kind],
        "weights": weights,
        **states,
        "activations": activations,
        "head": head_bytes(counts, recipe, rows),
        "workspace": workspace,
        "reference": _reference(recipe, weights, size * counts.total),
        "cache": _cache(recipe, plan, lengths),
    }
    return Footprint(parts, host if cuda else 0.0, tokens, reason)


def _tokens(
    recipe: Recipe, device: Device, per_token: float, resident: float, group: int, longest: int, enough: int
) -> tuple[int, str]:
    train = recipe.train
    if train.micro_batch_size is not None:
        return train.micro_batch_size * group, f"{train.micro_batch_size} pairs, as the recipe says"
    if isinstance(train.tokens_per_microbatch, int):
        return max(train.tokens_per_microbatch, group), "as the recipe says"
    found = budget_for(per_token, device.total - RUNTIME[device.kind] - resident, enough, longest)
    return found.tokens, found.reason


def _reference(recipe: Recipe, weights: float, dense: float) -> float:
    if recipe.reference_mode != "live":
        return 0.0
    return weights if recipe.model.quantize != "none" else dense


def _cache(recipe: Recipe, plan: Blueprint, lengths: Lengths) -> float:
    """Keys and values of the replies that are written together, by the guard or at an evaluation."""
    size = SIZES[recipe.model.dtype]
    numbers = 2 * plan.layers * plan.kv_heads * plan.width
    guard = recipe.guard.prompts * (lengths.prompt + recipe.guard.max_new_tokens)
    batch = min(recipe.evaluate.generate, recipe.evaluate.batch_size)
    return size * numbers * max(guard, batch * (lengths.prompt + recipe.evaluate.max_new_tokens))


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
    configuration cannot be read or whose activations cannot be counted.
    """
    device = plan_device(gpu, recipe.train.device)
    found = find_lengths(recipe, lengths)
    config = read_config(recipe) if config is None else config
    strategy = _strategy(recipe, config, device, ranks)
    predicted = footprint(recipe, config, found, device, ranks, strategy)
    counts = Blueprint(config, recipe).counts
    steps = None
    if recipe.train.max_steps is not None or found.pairs:
        planned = math.ceil(recipe.train.epochs * (found.pairs or 0) / recipe.train.batch_size)
        steps = int(min(planned or math.inf, recipe.train.max_steps or math.inf))
    seconds = _seconds(recipe, config, found, device, ranks)
    parameters = {"total": counts.total + counts.adapter, "trained": counts.adapter or counts.total}
    notes = _notes(device, strategy, seconds)
    others = alternatives(recipe, config, found, device, ranks)
    fits = predicted.peak <= device.total
    return Plan(device, ranks, found, parameters, predicted, fits, steps, seconds, others, notes)


def _strategy(recipe: Recipe, config: Any, device: Device, ranks: int) -> Strategy:
    named = recipe.parallel.strategy
    if ranks == 1:
        return "ddp"
    if named != "auto":
        return "fsdp2" if named == "zero3" else named
    counts = Blueprint(config, recipe).counts
    needed = (counts.adapter or counts.total) * (
        SIZES[recipe.model.dtype] + sum(bytes_per_weight(recipe).values())
    )
    return "fsdp2" if device.kind == "cuda" and needed > device.total / 2 else "ddp"


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


def _notes(device: Device, strategy: Strategy, seconds: float | None) -> tuple[str, ...]:
    found = []
    if device.kind == "cuda":
        found.append(
            "Memory on GPUs is predicted, and was checked against measured peaks on a CPU alone (docs/plan.md)."
        )
        if seconds is not None:
            found.append(
                f"Time assumes {REACHED['cuda']:.0%} of the GPU's bfloat16 products; it was not measured."
            )
    if strategy != "ddp":
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
    """What the recipe would take with other settings, and over more ranks."""

    def weighed(name: str, settings: Mapping[str, Any], other: Recipe, count: int) -> Alternative:
        strategy: Strategy = "fsdp2" if count > 1 else "ddp"
        peak = footprint(other, config, lengths, device, count, strategy).peak
        cut = other.train.tokens_per_microbatch
        if peak > device.total and other.train.micro_batch_size is None and cut in (None, "auto"):
            # A budget that is found fills what is free: with fewer tokens at a time the same may fit.
            fewer = changed(other, {"train.tokens_per_microbatch": FEWER_TOKENS})
            peak = footprint(fewer, config, lengths, device, count, strategy).peak
            name = f"{name}, {FEWER_TOKENS} tokens at a time"
            settings = {**settings, "train.tokens_per_microbatch": FEWER_TOKENS}
        return Alternative(name, settings, peak, peak <= device.total)

    others = [(name, settings, changed(recipe, settings)) for name, settings in CHANGES]
    found = [weighed(name, settings, other, ranks) for name, settings, other in others if other != recipe]
    if device.kind == "cuda":
        for count in (2, 4, 8):
            if count > ranks:
                found.append(weighed(f"{count} ranks, sharded", {"ranks": count}, recipe, count))
    return tuple(found)
