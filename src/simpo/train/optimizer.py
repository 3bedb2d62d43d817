"""AdamW, the learning-rate schedule as a function of the step, and their state as safetensors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from simpo.model.sharding import collected, is_sharded, like
from simpo.recipe import TrainRecipe
from simpo.train.eight_bit import eight_bit_adamw, is_eight_bit, parts_of, whole
from simpo.train.gradients import keep_gradient
from simpo.train.rounding import MasterAdamW, StochasticAdamW
from simpo.train.zero import Stage, ZeroAdamW


def make_optimizer(model: Any, recipe: TrainRecipe, *, zero: Stage | None = None) -> torch.optim.Optimizer:
    """AdamW over the trained parameters; weight decay for matrices alone, not for biases and norms.

    How an update reaches bfloat16 weights is `recipe.rounding`'s to say: through float32 masters unless it says
    otherwise. `optimizer` and `offload_optimizer` say how and where its states are held. zero: the stage of ZeRO that
    cuts states over the ranks, if any; the third cuts the model's weights too, in place.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    coarse = any(p.dtype == torch.bfloat16 for p in trained)
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    settings: dict[str, Any] = {"lr": recipe.lr, "betas": (recipe.adam_beta1, recipe.adam_beta2)}
    if recipe.optimizer == "adamw_8bit":
        return eight_bit_adamw(groups, stochastic=coarse and recipe.rounding == "stochastic", **settings)
    settings["fused"] = recipe.offload_optimizer or all(p.device.type in ("cpu", "cuda") for p in trained)
    if zero is not None:
        cut = model if zero == 3 else None
        return ZeroAdamW(groups, cut=cut, max_grad_norm=recipe.max_grad_norm, **settings)
    if recipe.offload_optimizer:
        return MasterAdamW(groups, host=True, **settings)
    kinds: dict[str, type[torch.optim.AdamW]] = {
        "master": MasterAdamW,
        "stochastic": StochasticAdamW,
        "nearest": torch.optim.AdamW,
    }
    kind = kinds[recipe.rounding or "master"] if coarse else torch.optim.AdamW
    return kind(groups, **settings)


def reserve(optimizer: torch.optim.Optimizer) -> None:
    """Make the moments now, all zero, where the first step would; on a CPU also room for the gradients, to be kept.

    A step's activations come and go as one block if nothing that stays lies between them: with moments and gradients
    made on the way, a CPU's heap was 1.6 GiB larger than what it held (135 million float32 weights). torchao's
    optimizer makes its moments itself.
    """
    if not isinstance(optimizer, torch.optim.AdamW):
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            optimizer.state[weight] = {
                "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                # Written, not only promised: what is free is measured next.
                "exp_avg": torch.empty_like(weight).zero_(),
                "exp_avg_sq": torch.empty_like(weight).zero_(),
            }
            if weight.device.type == "cpu" and not is_sharded(weight):
                keep_gradient(weight, optimizer)


def learning_rate(recipe: TrainRecipe, step: int, num_steps: int) -> float:
    """Learning rate of step `step` (from 0): linear warm-up, then cosine, linear or constant to the last step.

    Warm-up takes ceil(warmup * num_steps) steps, of which the first has lr / that many and the last has lr. The decay
    would reach 0 one step after the last, so that no step is without effect.
    """
    warmup = math.ceil(
        round(recipe.warmup * num_steps, 6)
    )  # 0.07 * 100 is 7.000000000000001 in floating point
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
        if isinstance(group["lr"], Tensor):  # compiled once for every rate
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, Tensor]:
    """The optimizer's tensors, named `index.name`, with torch's random state beside them.

    Sharded ones are put together, for which all ranks must ask; only one that keeps them gets any.
    """
    tensors = {f"rng.{device}": state for device, state in _random_states().items()}
    if isinstance(optimizer, ZeroAdamW):
        return optimizer.tensors(keep=keep) | (tensors if keep else {})
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if is_eight_bit(value):
                tensors |= {f"{index}.{name}.{part}": tensor for part, tensor in parts_of(value).items()}
            else:
                tensors[f"{index}.{name}"] = torch.as_tensor(value)
    if isinstance(optimizer, MasterAdamW):
        tensors |= {f"master.{index}": master.detach() for index, master in enumerate(optimizer.masters)}
    return collected(tensors, keep=keep)


def save_optimizer(tensors: dict[str, Tensor], path: Path) -> None:
    """Write what `optimizer_tensors` gave."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Put back what `save_optimizer` wrote, and the random state with it; each rank takes its shards."""
    tensors = load_file(path)
    for name in [name for name in tensors if name.startswith("rng.")]:
        _set_random_state(name.removeprefix("rng."), tensors.pop(name))
    if isinstance(optimizer, ZeroAdamW):
        optimizer.load(tensors)
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, leaf = name.partition(".")
        if index == "master":
            if isinstance(optimizer, MasterAdamW):
                master = optimizer.masters[int(leaf)]
                master.data.copy_(like(value, master))
        else:
            state.setdefault(int(index), {})[leaf] = like(value, weights[int(index)])
    optimizer.load_state_dict(
        {**optimizer.state_dict(), "state": {i: whole(held) for i, held in state.items()}}
    )


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_state(device: str, state: Tensor) -> None:
    """Set one generator; a device that this machine lacks is passed over: its dropout cannot be drawn again here."""
    if device == "cpu":
        torch.set_rng_state(state)
    elif device.startswith("cuda:") and int(device[5:]) < torch.cuda.device_count():
        torch.cuda.set_rng_state(state, device)
    elif device == "mps" and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state)
