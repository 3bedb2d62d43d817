"""Gradients that lie in the same memory in every step."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

# By weight, the memory of its gradient.
_kept: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()


def keep_gradient(weight: Tensor, owner: object) -> None:
    """Give the gradient of `weight` a place of its own, for as long as `owner` lives.

    `zero_grad(set_to_none=True)` still leaves None where a step brings no gradient.
    """
    _kept[weight] = torch.empty_like(weight).zero_()
    handle = weight.register_post_accumulate_grad_hook(_settle)  # type: ignore[no-untyped-call]
    weakref.finalize(owner, _forget, weakref.ref(weight), handle)


def _forget(weight: weakref.ref[Tensor], handle: RemovableHandle) -> None:
    handle.remove()
    found = weight()
    if found is not None:
        _kept.pop(found, None)


def has_place(weight: Tensor) -> bool:
    """Whether the memory of this weight's gradient is held already."""
    return weight.grad is not None or weight in _kept


def add_gradient(weight: Tensor, gradient: Tensor) -> None:
    """Add `gradient`, of any floating type and device, to that of `weight`, in its place if it has one."""
    if weight.grad is not None:
        weight.grad += gradient.to(weight.device)
    elif weight in _kept:
        weight.grad = _kept[weight].copy_(gradient)
    else:
        weight.grad = gradient.to(weight.device, weight.dtype, copy=True)


def _settle(weight: Tensor) -> None:
    """Move a gradient that autograd has just made to its place; what comes after is added to it there."""
    place = _kept.get(weight)
    if place is not None and weight.grad is not None and weight.grad.data_ptr() != place.data_ptr():
        weight.grad = place.copy_(weight.grad)
