"""accelerate's handle on device and mixed precision, and what a run refuses of this machine beforehand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch

from simpo.errors import RecipeError
from simpo.model.load import choose_device
from simpo.model.trust import Choice, choose_scorer
from simpo.recipe import Recipe
from simpo.records import TokenGroup
from simpo.runs.ranks import apart, current
from simpo.train.parallel import ZERO_STAGES, require_strategy
from simpo.train.tracker import require_tracker
from simpo.train.zero import import_deepspeed


def require_machine(recipe: Recipe) -> None:
    """RecipeError for what this machine cannot do, before anything is loaded or written."""
    require_strategy(recipe, current().size)
    require_tracker(recipe)
    require_packages(recipe)
    device = choose_device(recipe.train.device)
    stage = ZERO_STAGES.get(recipe.parallel.strategy)
    if stage is not None and current().size > 1:
        import_deepspeed(device, stage)
    if recipe.train.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError(
            "train.precision bf16: this GPU has no bfloat16", fix="set train.precision: float32"
        )


def require_packages(recipe: Recipe) -> None:
    """RecipeError for a setting whose optional package is not installed."""
    strategy = recipe.parallel.strategy if current().size > 1 else "alone"
    for key, value, package, extra in (
        ("model.quantize", recipe.model.quantize, "bitsandbytes", "quantised"),
        ("train.optimizer", recipe.train.optimizer, "torchao", "quantised"),
        ("parallel.strategy", strategy, "deepspeed", "deepspeed"),
    ):
        if value in ("nf4", "adamw_8bit", *ZERO_STAGES) and importlib.util.find_spec(package) is None:
            raise RecipeError(
                f"{key} {value}: the package {package} is not installed",
                fix=f"pip install {package} (or 'simpo[{extra}]'), or leave {key} out",
            )


def make_accelerator(recipe: Recipe, device: torch.device) -> Any:
    """accelerate's handle on devices and mixed precision for one run."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin

    # Accelerate keeps one state a process and refuses a second precision; a run has its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if recipe.train.precision == "bf16" else "no",
        # Said aloud: else a number in the environment (`accelerate launch` sets one) would divide our losses again.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )


def run_scorer(
    recipe: Recipe, accelerator: Any, model: Any, groups: Sequence[TokenGroup], *, gradients: bool
) -> Choice:
    """The scorer of a run under its precision, the same for steps, evaluation and reference.

    gradients: whether the shared scorer's gradients are checked too, or its values alone.
    """
    coarse = recipe.train.precision != "float32"

    def choose(setting: Literal["auto", "plain", "shared"]) -> Choice:
        return choose_scorer(setting, model, groups, accelerator.autocast, coarse=coarse, gradients=gradients)

    with apart():
        choice = choose(recipe.train.scorer)
    plain = current().any(choice.name == "plain")
    if plain and choice.name == "shared":
        return replace(choose("plain"), reason="another rank found that the shared scorer does not fit")
    return choice


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """For `bf16_matmul`, let oneDNN multiply float32 matrices in bfloat16 while the block runs; else change nothing.

    A CPU without the units for it multiplies in float32 as before. RecipeError where torch has no such switch.
    """
    if precision != "bf16_matmul":
        yield
        return
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None:
        raise RecipeError(
            f"train.precision bf16_matmul: torch {torch.__version__} has no switch for it",
            fix="install torch 2.9 or newer, or set train.precision: float32",
        )
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
