"""The vocabulary head in chunks: log-probabilities of picked tokens without ever holding all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from simpo.model.pack import CannotShare, round_down, round_up

# Logits made at once: 32 MiB in float32. Products of many rows are the faster ones.
CHUNK_LOGITS = 2**23

# Of these, logits worked on at once on a CPU: 4 MiB in float32, which its caches hold from one operation to the next.
STRIP_LOGITS = 2**20

# What the head gave is kept for the backward, in its own type, where it is at most so many chunks; more is made again,
# so many chunks at a time.
KEPT_CHUNKS = 8


@dataclass(frozen=True, slots=True)
class LogitShape:
    """What a model does to its logits after the head: logits * scale, then softcap * tanh(logits / softcap).

    Configurations give the two many names, and one name several meanings (`logits_scaling` divides logits in
    Granite, multiplies them in HyperCLOVA X, divides the head's input in MiniCPM 3): so the model itself is asked.
    """

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def probe(cls, vocabulary: int, device: torch.device) -> Tensor:
        """[1, 1, V] logits to be sent through what a model does after its head: both signs, 1e-3 to 1e6, precise."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        sizes = torch.logspace(-3, 6, vocabulary, dtype=dtype, device=device)
        signs = 1 - 2 * (torch.arange(vocabulary, device=device) % 2)
        return (sizes * signs)[None, None]

    @classmethod
    def fit(cls, probe: Tensor, answer: Tensor) -> LogitShape:
        """The shape that turns the probe into the answer. Raises CannotShare where there is none."""
        if answer.shape == probe.shape:
            asked, given = probe.double().cpu().flatten(), answer.detach().double().cpu().flatten()
            scale, highest = float(given[0] / asked[0]), float(given[-1] / asked[-1].sign())
            softcap = None
            if abs(highest - scale * float(asked[-1].abs())) > 1e-3 * abs(highest):
                softcap = highest
            else:
                scale = highest / float(asked[-1].abs())
            found = cls(1.0 if abs(scale - 1) < 1e-6 else scale, softcap)
            error = (found.apply(asked.clone()) - given).abs()
            if bool((error <= 1e-5 * given.abs() + 1e-8).all()):
                return found
        raise CannotShare("the model makes its logits by more than scale and soft cap")

    def apply(self, logits: Tensor) -> Tensor:
        """The logits the model gives, from what its head gives, which may be overwritten."""
        if self.scale != 1.0:
            logits *= self.scale
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)

    def slope(self, logits: Tensor) -> Tensor | None:
        """Derivative of the soft cap at capped logits, 1 - (logits / softcap)^2; None for 1."""
        return None if self.softcap is None else 1 - (logits / self.softcap) ** 2


def picked_logps(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    pick_row: Tensor,
    targets: Tensor,
    shape: LogitShape,
    chunk_logits: int = CHUNK_LOGITS,
) -> Tensor:
    """Log-probabilities [S] of `targets` under the logits of the rows that predict them.

    hidden: [R, D] any floating type; products run in it, log-softmax in float32 (float64 for float64), which is what is
    returned. weight: [V, D]; bias: [V] or None. pick_row: [S] ascending indices into the R rows, each row at least
    once; targets: [S] tokens. Equal to `log_softmax(shape(hidden @ weight.T + bias))[pick_row, targets]`; memory grows
    with chunk_logits, not with R x V. Differentiable in hidden, weight and bias. Where weight and bias are frozen, the
    backward is ready when the forward ends; else it keeps up to KEPT_CHUNKS chunks, or computes logits again.
    """
    # Autocast would be on in the forward and off in the backward; what is given says in which type to compute.
    with torch.autocast(hidden.device.type, enabled=False):
        frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
        if frozen and hidden.requires_grad and torch.is_grad_enabled():
            # A row of its own for every pick, so that what a pick says of its row can wait for the pick's gradient.
            rows, picked = _filled(hidden[pick_row]), _filled(targets)
            ready: Tensor = _FrozenHead.apply(rows, weight, bias, picked, shape, chunk_logits)  # type: ignore[no-untyped-call]
            return ready[: len(targets)]
        arguments = _filled(hidden), weight, bias, pick_row, targets, shape, chunk_logits
        logps: Tensor = _PickedLogps.apply(*arguments)  # type: ignore[no-untyped-call]
        return logps


def _filled(rows: Tensor) -> Tensor:
    """On a CPU, zeros behind the rows up to one of few lengths (`SHAPE_STEP`)."""
    if rows.device.type != "cpu":
        return rows
    return F.pad(rows, (*(0, 0) * (rows.dim() - 1), 0, round_up(len(rows)) - len(rows)))


