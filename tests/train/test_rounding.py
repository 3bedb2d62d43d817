"""bfloat16 weights learn what float32 weights learn: through masters, or on average."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simpo.recipe import TrainRecipe
from simpo.train.optimizer import load_optimizer, make_optimizer, optimizer_tensors, save_optimizer
from simpo.train.rounding import MasterAdamW, round_at_random


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 4), nn.LayerNorm(4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.linear(inputs.to(self.linear.weight.dtype))
        normed: Tensor = self.norm(hidden.to(self.norm.weight.dtype))
        return normed


def made() -> Small:
    torch.manual_seed(3)
    return Small().to(torch.bfloat16)


def with_masters(model: nn.Module) -> MasterAdamW:
    optimizer = make_optimizer(model, TrainRecipe(lr=0.01))
    assert isinstance(optimizer, MasterAdamW)
    return optimizer


def work(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, micro_batches: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(micro_batches):
            torch.autograd.backward(model(torch.randn(3, 5)).float().pow(2).sum())
        optimizer.step()


def test_masters_take_the_sum_of_gradients_in_float32_and_weights_are_masters_rounded() -> None:
    model = made()
    optimizer, weight = with_masters(model), model.linear.weight
    twin = weight.detach().float().requires_grad_()
    plain = torch.optim.AdamW([twin], lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    gradients: list[Tensor] = []
    weight.register_hook(gradients.append)  # type: ignore[no-untyped-call]
    for _ in range(5):
        gradients.clear()
        work(model, optimizer, 1, micro_batches=3)
        twin.grad = sum(gradient.float() for gradient in gradients)  # type: ignore[assignment]
        plain.step()
        assert weight.grad is None  # freed as soon as it was added
        torch.testing.assert_close(optimizer.masters[0].detach(), twin.detach(), rtol=1e-6, atol=1e-7)
        assert torch.equal(weight, optimizer.masters[0].bfloat16())


def test_float32_weights_are_their_own_masters() -> None:
    model = made()
    model.norm.float()
    optimizer = with_masters(model)
    assert len(optimizer.masters) == 2
    before = model.norm.weight.detach().clone()
    work(model, optimizer, 1)
    assert not torch.equal(model.norm.weight, before)


@pytest.mark.parametrize("rounding", ["master", "stochastic", "nearest"])
def test_a_saved_optimizer_goes_on_as_if_it_had_not_stopped(rounding: str, tmp_path: Path) -> None:
    recipe = TrainRecipe(lr=0.01, weight_decay=0.1, rounding=rounding)
    model = made()
    optimizer = make_optimizer(model, recipe)
    work(model, optimizer, 3)
    save_optimizer(optimizer_tensors(optimizer), tmp_path / "optimizer.safetensors")
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    work(model, optimizer, 3)
    again = made()
    again.load_state_dict(saved)
    restored = make_optimizer(again, recipe)
    load_optimizer(restored, tmp_path / "optimizer.safetensors")
    work(again, restored, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_an_optimizer_that_is_gone_leaves_no_hook_on_the_model() -> None:
    model = made()
    first = with_masters(model)
    del first
    work(model, with_masters(model), 1)
    torch.autograd.backward(
        model(torch.ones(3, 5)).sum()
    )  # no optimizer is left: the gradient stays with the weight
    assert model.linear.weight.grad is not None and model.linear.weight.grad.dtype == torch.bfloat16


def noise(count: int) -> Tensor:
    return torch.randint(0, 2**16, (count,), dtype=torch.int32)


def test_rounding_at_random_is_right_on_average_and_leaves_what_bfloat16_holds() -> None:
    torch.manual_seed(0)
    value = 1.0 + 0.3 * 2**-7  # three tenths of the way from 1 to the next number that bfloat16 holds
    for sign in (1, -1):
        rounded = round_at_random(torch.full((100_000,), sign * value), noise(100_000))
        assert set(rounded.tolist()) == {sign * 1.0, sign * (1.0 + 2**-7)}
        # The standard error of the mean is 2^-7 * sqrt(0.3 * 0.7 / 100000), 1.1e-5.
        assert float(rounded.mean()) == pytest.approx(sign * value, abs=5e-5)
    held = torch.tensor([0.0, -0.0, 1.5, -(2.0**-130), 3.38e38]).bfloat16().float()
    for _ in range(20):
        assert torch.equal(round_at_random(held.clone(), noise(5)), held)
