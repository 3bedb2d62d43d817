"""AdamW for bfloat16 weights, which hold no change below 1/256 of themselves: masters, or rounding at random."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from simpo.model.sharding import local
from simpo.train.gradients import add_gradient


class MasterAdamW(torch.optim.AdamW):
    """AdamW on float32 masters of the weights; a step rounds them to the weights.

    Gradients are summed in float32 too: each bfloat16 gradient is added to its master's as soon as a backward has made
    it, and freed. So the sum over micro-batches does not depend on how a batch is cut, beyond the rounding of each one,
    and the memory is that of training float32 weights under autocast. float32 weights among them are their own masters.

    With `host`, masters, moments and gradients lie in the CPU's memory, those of float32 weights too, and the step is
    taken there (Ren et al. 2021, arXiv:2101.06840): the GPU holds weights alone. A gradient is moved as soon as a
    backward has made it.
    """

    def __init__(self, params: Iterable[dict[str, Any]], *, host: bool = False, **settings: Any) -> None:
        self._host = host
        self._lent: list[tuple[Tensor, Tensor]] = []
        super().__init__([{**group, "params": [self._master(p) for p in group["params"]]} for group in params],
                         **settings)  # fmt: skip

    def _master(self, weight: Tensor) -> Tensor:
        if weight.dtype == torch.float32 and not self._host:
            return weight
        copy = weight.detach().to("cpu" if self._host else weight.device, torch.float32, copy=True)
        master = torch.nn.Parameter(copy)
        self._lent.append((weight, master))
        # Not kept alive by the weight: a model outlives an optimizer where several runs share it.
        handle = weight.register_post_accumulate_grad_hook(_giving_to(weakref.ref(master)))  # type: ignore[no-untyped-call]
        weakref.finalize(master, handle.remove)
        return master

    @property
    def masters(self) -> list[Tensor]:
        """The masters that are not the weights themselves, in the order of the parameters."""
        return [master for _, master in self._lent]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the masters from their gradients, and the weights from the masters."""
        super().step(closure)
        for weight, master in self._lent:
            weight.copy_(master)


def _giving_to(master: weakref.ref[Tensor]) -> Any:
    @torch.no_grad()
    def give(weight: Tensor) -> None:
        found, gradient = master(), weight.grad
        if found is not None and gradient is not None:
            add_gradient(found, gradient)
            weight.grad = None

    return give


class StochasticAdamW(torch.optim.AdamW):
    """AdamW that rounds bfloat16 weights and second moments up or down at random, right on average.

    No masters: weights, gradients and both moments take 8 bytes a weight where masters take 18. A change too small to
    be held is made with the probability that it has of the step between two neighbours, so that many of them add up
    (Gupta et al. 2015, arXiv:1502.02551; for AdamW Zamirai et al. 2020, arXiv:2010.06192). The draws come from torch's
    generator of the device, whose state a checkpoint holds.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update each weight in float32 and round it back."""
        noise: Tensor | None = None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    if noise is None:
                        # One draw serves all parts of a step: what two weights far apart are rounded by may agree.
                        noise = torch.randint(0, 2**16, (_PART,), dtype=torch.int32, device=weight.device)
                    self._update(weight, weight.grad, group, noise)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any], noise: Tensor) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        for part in _parts(weight, gradient, state["exp_avg"], state["exp_avg_sq"]):
            precise = [tensor.float() for tensor in part]
            torch._fused_adamw_(
                [precise[0]], [precise[1]], [precise[2]], [precise[3]], [], [state["step"]], lr=group["lr"],
                beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"],
                amsgrad=False, maximize=False,
            )  # fmt: skip
            # The first moment forgets within tens of steps: the nearest will do.
            for held, value, rounded in zip(
                part, precise, ("randomly", "no", "nearest", "randomly"), strict=True
            ):
                if rounded == "randomly" and held.dtype == torch.bfloat16:
                    held.copy_(round_at_random(value, noise[: len(value)]))
                elif rounded != "no":
                    held.copy_(value)


# Weights updated at once: float32 copies of so many are held, not of a whole embedding.
_PART = 2**22


def _parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same places of tensors of one shape, or of their shards."""
    return zip(*(torch.split(local(tensor).view(-1), _PART) for tensor in tensors), strict=True)


def round_at_random(value: Tensor, noise: Tensor) -> Tensor:
    """Finite float32 [N] as bfloat16's numbers, up or down with the probabilities that make it right on average.

    noise: [N] int32, uniform in 0 ... 2^16 - 1. Added to the lower 16 bits of a float32 it carries into the upper 16
    just as often as those bits say. Writes over `value` and returns it. What bfloat16 holds stays what it is.
    """
    value.view(torch.int32).add_(noise).bitwise_and_(-(2**16))
    return value
