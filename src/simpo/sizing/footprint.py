"""What a run will hold in memory on one device, part by part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from simpo.model.head import CHUNK_LOGITS, KEPT_CHUNKS, STRIP_LOGITS
from simpo.model.pack import num_packed_tokens
from simpo.recipe import Recipe
from simpo.sizing.blueprint import Blueprint, Counts, typical_group
from simpo.sizing.given import Lengths
from simpo.sizing.target import GIB, Device
from simpo.train.budget import budget_for, enough_for
from simpo.train.parallel import CUT, ZERO_STAGES, StrategyName
from simpo.train.weight_bytes import NF4, SIZES, bytes_per_weight

# What the process holds besides tensors that are counted: the interpreter, its libraries, the products that oneDNN
# compiles (150 MiB after a few steps) and the holes of its heap, or CUDA's context.
RUNTIME = {"cpu": 0.9 * GIB, "cuda": 0.6 * GIB}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes by part on one device, and on the host where states are offloaded; tokens of a micro-batch."""

    parts: dict[str, float]
    host: float
    tokens: int
    reason: str

    @property
    def peak(self) -> float:
        """Bytes at the worst moment: in a step, or while the policy writes and no activations are there."""
        stays = sum(self.parts[name] for name in ("runtime", "weights", "moments", "masters", "reference"))
        step = sum(self.parts[name] for name in ("gradients", "activations", "head", "workspace"))
        return stays + max(step, self.parts["cache"])


def head_bytes(counts: Counts, recipe: Recipe, rows: float, *, cuda: bool) -> float:
    """What the output head holds: logits kept for the backward, a strip in float32 with its copy, its weight cast."""
    size = 2.0 if recipe.train.precision == "bf16" else SIZES[recipe.model.dtype]
    logits = min(rows * counts.vocabulary, KEPT_CHUNKS * CHUNK_LOGITS)
    strip = 4.0 * min(rows * counts.vocabulary, CHUNK_LOGITS if cuda else STRIP_LOGITS)
    cast = counts.vocabulary * counts.hidden * size if size < SIZES[recipe.model.dtype] else 0.0
    if recipe.adapter.type != "none":  # frozen: one chunk at a time, and what the hidden states get
        chunk = 4.0 * min(rows * counts.vocabulary, CHUNK_LOGITS)
        return 2 * rows * counts.hidden * size + chunk + 2 * strip + cast
    return logits * size + 2 * strip + cast


def footprint(
    recipe: Recipe,
    config: Any,
    lengths: Lengths,
    device: Device,
    ranks: int = 1,
    strategy: StrategyName = "alone",
) -> Footprint:
    """Bytes by part on one device, of several ranks with what `strategy` cuts over them."""
    plan = Blueprint(config, recipe)
    counts, cuda = plan.counts, device.kind == "cuda"
    weights, states, host, whole = _held(recipe, counts, device, ranks, strategy)
    group = typical_group(lengths.prompt, lengths.chosen, lengths.rejected)
    kept, tokens_each = plan.kept(group, cuda=cuda), num_packed_tokens(group)
    resident = weights + states["masters"] + states["moments"] + states["gradients"] + whole
    enough = enough_for(device.kind, counts.trained, counts.total + counts.adapter)
    tokens, reason = _tokens(
        recipe, device, kept.group / tokens_each, resident, tokens_each, lengths.longest, enough
    )
    tokens = min(tokens, tokens_each * math.ceil(recipe.train.batch_size / ranks))
    groups = tokens / tokens_each
    activations = kept.fixed + kept.group * groups
    if recipe.train.gradient_checkpointing:
        activations += kept.layer * groups
    size = SIZES[recipe.model.dtype]
    compute = 2.0 if recipe.train.precision == "bf16" else size
    inner = getattr(config.get_text_config(), "intermediate_size", 4 * counts.hidden)
    # A backward works in some tensors of a layer's widest activations, and makes each gradient before it is put in
    # place: of a weight that is embedding and head at once the one's, the other's and their sum.
    workspace = tokens * compute * (2 * inner + 4 * counts.hidden) + whole
    if not counts.adapter:
        tied = getattr(config.get_text_config(), "tie_word_embeddings", False)
        made = bytes_per_weight(recipe)["gradients"] if not cuda or host else size
        workspace += counts.largest * made * (3 if tied and not cuda else 1)
    rows = groups * (lengths.chosen + lengths.rejected)
    parts = {
        "runtime": RUNTIME[device.kind],
        "weights": weights,
        **states,
        "activations": activations,
        "head": head_bytes(counts, recipe, rows, cuda=cuda),
        "workspace": workspace,
        "reference": _reference(recipe, weights, size * counts.total),
        "cache": _cache(recipe, plan, lengths),
    }
    return Footprint(parts, host, tokens, reason)


def _held(
    recipe: Recipe, counts: Counts, device: Device, ranks: int, strategy: StrategyName
) -> tuple[float, dict[str, float], float, float]:
    """Bytes of the weights, of states by name, of states on the host, and of layers that shards are gathered into."""
    size = SIZES[recipe.model.dtype]
    weights = size * (counts.total + counts.adapter)
    if recipe.model.quantize == "nf4":
        weights = NF4 * counts.linear + size * (counts.total - counts.linear + counts.adapter)
    states = {name: value * counts.trained for name, value in bytes_per_weight(recipe).items()}
    if recipe.train.offload_optimizer and device.kind == "cuda":
        return weights, dict.fromkeys(states, 0.0), sum(states.values()), 0.0
    if strategy in ZERO_STAGES:
        states["masters"] = SIZES["float32"] * counts.trained  # of float32 weights too
    if strategy in CUT:
        states = {name: value / ranks for name, value in states.items()}
    if strategy in ("fsdp2", "zero3"):
        return weights / ranks, states, 0.0, size * (counts.ends + 2 * counts.layer)
    return weights, states, 0.0, 0.0


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
