"""ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054): DeepSpeed cuts what each rank holds, in two stages.

Stage 2: gradients and AdamW's states. Stage 3: the weights too, which are put together layer by layer.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.errors import RecipeError
from simpo.model.score import Scorer
from simpo.model.sharding import is_sharded, opens_with
from simpo.records import TokenGroup
from simpo.train.reduce import BUCKET

Stage = Literal[2, 3]
MOMENTS = ("exp_avg", "exp_avg_sq")
OLDEST = (0, 19, 8)  # whose engine can be told to sum


def import_deepspeed(device: torch.device, stage: Stage) -> Any:
    """DeepSpeed, set up for the device. RecipeError where it cannot be imported or cannot do what is asked of it."""
    # It would take a GPU where one is there, whatever train.device says.
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    try:
        import deepspeed
    except Exception as error:  # it compiles and asks drivers on import: anything may come of that
        raise RecipeError(
            f"parallel.strategy zero{stage}: deepspeed cannot be imported: {str(error).splitlines()[0]}",
            fix="mend the installation (`python -c 'import deepspeed'`), or set parallel.strategy: fsdp2",
        ) from error
    numbers = tuple(int(word) for word in re.findall(r"\d+", deepspeed.__version__)[:3])
    if numbers < OLDEST:
        raise RecipeError(
            f"parallel.strategy zero{stage}: deepspeed {deepspeed.__version__} cannot sum gradients over the ranks",
            fix=f"pip install 'deepspeed>={'.'.join(map(str, OLDEST))}'",
        )
    # For inference on CPUs, and compiled on import of it: a compiler is not what a training should need.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def require_one_type(weights: Sequence[Tensor], stage: Stage) -> torch.dtype:
    """The floating type of all these weights; RecipeError where there are several, or one DeepSpeed cannot train."""
    kinds = {weight.dtype for weight in weights}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.bfloat16}:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise RecipeError(
            f"parallel.strategy zero{stage}: the weights are {names}, and DeepSpeed takes float32 or bfloat16 ones",
            fix="set parallel.strategy: fsdp2, or ddp",
        )
    return kinds.pop()


class ZeroAdamW(torch.optim.Optimizer):
    """AdamW of which each rank holds a part: of the summed gradients, the moments and the float32 masters.

    A backward adds its gradients, summed over the ranks in float32, to the parts; all ranks must take as many. bfloat16
    weights have float32 masters, as in `MasterAdamW`; float32 weights are copied in parts too.

    Without `cut` every rank has the whole weights (stage 2). With `cut`, a model, its weights lie in parts as well
    (stage 3): whoever scores with it does so by `through`.

    DeepSpeed's engine is driven directly, and not by accelerate, whose `backward` takes the step as well: none could be
    refused. For stage 2 it is given the trained weights and not the model, which is run by whoever scores with it.
    Raises RecipeError for weights of several types.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, max_grad_norm: float, cut: Any = None, **settings: Any
    ) -> None:
        base = torch.optim.AdamW([{**group} for group in groups], **settings)
        super().__init__(groups, settings)
        self._engine = _start_engine(
            _Weights(self._weights) if cut is None else _Model(cut), base, max_grad_norm
        )
        self._base, self._in_parts = base, cut is not None
        if cut is not None:
            _open_by_engine(cut, self._engine)
        self._fill_moments()

    @property
    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]

    def _fill_moments(self) -> None:
        """Make the moments now, where DeepSpeed would in its first step: a checkpoint may be read before that."""
        zero = self._engine.optimizer
        for part in (
            zero.fp32_partitioned_groups_flat if self._in_parts else zero.single_partition_of_fp32_groups
        ):
            self._base.state[part] = {
                "step": torch.zeros((), dtype=torch.float32, device=part.device),
                **{name: torch.zeros_like(part) for name in MOMENTS},
            }
        if not self._in_parts:
            zero._lazy_init_hp_params_optimizer_state()

    @property
    def cuts_weights(self) -> bool:
        """Whether the weights lie in parts too (stage 3)."""
        return self._in_parts

    def through(self, scorer: Scorer) -> Scorer:
        """The scorer as weights in parts need it: their model is run within DeepSpeed's forward."""
        return _through(self._engine, scorer) if self._in_parts else scorer

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, summed over the ranks, to what each of them holds."""
        if self._in_parts:
            with _linear_layers_keep_no_weights(), _no_warnings_of_names():
                self._engine.backward(loss * dist.get_world_size())  # of which it takes the mean
        else:
            self._engine.backward(self._engine(loss))

    def clip_grad_norm_(self, weights: object, max_norm: float) -> Tensor:
        """The norm of the whole gradient; the step clips by it, to what the optimizer was made with."""
        zero = self._engine.optimizer
        zero.finalize_gradient_accumulation_boundary()
        if not self._in_parts:
            norm: Tensor = zero.scaled_global_norm()
            return norm
        norms = torch.stack([norm.float() for norm in zero._get_norm_groups()])
        # -1 is its word for one that is not finite.
        return torch.where((norms < 0).any(), torch.inf, torch.linalg.vector_norm(norms))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update each rank's part, and give all of them the whole weights."""
        for own, theirs in zip(self.param_groups, self._base.param_groups, strict=True):
            theirs["lr"] = own["lr"]
        self._engine.set_gradient_accumulation_boundary(True)
        with _no_warnings_of_names():
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
        for index, weight in enumerate(self._weights):
            for name in MOMENTS:
                _set_state(weight, tensors[f"{index}.{name}"], name)
            if f"master.{index}" in tensors:
                _set_state(weight, tensors[f"master.{index}"], None)
        for state in self._base.state.values():
            state["step"].copy_(tensors["0.step"])


