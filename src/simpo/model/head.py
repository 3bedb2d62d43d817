"""The vocabulary head in chunks: log-probabilities of picked tokens without ever holding all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Logits of one chunk in float32: 128 MiB. Large enough for full-speed matrix products, small beside any model. Where one
# chunk holds all, it is kept for the backward instead of being computed again.
CHUNK_LOGITS = 2**25


@dataclass(frozen=True, slots=True)
class LogitShape:
    """What a model does to its logits after the head: logits * scale, then softcap * tanh(logits / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitShape:
        """From the names that transformers' configurations use (Cohere, Granite, Gemma)."""
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        divisor = float(getattr(config, "logits_scaling", None) or 1.0)
        return cls(scale / divisor, getattr(config, "final_logit_softcapping", None))


def picked_logps(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    pick_row: Tensor,
    targets: Tensor,
    shape: LogitShape,
    chunk_logits: int = CHUNK_LOGITS,
) -> Tensor:
    """Log-probabilities [S] float32 of `targets` under the logits of the rows that predict them.

    hidden: [R, D] any floating type; products run in it, log-softmax in float32. weight: [V, D]; bias: [V] or None.
    pick_row: [S] ascending indices into the R rows; targets: [S] tokens. Equal to
    `log_softmax(shape(hidden @ weight.T + bias))[pick_row, targets]`; memory grows with chunk_logits, not with R x V.
    Differentiable in hidden, weight and bias; the backward computes each chunk's logits again.
    """
    logps: Tensor = _PickedLogps.apply(hidden, weight, bias, pick_row, targets, shape, chunk_logits)  # type: ignore[no-untyped-call]
    return logps


class _PickedLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        pick_row: Tensor,
        targets: Tensor,
        shape: LogitShape,
        chunk_logits: int,
    ) -> Tensor:
        cast = weight.to(hidden.dtype)
        normaliser = hidden.new_empty(len(hidden), dtype=torch.float32)
        logps = hidden.new_empty(len(targets), dtype=torch.float32)
        chunks = _chunks(hidden, weight, pick_row, chunk_logits)
        for rows, picks in chunks:
            logits = _logits(hidden[rows], cast, bias, shape)
            normaliser[rows] = torch.logsumexp(logits, dim=-1)
            local = pick_row[picks] - rows.start
            logps[picks] = logits[local, targets[picks]] - normaliser[rows][local]
        kept = logits if len(chunks) == 1 and any(ctx.needs_input_grad) else None
        ctx.save_for_backward(hidden, weight, bias, pick_row, targets, normaliser, kept)
        ctx.shape, ctx.chunk_logits = shape, chunk_logits
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        hidden, weight, bias, pick_row, targets, normaliser, kept = ctx.saved_tensors
        want_hidden, want_weight, want_bias = ctx.needs_input_grad[:3]
        cast = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight: Tensor | None = None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if want_bias else None
        for rows, picks in _chunks(hidden, weight, pick_row, ctx.chunk_logits):
            logits = _logits(hidden[rows], cast, bias, ctx.shape) if kept is None else kept
            local = pick_row[picks] - rows.start
            weights = torch.zeros(len(logits), device=grad.device).index_add_(0, local, grad[picks])
            through = _softcap_slope(logits, ctx.shape)
            step = torch.sub(logits, normaliser[rows, None]).exp_().mul_(-weights[:, None])
            step.index_put_((local, targets[picks]), grad[picks], accumulate=True)
            if through is not None:
                step.mul_(through)
            step = step.mul_(ctx.shape.scale).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = step @ cast
            if want_weight:
                product = step.T @ hidden[rows]
                grad_weight = product if grad_weight is None else grad_weight.float().add_(product)
            if grad_bias is not None:
                grad_bias += step.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            *(None,) * 4,
        )


def _chunks(hidden: Tensor, weight: Tensor, pick_row: Tensor, chunk_logits: int) -> list[tuple[slice, slice]]:
    """Runs of rows whose logits fit the chunk, each with the run of picks that belongs to it."""
    size = max(1, chunk_logits // len(weight))
    starts = torch.arange(0, len(hidden) + size, size, device=pick_row.device).clamp(max=len(hidden))
    bounds = torch.searchsorted(pick_row, starts).tolist()
    edges = starts.tolist()
    return [
        (slice(edges[i], edges[i + 1]), slice(bounds[i], bounds[i + 1]))
        for i in range(len(edges) - 1)
        if edges[i] < edges[i + 1]
    ]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, shape: LogitShape) -> Tensor:
    logits = (hidden @ weight.T).float()
    if bias is not None:
        logits += bias.float()
    if shape.scale != 1.0:
        logits *= shape.scale
    if shape.softcap is not None:
        logits = shape.softcap * torch.tanh(logits / shape.softcap)
    return logits


def _softcap_slope(logits: Tensor, shape: LogitShape) -> Tensor | None:
    """Derivative of the soft-cap at the capped logits: 1 - (logits / cap)^2."""
    return None if shape.softcap is None else 1 - (logits / shape.softcap) ** 2