def _rows_of_chunk(chunk_logits: int, vocabulary: int) -> int:
    """Rows whose logits fit: of few sizes where they are many."""
    return round_down(max(1, chunk_logits // vocabulary))


class _FrozenHead(torch.autograd.Function):
    """One pick a row, weight and bias without gradients: d logp / d hidden is [S, D], small enough to be kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: LogitShape,
        chunk_logits: int,
    ) -> Tensor:
        cast = weight.to(hidden.dtype)
        logps = hidden.new_empty(len(hidden), dtype=_precise(hidden))
        slopes = torch.empty_like(hidden)
        size = _rows_of_chunk(max(1, 4 // hidden.element_size()) * chunk_logits, len(weight))
        for start in range(0, len(hidden), size):
            products = hidden[start : start + size] @ cast.T
            for part in _strips(products):
                rows = slice(start + part.start, start + part.stop)
                logits = _logits(products[part], bias, shape, keep=False)
                logps[rows] = _logps_to_slopes(logits, targets[rows, None], shape)
                products[part] = logits
            torch.mm(products, cast, out=slopes[start : start + size])
        ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradients[0][:, None]).to(slopes.dtype), *(None,) * 5


class _PickedLogps(torch.autograd.Function):
    """Trained weight or bias: gradients need the whole step, so logits are kept where they fit, else made again."""

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
        normaliser = hidden.new_empty(len(hidden), dtype=_precise(hidden))
        logps = hidden.new_empty(len(targets), dtype=_precise(hidden))
        keep = any(ctx.needs_input_grad) and len(hidden) * len(weight) <= KEPT_CHUNKS * chunk_logits
        size = len(hidden) if keep else _rows_of_chunk(chunk_logits, len(weight))
        first, products = _first_picks(pick_row, len(hidden)), None
        for start in range(0, len(hidden), size):
            products = hidden[start : start + size] @ cast.T
            for part in _strips(products):
                rows = slice(start + part.start, start + part.stop)
                picks = slice(first[rows.start], first[rows.stop])
                logits = _logits(products[part], bias, shape, keep=keep)
                normaliser[rows] = torch.logsumexp(logits, dim=-1)
                local = pick_row[picks] - rows.start
                logps[picks] = logits[local, targets[picks]] - normaliser[rows][local]
        ctx.save_for_backward(hidden, weight, bias, pick_row, targets, normaliser)
        ctx.products, ctx.shape, ctx.chunk_logits = products if keep else None, shape, chunk_logits
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, pick_row, _, normaliser = ctx.saved_tensors
        want_hidden, want_weight, want_bias = ctx.needs_input_grad[:3]
        cast = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight: Tensor | None = None
        grad_bias = torch.zeros_like(bias, dtype=normaliser.dtype) if want_bias else None
        first = _first_picks(pick_row, len(hidden))
        kept, ctx.products = ctx.products, None  # given up to the first backward, which writes over it
        size = _rows_of_chunk(KEPT_CHUNKS * ctx.chunk_logits, len(weight))
        for start in range(0, len(hidden), size):
            rows = slice(start, min(start + size, len(hidden)))
            products = hidden[rows] @ cast.T if kept is None else kept
            for part in _strips(products):
                place = slice(start + part.start, start + part.stop)
                picks = slice(first[place.start], first[place.stop])
                step = _logit_gradients(ctx, products[part], place, picks, gradients[0])
                if grad_bias is not None:
                    grad_bias += step.sum(0)
                products[part] = step
            if grad_hidden is not None:
                torch.mm(products, cast, out=grad_hidden[rows])
            if want_weight:
                grad_weight = _accumulate(grad_weight, products, hidden[rows])
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            *(None,) * 4,
        )


def _logit_gradients(ctx: Any, product: Tensor, rows: slice, picks: slice, grad: Tensor) -> Tensor:
    """[R, V] gradient of what the head gave at these rows, in float32 or better."""
    _, _, bias, pick_row, targets, normaliser = ctx.saved_tensors
    logits = _logits(product, bias, ctx.shape, keep=True)
    local = pick_row[picks] - rows.start
    weights = grad.new_zeros(len(logits)).index_add_(0, local, grad[picks])
    through = ctx.shape.slope(logits)
    step = logits.sub_(normaliser[rows, None]).exp_().mul_(-weights[:, None])
    step.index_put_((local, targets[picks]), grad[picks], accumulate=True)
    if through is not None:
        step.mul_(through)
    return step if ctx.shape.scale == 1.0 else step.mul_(ctx.shape.scale)


def _accumulate(sum_so_far: Tensor | None, step: Tensor, hidden: Tensor) -> Tensor:
    """The sum and step.T @ hidden: [V, D], several of them in float32 at least, and without a copy where it can be."""
    if sum_so_far is None:
        return step.T @ hidden
    if sum_so_far.dtype == step.dtype == _precise(step):
        return sum_so_far.addmm_(step.T, hidden)
    return sum_so_far.float().add_(step.T @ hidden)


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _strips(products: Tensor) -> list[slice]:
    """Runs of the rows [R, V] that are worked on at once: of a chunk on a GPU, of a strip on a CPU."""
    logits = STRIP_LOGITS if products.device.type == "cpu" else CHUNK_LOGITS
    size = max(1, logits // products.shape[1])
    return [slice(start, min(start + size, len(products))) for start in range(0, len(products), size)]


def _first_picks(pick_row: Tensor, num_rows: int) -> list[int]:
    """[R + 1] the first pick of each row and after, asked of a GPU once for all strips."""
    found: list[int] = torch.searchsorted(
        pick_row, torch.arange(num_rows + 1, device=pick_row.device)
    ).tolist()
    return found


def _logps_to_slopes(logits: Tensor, picked: Tensor, shape: LogitShape) -> Tensor:
    """Log-probabilities [R] of `picked` [R, 1]; the logits [R, V] become their derivatives by what the head gave."""
    through = shape.slope(logits)
    highest = logits.amax(-1, keepdim=True)
    at = logits.gather(-1, picked) - highest
    total = logits.sub_(highest).exp_().sum(-1, keepdim=True)
    logits.mul_(-1 / total).scatter_add_(-1, picked, torch.ones_like(total))
    if through is not None:
        logits.mul_(through)
    if shape.scale != 1.0:
        logits.mul_(shape.scale)
    return (at - total.log()).squeeze(-1)


def _logits(product: Tensor, bias: Tensor | None, shape: LogitShape, *, keep: bool) -> Tensor:
    """The logits in float32 or better; `product` may be overwritten unless `keep`."""
    logits = product.to(_precise(product), copy=keep)
    if bias is not None:
        logits += bias
    return shape.apply(logits)
