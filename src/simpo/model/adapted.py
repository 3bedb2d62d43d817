"""A linear layer with a LoRA adapter worked out as one function: fewer passes over its output than peft takes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def fuse_adapters(model: Any) -> int:
    """Let the adapted linear layers of a peft model work as `FusedLinear`; returns how many there are."""
    layers = [
        module
        for module in model.modules()
        if type(module) is lora.Linear and type(module.base_layer) is nn.Linear
    ]
    for layer in layers:
        layer.__class__ = FusedLinear
    return len(layers)


class FusedLinear(lora.Linear):  # type: ignore[misc]  # peft has no types
    """peft's layer, `x W' + b + scaling (x A') B'`, in one function where nothing else is asked of it.

    Products are added to one another where peft makes each and then adds, scales and casts: its five passes over the
    layer's output and two over its input's gradient are left out. What is not that plain (dropout, several adapters,
    DoRA, a merged or switched-off adapter, a base in 4 bits or with hooks, mixed types) goes the way of peft.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] to [..., out], as peft's up to rounding."""
        parts = None if args or kwargs else self.plain_parts(x)
        if parts is None:
            found: Tensor = super().forward(x, *args, **kwargs)
            return found
        return _LowRankLinear.apply(*parts, self.scaling[self.active_adapters[0]])  # type: ignore[no-any-return,no-untyped-call]

    def plain_parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor] | None:
        """x, W, b, A and B in the type of their products, or None where the function would not be the layer's."""
        names = self.active_adapters
        if self.disable_adapters or self.merged or len(names) != 1 or names[0] not in self.lora_A:
            return None
        name, base = names[0], self.base_layer
        down, up, dropout = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
        hooked = any(each._forward_hooks or each._forward_pre_hooks for each in (base, down, up))
        if hooked or name in self.lora_variant or up.bias is not None or not isinstance(dropout, nn.Identity):
            return None
        if base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
            return None
        tensors = x, base.weight, base.bias, down.weight, up.weight
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            return tuple(None if each is None else each.to(dtype) for each in tensors)  # type: ignore[return-value]
        return tensors if len({each.dtype for each in tensors if each is not None}) == 1 else None


class _LowRankLinear(torch.autograd.Function):
    """x W' + b + scaling (x A') B' with W and b frozen; x: [..., in], A: [r, in], B: [out, r]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        out = F.linear(rows, weight, bias).addmm_(low, up.T, alpha=scaling)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        grad = gradients[0].reshape(-1, up.shape[0])
        low_grad = (grad @ up).mul_(ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(low_grad, down).view(ctx.shape)
        grad_down = low_grad.T @ rows if ctx.needs_input_grad[3] else None
        grad_up = (grad.T @ low).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_down, grad_up, None
