"""Weights cut into shards, one a rank: cut (FSDP2), put together to write or to save, looked at as they lie here.

DeepSpeed's ZeRO-3 cuts weights too (`simpo.train.zero`); it leaves an empty parameter, its own part in `ds_tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from simpo.errors import RecipeError

_OPENED_BY: WeakKeyDictionary[Any, Callable[[], AbstractContextManager[Any]]] = WeakKeyDictionary()


def shard(model: Any, size: int, device: torch.device) -> None:
    """Shard a model over all ranks in place, layer by layer: each is put together for its forward and its backward.

    Gradients are summed over the ranks in float32 as each layer's backward ends. Embedding, last norm and head stay
    whole from the forward to the end of the backward, since a scorer reads the head's weight after the forward. Raises
    RecipeError for a model whose layers cannot be found.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = _layers(base)
    mesh = init_device_mesh(device.type, (size,))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for part in (*layers, base):
        fully_shard(part, mesh=mesh, mp_policy=policy)
        # A sum: each rank has divided by the global batch already. Division after it, and not within, is what every
        # backend can do.
        part.set_force_sum_reduction_for_comms(True)
        part.set_gradient_divide_factor(1.0)


def _layers(base: Any) -> list[Any]:
    """The decoder layers: the longest list of modules in the model."""
    lists = [
        module for module in base.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 0
    ]
    if not lists:
        raise RecipeError(
            f"parallel.strategy fsdp2: {type(base).__name__} has no list of layers to shard",
            fix="set parallel.strategy: ddp",
        )
    return max(([*layers] for layers in lists), key=len)


def is_sharded(what: Any) -> bool:
    """Whether a tensor, or a model's weights, lie in shards."""
    if isinstance(what, Tensor):
        return isinstance(what, DTensor) or _is_deepspeeds(what)
    return any(is_sharded(parameter) for parameter in what.parameters())


def _is_deepspeeds(tensor: Tensor) -> bool:
    return hasattr(tensor, "ds_tensor")


def local(tensor: Tensor) -> Tensor:
    """What of a tensor lies on this rank: its shard, or all of one that is whole. Changes reach the tensor."""
    if _is_deepspeeds(tensor):
        part: Tensor = tensor.ds_tensor.data  # type: ignore[attr-defined]
        left = tensor.ds_numel - dist.get_rank() * part.numel()  # type: ignore[attr-defined]
        return part[: max(0, left)]  # the last parts are filled up to the length of the others, with anything
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor put together; all ranks must ask."""
    if _is_deepspeeds(tensor):
        part: Tensor = tensor.ds_tensor.data  # type: ignore[attr-defined]
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)[: tensor.ds_numel].view(tensor.ds_shape)  # type: ignore[attr-defined]
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, sharded: Tensor) -> Tensor:
    """A whole tensor, known to all ranks, cut as `sharded` is; as it is where that is whole or of another shape."""
    if not isinstance(sharded, DTensor) or tensor.shape != sharded.shape:
        return tensor
    placed = tensor.to(sharded.device)
    return distribute_tensor(placed, sharded.device_mesh, sharded.placements, src_data_rank=None)


def collected(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Sharded tensors put together on the CPU one by one, for the rank that keeps them; the others get none.

    Whole ones are passed on as they are, and one under two names stays one. All ranks must ask, for the same names in
    the same order.
    """
    seen: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in seen:
            with torch.no_grad():
                complete = whole(tensor).detach()
            seen[id(tensor)] = complete.cpu() if keep and is_sharded(tensor) else complete
            if not keep:
                seen[id(tensor)] = complete.new_empty(0)
    return {name: seen[id(tensor)] for name, tensor in tensors.items()} if keep else {}


@contextmanager
def whole_weights(model: Any) -> Iterator[None]:
    """Put all layers together while the block runs, so that each rank can run the model on its own, without gradients.

    All ranks must enter. Nothing for a model that is not sharded.
    """
    if model in _OPENED_BY:
        with _OPENED_BY[model]():
            yield
        return
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    if not parts:
        yield
        return
    layers = parts[1:]  # what comes first stays together anyway
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)


def opens_with(model: Any, opener: Callable[[], AbstractContextManager[Any]]) -> None:
    """Say what puts the weights of a model together in `whole_weights`, for one that FSDP2 has not cut."""
    _OPENED_BY[model] = opener
