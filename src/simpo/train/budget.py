"""How many tokens one forward and backward may take: enough to be fast, few enough to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simpo.model.trust import Choice
from simpo.records import TokenGroup
from simpo.train.gradients import has_place

# Tokens from which on a larger forward is hardly faster. Where most weights are trained, each forward and backward also
# casts them all and adds to all of their gradients, which more tokens share: on two cores a step of 135 million weights
# took a sixth less time with two pairs of 460 tokens at once than with one, a step of an adapter the same.
ENOUGH_TOKENS = {"cpu": 512}
ENOUGH_TOKENS_ON_A_GPU = 16384
MORE_FOR_WEIGHTS = 2

# Of the memory that is free, what autograd may keep: a forward and backward also need room to work in.
SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens of a micro-batch, and how they were found, in a sentence."""

    tokens: int
    reason: str


def find_budget(
    model: Any,
    optimizer: torch.optim.Optimizer,
    choice: Choice,
    groups: Sequence[TokenGroup],
    free: int | None,
) -> Budget:
    """Run the longest group forward, count what is kept for its backward, and take as many tokens as fit and help.

    free: bytes that can be taken (`free_bytes`); None, where the system does not say, takes as many tokens as help.
    Nothing has changed when it returns, torch's random state included.
    """
    device = next(model.parameters()).device
    enough = enough_tokens(model)
    longest = max(groups, key=lambda group: group.longest)
    tokens = choice.tokens([longest])
    if free is not None:
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            kept = kept_bytes(model, lambda: choice.scorer(model, [longest]))
        return budget_for(kept / tokens, free - _state_bytes(optimizer, device), enough, tokens)
    return Budget(max(enough, tokens), f"a forward of {enough} tokens is large enough to be fast")


def enough_tokens(model: Any) -> int:
    """Tokens of a forward and backward from which on more hardly help, on the model's device."""
    weights = list(model.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return enough_for(weights[0].device.type, trained, sum(weight.numel() for weight in weights))


def enough_for(device: str, trained: int, total: int) -> int:
    """The same of so many weights, trained and in all, on a kind of device."""
    enough = ENOUGH_TOKENS.get(device, ENOUGH_TOKENS_ON_A_GPU)
    return enough * (MORE_FOR_WEIGHTS if 2 * trained > total else 1)


def budget_for(bytes_per_token: float, free: float, enough: int, longest: int) -> Budget:
    """As many tokens as help (`enough`), fewer where they do not fit what is free; at least the longest row's."""
    room = SHARE * max(0.0, free)
    if room < enough * bytes_per_token:
        reason = f"{bytes_per_token / 1024:.0f} KiB a token, {room / 2**30:.1f} GiB for them"
        return Budget(max(int(room / bytes_per_token), longest), reason)
    return Budget(max(enough, longest), f"a forward of {enough} tokens is large enough to be fast")


def kept_bytes(model: Any, forward: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a forward for its backward, weights aside, each buffer once; of fake tensors too."""
    # By the address of the storage's own record: fake tensors have no memory to be known by.
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        # The storage stays here, lest its place be given out again and counted once. In the graph nothing stays: a
        # tensor there that is its own node's output would hold itself, and the forward, for good.
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return nothing

    nothing = torch.empty(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda given: given):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


def _state_bytes(optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    """What the optimizer will hold on the device and does not yet: gradients, two moments, in their weights' types."""
    missing = 0
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.device != device:  # offloaded
                continue
            tensors = (0 if has_place(weight) else 1) + (0 if optimizer.state.get(weight) else 2)
            missing += tensors * weight.numel() * weight.element_size()
    return missing


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken, None where nobody says."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    lines = meminfo.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
