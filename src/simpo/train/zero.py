"""ZeRO-2 (Rajbhandari et al. 2020, arXiv:1910.02054): DeepSpeed cuts gradients and AdamW's states over the ranks."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simpo.errors import RecipeError
from simpo.train.reduce import BUCKET

MOMENTS = ("exp_avg", "exp_avg_sq")
OLDEST = (0, 19, 8)  # whose engine can be told to sum


def import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed, set up for the device. RecipeError where it cannot be imported or cannot sum gradients."""
    # It would take a GPU where one is there, whatever train.device says.
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    try:
        import deepspeed
    except Exception as error:  # it compiles and asks drivers on import: anything may come of that
        raise RecipeError(
            f"parallel.strategy zero2: deepspeed cannot be imported: {str(error).splitlines()[0]}",
            fix="mend the installation (`python -c 'import deepspeed'`), or set parallel.strategy: fsdp2",
        ) from error
    numbers = tuple(int(word) for word in re.findall(r"\d+", deepspeed.__version__)[:3])
    if numbers < OLDEST:
        raise RecipeError(
            f"parallel.strategy zero2: deepspeed {deepspeed.__version__} cannot sum gradients over the ranks",
            fix=f"pip install 'deepspeed>={'.'.join(map(str, OLDEST))}'",
        )
    # For inference on CPUs, and compiled on import of it: a compiler is not what a training should need.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


class ZeroAdamW(torch.optim.Optimizer):
    """AdamW of which each rank holds a part: of the summed gradients, the moments and the float32 masters.

    Every rank has the whole weights. A backward adds its gradients, summed over the ranks in float32, to the parts; all
    ranks must take as many. bfloat16 weights have float32 masters, as in `MasterAdamW`; float32 weights are copied in
    parts too.

    DeepSpeed's engine is driven directly, and not by accelerate, whose `backward` takes the step as well: none could be
    refused. The engine is given the trained weights and not the model, which it would turn into one floating type; the
    model is run by whoever scores with it. Raises RecipeError for trained weights of several types.
    """

    def __init__(self, groups: list[dict[str, Any]], *, max_grad_norm: float, **settings: Any) -> None:
        base = torch.optim.AdamW([{**group} for group in groups], **settings)
        super().__init__(groups, settings)
        self._engine = _start_engine(_Weights(self._weights), base, max_grad_norm)
        self._base = base
        self._fill_moments()

    @property
    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]

    def _fill_moments(self) -> None:
        """Make the moments now, where DeepSpeed would in its first step: a checkpoint may be read before that."""
        for group in self._base.param_groups:
            (part,) = group["params"]
            self._base.state[part] = {
                "step": torch.zeros((), dtype=torch.float32, device=part.device),
                **{name: torch.zeros_like(part) for name in MOMENTS},
            }
        self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, summed over the ranks, to what each of them holds."""
        self._engine.backward(self._engine(loss))

    def clip_grad_norm_(self, weights: object, max_norm: float) -> Tensor:
        """The norm of the whole gradient; the step clips by it, to what the optimizer was made with."""
        self._engine.optimizer.finalize_gradient_accumulation_boundary()
        norm: Tensor = self._engine.optimizer.scaled_global_norm()
        return norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update each rank's part, and give all of them the whole weights."""
        for own, theirs in zip(self.param_groups, self._base.param_groups, strict=True):
            theirs["lr"] = own["lr"]
        self._engine.set_gradient_accumulation_boundary(True)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch's, of the names by which DeepSpeed calls it
            self._engine.step()
        self._engine.set_gradient_accumulation_boundary(False)

    def tensors(self, *, keep: bool) -> dict[str, Tensor]:
        """Moments, steps and masters under the names of AdamW and `MasterAdamW`, whole, on the CPU of who keeps them.

        One after the other is put together, for which all ranks must ask.
        """
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        (step,) = {float(state["step"]) for state in self._base.state.values()}
        found: dict[str, Tensor] = {}
        for index, weight in enumerate(self._weights):
            parts = {f"{index}.{name}": safe_get_full_optimizer_state(weight, name) for name in MOMENTS}
            if weight.dtype == torch.bfloat16:
                parts[f"master.{index}"] = safe_get_full_fp32_param(weight)
            if keep:
                found |= {name: part.cpu() for name, part in parts.items()}
                found[f"{index}.step"] = torch.tensor(step)
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this rank's parts of what `tensors` gave, or another AdamW's checkpoint holds."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for index, weight in enumerate(self._weights):
            for name in MOMENTS:
                safe_set_full_optimizer_state(weight, tensors[f"{index}.{name}"], name)
            if f"master.{index}" in tensors:
                safe_set_full_fp32_param(weight, tensors[f"master.{index}"])
        for state in self._base.state.values():
            state["step"].copy_(tensors["0.step"])


class _Weights(torch.nn.Module):
    """The trained weights as a module for DeepSpeed, which a loss goes through on its way back."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.trained = torch.nn.ParameterList(weights)

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def _start_engine(weights: _Weights, base: torch.optim.AdamW, max_grad_norm: float) -> Any:
    """DeepSpeed's engine over the weights, with `base` for its steps."""
    kinds = {weight.dtype for weight in weights.parameters()}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.bfloat16}:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise RecipeError(
            f"parallel.strategy zero2: the trained weights are {names}, and DeepSpeed takes float32 or bfloat16 ones",
            fix="set parallel.strategy: fsdp2, or ddp",
        )
    deepspeed = import_deepspeed(next(weights.parameters()).device)
    engine, *_ = deepspeed.initialize(
        model=weights,
        optimizer=base,
        config={
            "train_micro_batch_size_per_gpu": 1,  # must be said, and divides nothing
            "gradient_accumulation_steps": 1,
            "gradient_allreduce_op": "sum",  # each rank has divided by the pairs of the global batch
            "communication_data_type": "fp32",
            "data_types": {"grad_accum_dtype": "fp32"},
            "gradient_clipping": max_grad_norm,
            "bf16": {"enabled": kinds == {torch.bfloat16}},
            "zero_optimization": {
                "stage": 2,
                "reduce_bucket_size": BUCKET,
                "allgather_bucket_size": BUCKET,
            },
        },
    )
    engine.set_gradient_accumulation_boundary(False)
    return engine
