"""Gradients in one place: the same numbers, the same None, and memory that goes with the optimizer."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from simpo.recipe import TrainRecipe
from simpo.train.gradients import add_gradient, has_place
from simpo.train.optimizer import make_optimizer, reserve


class TwoBranches(nn.Module):
    """Of which one may be left out of a step, as an expert without tokens is."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs: Tensor, both: bool) -> Tensor:
        always: Tensor = self.always(inputs)
        return always + self.sometimes(inputs) if both else always


def trained(dtype: torch.dtype, reserved: bool) -> tuple[TwoBranches, set[int], torch.optim.Optimizer]:
    torch.manual_seed(5)
    model = TwoBranches().to(dtype)
    optimizer = make_optimizer(model, TrainRecipe(lr=0.05, weight_decay=0.1))
    if reserved:
        reserve(optimizer)
    places = set()
    for step in range(6):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(3):
            inputs = torch.randn(4, 6, dtype=dtype)
            torch.autograd.backward(model(inputs, both=step % 2 == 0).float().pow(2).sum())
        masters = optimizer.param_groups[0]["params"]
        places.add(masters[0].grad.data_ptr())
        assert (masters[1].grad is None) == (step % 2 == 1)
        optimizer.step()
    return model, places, optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kept_gradient_trains_bit_for_bit_what_a_new_one_trains(dtype: torch.dtype) -> None:
    kept, places, _ = trained(dtype, reserved=True)
    made, _, _ = trained(dtype, reserved=False)
    assert len(places) == 1
    for name, weight in kept.state_dict().items():
        assert torch.equal(weight, made.state_dict()[name]), name


def test_a_place_is_held_no_longer_than_the_optimizer() -> None:
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, TrainRecipe())
    reserve(optimizer)
    assert all(has_place(weight) for weight in model.parameters())
    del optimizer
    gc.collect()
    assert not any(has_place(weight) for weight in model.parameters())
    torch.autograd.backward(model(torch.ones(1, 3)).sum())
    assert model.bias.grad is not None and model.bias.grad.tolist() == [1.0, 1.0]


def test_a_gradient_given_by_hand_is_added_in_the_weights_type() -> None:
    weight = nn.Parameter(torch.zeros(2))
    for _ in range(2):
        add_gradient(weight, torch.tensor([1.0, 2.5], dtype=torch.bfloat16))
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.tolist() == [2.0, 5.0]
