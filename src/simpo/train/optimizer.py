"""AdamW, the learning-rate schedule as a function of the step, and their state as safetensors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from simpo.recipe import TrainRecipe


def make_optimizer(model: Any, recipe: TrainRecipe) -> torch.optim.AdamW:
    """AdamW over the trained parameters; weight decay for matrices alone, not for biases and norms."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        fused=all(p.device.type in ("cpu", "cuda") for p in trained),
    )


def learning_rate(recipe: TrainRecipe, step: int, num_steps: int) -> float:
    """Learning rate of step `step` (from 0): linear warm-up, then cosine, linear or constant to the last step."""
    warmup = math.ceil(recipe.warmup * num_steps)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "linear":
        return recipe.lr * (1 - progress)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Write the optimizer's tensors, named `index.name`, with torch's random state beside them."""
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{index}.{name}"] = torch.as_tensor(value).contiguous()
    save_file(tensors, path)


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Put back what `save_optimizer` wrote, and the random state with it."""
    tensors = load_file(path)
    torch.set_rng_state(tensors.pop("rng.cpu"))
    if "rng.cuda" in tensors:
        cuda_state = tensors.pop("rng.cuda")
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(cuda_state)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, leaf = name.partition(".")
        state.setdefault(int(index), {})[leaf] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
