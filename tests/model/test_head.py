"""The chunked head against log-softmax of all logits at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from simpo.model import head
from simpo.model.head import KEPT_CHUNKS, LogitShape, picked_logps
from simpo.model.pack import CannotShare

ROWS, VOCABULARY, WIDTH = 11, 23, 7
SHAPES = (LogitShape(), LogitShape(0.3), LogitShape(2.0, 3.0), LogitShape(1.0, 5.0))
# Every row is picked from; row 4 three times, twice for the same token.
PICK_ROW = torch.tensor([0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 9, 10])


def make(
    dtype: torch.dtype = torch.float64, *, bias: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    hidden = torch.randn(ROWS, WIDTH, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(VOCABULARY, PICK_ROW.shape)
    targets[5] = targets[4]
    offset = torch.randn(VOCABULARY, dtype=torch.float64).to(dtype).requires_grad_() if bias else None
    return hidden, weight, offset, targets


def all_at_once(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, shape: LogitShape
) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias) * shape.scale
    if shape.softcap is not None:
        logits = torch.tanh(logits / shape.softcap) * shape.softcap
    return logits.log_softmax(-1)[PICK_ROW, targets]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows_in_a_chunk", [1, 3, ROWS, 100])
@pytest.mark.parametrize("rows_in_a_strip", [2, 100])
@pytest.mark.parametrize("frozen", [False, True])
def test_chunks_and_strips_of_every_size_give_the_log_softmax_and_its_gradients(
    frozen: bool,
    rows_in_a_strip: int,
    rows_in_a_chunk: int,
    shape: LogitShape,
    bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "STRIP_LOGITS", rows_in_a_strip * VOCABULARY)
    hidden, weight, offset, targets = make(bias=bias)
    inputs = [hidden] if frozen else [tensor for tensor in (hidden, weight, offset) if tensor is not None]
    if frozen:
        for tensor in (weight, offset):
            if tensor is not None:
                tensor.requires_grad_(False)
    weights = torch.randn(len(PICK_ROW), dtype=torch.float64)
    expected = all_at_once(hidden, weight, offset, targets, shape)
    actual = picked_logps(hidden, weight, offset, PICK_ROW, targets, shape, rows_in_a_chunk * VOCABULARY)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for ours, theirs in zip(torch.autograd.grad((actual * weights).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk_logits", [1, 3 * VOCABULARY, 100 * VOCABULARY])
def test_a_second_backward_says_what_the_first_said(chunk_logits: int) -> None:
    hidden, weight, _, targets = make()
    found = picked_logps(hidden, weight, None, PICK_ROW, targets, LogitShape(1.3, 4.0), chunk_logits)
    first, second = (torch.autograd.grad(found.sum(), (hidden, weight), retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trained", ["hidden", "weight", "bias", "all"])
def test_gradients_pass_gradcheck_whatever_is_trained(trained: str) -> None:
    hidden, weight, bias, targets = make(bias=True)
    assert bias is not None
    for name, tensor in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        tensor.requires_grad_(trained in (name, "all"))

    def function(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        shape = LogitShape(1.3, 4.0)
        return picked_logps(hidden, weight, bias, PICK_ROW, targets, shape, 3 * VOCABULARY)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


def test_a_frozen_weight_gets_no_gradient_and_no_product_for_one() -> None:
    hidden, weight, _, targets = make()
    weight.requires_grad_(False)
    with Allocations() as seen:
        found = picked_logps(hidden, weight, None, PICK_ROW, targets, LogitShape(), VOCABULARY)
        torch.autograd.grad(found.sum(), hidden)
    assert all(shape != weight.shape for shape in seen.shapes)


@pytest.mark.parametrize("frozen", [False, True])
def test_bfloat16_is_rounded_no_worse_than_by_the_whole_log_softmax(frozen: bool) -> None:
    hidden, weight, _, targets = make(torch.bfloat16)
    weight.requires_grad_(not frozen)
    inputs = [hidden] if frozen else [hidden, weight]
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    truth = all_at_once(exact[0], exact[1], None, targets, LogitShape())
    true_gradients = torch.autograd.grad(truth.sum(), exact)
    logits = torch.nn.functional.linear(hidden, weight).float()
    plain = logits.log_softmax(-1)[PICK_ROW, targets]
    fast = picked_logps(hidden, weight, None, PICK_ROW, targets, LogitShape(), 3 * VOCABULARY)
    assert fast.dtype == torch.float32
    assert float((fast - truth).detach().abs().max()) <= float((plain - truth).detach().abs().max()) + 1e-6
    for ours, theirs, true in zip(
        torch.autograd.grad(fast.sum(), inputs),
        torch.autograd.grad(plain.sum(), inputs),
        true_gradients,
        strict=False,
    ):
        assert ours.dtype == torch.bfloat16
        assert float((ours - true).abs().max()) <= 2 * float((theirs - true).abs().max()) + 0.01


def test_float32_logits_of_any_size_give_finite_numbers() -> None:
    hidden, weight, _, targets = make(torch.float32)
    found = picked_logps(hidden * 1e4, weight, None, PICK_ROW, targets, LogitShape())
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert bool(found.isfinite().all()) and bool(gradient.isfinite().all())


def test_two_backwards_through_one_graph_are_the_same() -> None:
    hidden, weight, _, targets = make()
    total = picked_logps(hidden, weight, None, PICK_ROW, targets, LogitShape()).sum()
    first = torch.autograd.grad(total, [hidden, weight], retain_graph=True)
    for ours, theirs in zip(first, torch.autograd.grad(total, [hidden, weight]), strict=True):
        assert torch.equal(ours, theirs)


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The shapes of all tensors that operations give, and the bytes of the largest."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[torch.Size] = []
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.shapes.append(tensor.shape)
                self.largest = max(self.largest, tensor.numel() * tensor.element_size())
        return out


@pytest.mark.parametrize("frozen", [False, True])
def test_the_head_never_holds_more_logits_than_its_chunks_however_many_tokens(frozen: bool) -> None:
    chunk = 2**12
    for rows in (64, 1024, 4096):
        hidden = torch.randn(rows, 8, requires_grad=True)
        weight = torch.randn(512, 8, requires_grad=not frozen)
        places = torch.arange(rows)
        with Allocations() as seen:
            logps = picked_logps(hidden, weight, None, places, places % 512, LogitShape(), chunk)
            torch.autograd.grad(logps.sum(), [hidden] if frozen else [hidden, weight])
        held = chunk if frozen else KEPT_CHUNKS * chunk
        assert seen.largest <= max(4 * held, 4 * rows * 8)  # logits in float32, or the hidden states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, LogitShape(1 / 16), LogitShape(0.0625, 30.0), LogitShape(8.0)])
@pytest.mark.parametrize("vocabulary", [40, 50_000])
def test_what_a_model_does_to_its_logits_is_found_by_asking_it(
    vocabulary: int, shape: LogitShape, dtype: torch.dtype
) -> None:
    probe = LogitShape.probe(vocabulary, torch.device("cpu"))
    found = LogitShape.fit(probe, shape.apply(probe.to(dtype, copy=True)))
    assert found.scale == pytest.approx(shape.scale, rel=1e-6)
    assert found.softcap == (None if shape.softcap is None else pytest.approx(shape.softcap, rel=1e-6))


@pytest.mark.parametrize(
    "change", [lambda x: x + 1, lambda x: x[..., :-1], lambda x: x.clamp(-5, 5), lambda x: x * float("nan")]
)
def test_what_is_neither_scale_nor_soft_cap_is_refused(change: Any) -> None:
    probe = LogitShape.probe(60, torch.device("cpu"))
    with pytest.raises(CannotShare, match="more than scale and soft cap"):
        LogitShape.fit(probe, change(probe.clone()))
