"""Norms and gated layers that keep less for the backward: the model's own numbers, worked out again where it is cheap.

Which layers of a model are of a kind known here is not read from their names: what a layer's class makes of random
weights and inputs must equal what the function here makes of them, to the bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from simpo.model.adapted import FusedLinear

Activation = Callable[[Tensor], Tensor]

# Types of input and weight in which a norm must do what the function does.
_TRIED = (
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
    (torch.float64, torch.float64),
)


def make_lean(model: nn.Module) -> int:
    """Let RMS norms and gated layers of the model keep less while it trains, in place; returns how many there are.

    A norm keeps its input and a number a row; a gated layer its gate and what is gated, not their product. Weights,
    names and classes (as `isinstance` sees them) stay; without gradients nothing changes.
    """
    count = 0
    for module in model.modules():
        if "forward" in vars(module):  # wrapped by somebody: what it does is no longer its class's alone
            continue
        if getattr(type(module), "is_lean", False):
            count += 1
            continue
        kind = _norm_kind(module)
        if kind is not None:
            module.__class__ = _lean_norm(type(module), kind)  # type: ignore[arg-type]  # a class is hashable
        elif _is_gated(module):
            module.__class__ = _lean_gated(type(module))  # type: ignore[arg-type]
        else:
            continue
        count += 1
    return count


class NormKind(Enum):
    """Where an RMS norm puts its weight w on x normalised, n: all do the rest in float32."""

    AFTER = "w n, n cast back to the type of x before (Llama)"
    WITHIN = "w n, cast back after (OLMo 2)"
    SHIFTED = "(1 + w) n, cast back after (Gemma)"


class _RMSNorm(torch.autograd.Function):
    """x / rms(x), weighted, over the last dimension; keeps x and 1 / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, kind: NormKind) -> Tensor:
        wide = x.to(torch.float32)
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        ctx.kind = kind
        normal = wide * scale
        if kind is NormKind.AFTER:
            normal = normal.to(x.dtype)
            return normal.mul_(weight) if normal.dtype == weight.dtype else weight * normal
        return (normal * _factor(weight, kind)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        (grad,) = gradients
        normal = x.to(torch.float32) * scale
        if ctx.kind is NormKind.AFTER:
            by_row, inner = normal.to(x.dtype), (grad * weight).to(x.dtype)
        else:
            grad = grad.to(torch.float32)
            by_row, inner = normal, grad * _factor(weight, ctx.kind)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * by_row).flatten(0, -2).sum(0).to(weight.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            inner = inner.to(torch.float32)
            along = (inner * normal).mean(-1, keepdim=True)
            grad_x = normal.mul_(along).neg_().add_(inner).mul_(scale).to(x.dtype)
        return grad_x, grad_weight, None, None


def _factor(weight: Tensor, kind: NormKind) -> Tensor:
    return 1.0 + weight.to(torch.float32) if kind is NormKind.SHIFTED else weight


@cache
def _lean_norm(norm: type[nn.Module], kind: NormKind) -> type[nn.Module]:
    class Lean(norm):  # type: ignore[misc,valid-type]  # a class made at run time
        is_lean = True

        def forward(self, hidden_states: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return super().forward(hidden_states)  # type: ignore[no-any-return]
            return _RMSNorm.apply(hidden_states, self.weight, _eps(self), kind)  # type: ignore[no-any-return,no-untyped-call]

    Lean.__name__, Lean.__qualname__ = norm.__name__, norm.__qualname__
    return Lean


def _eps(module: nn.Module) -> float | None:
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return found if isinstance(found, float) else None


def _norm_kind(module: nn.Module) -> NormKind | None:
    """What kind of RMS norm the module is found to be, None for anything else."""
    eps, weights = _eps(module), dict(module.named_parameters())
    if eps is None or list(weights) != ["weight"] or weights["weight"].dim() != 1:
        return None
    if any(module.children()) or any(True for _ in module.buffers()):
        return None
    kinds = list(NormKind)
    draw = torch.Generator().manual_seed(0)
    size = len(weights["weight"])
    for of_input, of_weight in _TRIED:
        x = _random(3, size, generator=draw).mul_(3).to(of_input)
        weight = _random(size, generator=draw).to(of_weight)
        probe = copy.copy(module)
        probe._parameters = {"weight": nn.Parameter(weight, requires_grad=False)}
        found = _tried(type(module), probe, x)
        kinds = [kind for kind in kinds if _same(found, _RMSNorm.apply(x, weight, eps, kind))]  # type: ignore[no-untyped-call]
    return kinds[0] if kinds else None


class _GatedLinear(torch.autograd.Function):
    """h W' + b + scaling (h A') B' of h = activation(gate) up; keeps gate and up, not h. A and B may be None."""

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        up: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor | None,
        lora_b: Tensor | None,
        scaling: float,
        activation: Activation,
    ) -> Tensor:
        rows = (activation(gate) * up).flatten(0, -2)
        out, low = F.linear(rows, weight, bias), None
        if lora_a is not None and lora_b is not None:
            low = rows @ lora_a.T
            out.addmm_(low, lora_b.T, alpha=scaling)
        ctx.save_for_backward(gate, up, weight, lora_a, lora_b, low)
        ctx.scaling, ctx.activation = scaling, activation
        return out.view(*gate.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight, lora_a, lora_b, low = ctx.saved_tensors
        grad = gradients[0].flatten(0, -2)
        with torch.enable_grad():
            opened = gate.detach().requires_grad_()
            active = ctx.activation(opened)
        grad_weight = grad_bias = grad_a = grad_b = None
        grad_rows = grad @ weight
        rows = (active.detach() * up).flatten(0, -2) if any(ctx.needs_input_grad[i] for i in (2, 4)) else None
        if ctx.needs_input_grad[2] and rows is not None:
            grad_weight = grad.T @ rows
        if ctx.needs_input_grad[3]:
            grad_bias = grad.sum(0)
        if low is not None:
            low_grad = (grad @ lora_b).mul_(ctx.scaling)
            grad_rows.addmm_(low_grad, lora_a)
            if rows is not None:
                grad_a = low_grad.T @ rows
            if ctx.needs_input_grad[5]:
                grad_b = (grad.T @ low).mul_(ctx.scaling)
        del rows
        grad_product = grad_rows.view(gate.shape)
        grad_up = grad_product * active.detach()
        (grad_gate,) = torch.autograd.grad(active, opened, grad_product.mul_(up))
        return grad_gate, grad_up, grad_weight, grad_bias, grad_a, grad_b, None, None


@cache
def _lean_gated(gated: type[nn.Module]) -> type[nn.Module]:
    class Lean(gated):  # type: ignore[misc,valid-type]  # a class made at run time
        is_lean = True

        def forward(self, x: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return super().forward(x)  # type: ignore[no-any-return]
            gate, up = self.gate_proj(x), self.up_proj(x)
            parts = _plain_parts(self.down_proj, gate)
            if parts is None or gate.dtype != up.dtype:
                found: Tensor = self.down_proj(self.act_fn(gate) * up)
                return found
            return _GatedLinear.apply(gate, up, *parts, self.act_fn)  # type: ignore[no-any-return,no-untyped-call]

    Lean.__name__, Lean.__qualname__ = gated.__name__, gated.__qualname__
    return Lean


def _plain_parts(layer: nn.Module, x: Tensor) -> tuple[Any, ...] | None:
    """W, b, A, B in the type of the layer's product with x, and the scaling; None where the layer is not that plain."""
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return None
    if isinstance(layer, FusedLinear):
        parts = layer.plain_parts(x)
        if parts is None or parts[0].dtype != x.dtype:
            return None
        return (*parts[1:], layer.scaling[layer.active_adapters[0]])
    if type(layer) is not nn.Linear:
        return None
    kind, dtype = x.device.type, x.dtype
    cast = torch.is_autocast_enabled(kind) and dtype == torch.get_autocast_dtype(kind)
    weight, bias = (
        None if each is None else each.to(dtype) if cast else each for each in (layer.weight, layer.bias)
    )
    return (weight, bias, None, None, 0.0) if weight is not None and weight.dtype == dtype else None


def _is_gated(module: nn.Module) -> bool:
    """Whether the module is found to be down_proj(act_fn(gate_proj(x)) * up_proj(x))."""
    children = dict(module.named_children())
    layers = {"gate_proj", "up_proj", "down_proj"}
    activation = getattr(module, "act_fn", None)
    if not layers <= set(children) <= layers | {"act_fn"} or not callable(activation):
        return False
    if list(module.named_parameters(recurse=False)) or (
        isinstance(activation, nn.Module) and any(True for _ in activation.parameters())
    ):
        return False
    draw = torch.Generator().manual_seed(0)
    made = {name: nn.Linear(4, 6, device="meta") for name in ("gate_proj", "up_proj")}
    made["down_proj"] = nn.Linear(6, 4, device="meta")
    for layer in made.values():
        for name, empty in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(_random(*empty.shape, generator=draw)))
    probe = copy.copy(module)
    probe._modules = {name: made.get(name, child) for name, child in children.items()}
    x = _random(1, 5, 4, generator=draw) * 10
    with torch.no_grad():
        expected = made["down_proj"](activation(made["gate_proj"](x)) * made["up_proj"](x))
    return _same(_tried(type(module), probe, x), expected)


def _random(*size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*size, generator=generator, device="cpu", dtype=torch.float32)


def _tried(owner: type[nn.Module], probe: nn.Module, x: Tensor) -> object:
    """What the class makes of x with the probe's weights; None where it cannot."""
    try:
        with torch.no_grad():
            return owner.forward(probe, x)
    except Exception:  # a layer that wants something else is none of ours
        return None


def _same(found: object, expected: Tensor) -> bool:
    return isinstance(found, Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