def cut_frozen(model: Any) -> Callable[[Scorer], Scorer]:
    """Cut a model that is not trained; gives what a scorer needs to run it, as `ZeroAdamW.through` does."""
    engine = _start_engine(_Model(model), None, 0.0)
    _open_by_engine(model, engine)
    return lambda scorer: _through(engine, scorer)


class _Weights(torch.nn.Module):
    """The trained weights as a module for DeepSpeed, which a loss goes through on its way back."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.trained = torch.nn.ParameterList(weights)

    def forward(self, loss: Tensor) -> Tensor:
        return loss


class _Model(torch.nn.Module):
    """A model as DeepSpeed runs it: what computes with it says how.

    Weights read outside of their own layer's forward (a head's, an adapter's) DeepSpeed puts together when they are
    looked at, and again in the backward, as long as that happens within this forward.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        with _linear_layers_keep_no_weights():
            return compute()


@contextmanager
def _linear_layers_keep_no_weights() -> Iterator[None]:
    """Let linear layers keep the parameter, where torch keeps a view of it: that would hold a layer put together."""
    from deepspeed.runtime.zero.linear import zero3_linear_wrap

    functional = torch.nn.functional
    before = functional.linear
    functional.linear = zero3_linear_wrap
    try:
        yield
    finally:
        functional.linear = before


@contextmanager
def _no_warnings_of_names() -> Iterator[None]:
    """Silence torch about the names by which DeepSpeed calls it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
        yield


def _through(engine: Any, scorer: Scorer) -> Scorer:
    def scored(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
        found: list[SequenceLogps] = []

        def compute() -> Tensor:
            found.append(scorer(model, groups))
            return found[0].total

        with _no_warnings_of_names():
            total = engine(compute)
        return SequenceLogps(total, found[0].tokens)

    return scored


def _open_by_engine(model: Any, engine: Any) -> None:
    """Let `whole_weights` put the model together."""
    from deepspeed.runtime.zero import unwrap_model_for_generation

    opens_with(model, lambda: unwrap_model_for_generation(engine))


def _set_state(weight: Tensor, value: Tensor, name: str | None) -> None:
    """Give DeepSpeed one of a weight's moments, or, without a name, its float32 master."""
    from deepspeed import utils

    if is_sharded(weight):
        size = weight.ds_tensor.numel()  # type: ignore[attr-defined]
        own = value.flatten()[dist.get_rank() * size :][:size]
        value = torch.cat([own, own.new_zeros(size - own.numel())])
        if name is None:
            utils.safe_set_local_fp32_param(weight, value)
        else:
            utils.safe_set_local_optimizer_state(weight, value, name)
    elif name is None:
        utils.safe_set_full_fp32_param(weight, value)
    else:
        utils.safe_set_full_optimizer_state(weight, value, name)


def _start_engine(module: _Weights | _Model, base: torch.optim.AdamW | None, max_grad_norm: float) -> Any:
    """DeepSpeed's engine over weights or a model, with `base` for its steps."""
    stage: Stage = 2 if isinstance(module, _Weights) else 3
    weights = list(module.parameters())
    kind = require_one_type(weights, stage)
    deepspeed = import_deepspeed(weights[0].device, stage)
    sizes: dict[str, int] = {"reduce_bucket_size": BUCKET}
    if stage == 2:
        sizes["allgather_bucket_size"] = BUCKET
    else:
        sizes["stage3_prefetch_bucket_size"] = BUCKET
        sizes["stage3_max_reuse_distance"] = 0  # else what is used again soon is kept: a billion weights
        # Vectors stay whole: a message each costs more than their room.
        vectors = [weight.numel() for weight in weights if weight.dim() < 2]
        sizes["stage3_param_persistence_threshold"] = max(vectors, default=0)
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=base,
        config={
            "train_micro_batch_size_per_gpu": 1,  # must be said, and divides nothing
            "gradient_accumulation_steps": 1,
            # Each rank has divided by the pairs of the global batch; stage 3 knows the mean alone (`backward`).
            "gradient_allreduce_op": "sum" if stage == 2 else "mean",
            "communication_data_type": "fp32",
            "data_types": {"grad_accum_dtype": "fp32"},
            "gradient_clipping": max_grad_norm,
            "bf16": {"enabled": kind == torch.bfloat16},
            "zero_optimization": {"stage": stage, **sizes},
        },
    )
    if base is not None:
        engine.set_gradient_accumulation_boundary(False)
    return engine
