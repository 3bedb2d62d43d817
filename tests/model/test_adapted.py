"""Adapted layers as one function, against peft's own."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from simpo.model import adapted
from simpo.model.adapted import FusedLinear, fuse_adapters


class Two(nn.Module):
    """Two linear layers, the second behind the first, so that a gradient passes through an adapted one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())  # type: ignore[no-any-return]


def make(dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = peft.LoraConfig(**{"r": 3, "lora_alpha": 5, "target_modules": ["first", "second"]} | changes)
    model = peft.get_peft_model(Two().to(dtype), config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def both(**changes: Any) -> tuple[Any, Any]:
    model = make(**changes)
    fused = copy.deepcopy(model)
    assert fuse_adapters(fused) == len(changes.get("target_modules", "12"))
    return model, fused


def answers(model: Any, x: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """What the model gives, and the gradients of its input and of all that is trained."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = model(x)
    slopes = torch.linspace(1, 2, out.numel()).view(out.shape).to(out.dtype)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [out.detach(), *torch.autograd.grad((out * slopes).sum(), [x, *trained])]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every call of the function."""
    seen: list[int] = []
    real = adapted._LowRankLinear.apply

    def apply(*arguments: Any) -> Any:
        seen.append(1)
        return real(*arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(adapted._LowRankLinear, "apply", apply)
    return seen


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (2, 3, 5)])
def test_values_and_gradients_are_those_of_peft(shape: tuple[int, ...], calls: list[int]) -> None:
    model, fused = both()
    x = torch.randn(shape, dtype=torch.float64)
    for ours, theirs in zip(answers(fused, x), answers(model, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert len(calls) == 2


@pytest.mark.parametrize("autocast", [False, True])
def test_in_bfloat16_it_is_no_further_from_the_truth_than_peft(autocast: bool, calls: list[int]) -> None:
    dtype = torch.float32 if autocast else torch.bfloat16
    model, fused = both(dtype=dtype)
    x = torch.randn(64, 5).to(dtype)
    truth = answers(copy.deepcopy(model).double(), x.double())
    ours, theirs = (
        sum(float((a.double() - t).norm() / t.norm()) for a, t in zip(found, truth, strict=True))
        for found in (answers(fused, x, autocast=autocast), answers(model, x, autocast=autocast))
    )
    assert calls and ours <= 1.2 * theirs


def test_what_the_function_is_not_for_goes_the_way_of_peft(calls: list[int]) -> None:
    x = torch.randn(6, 5, dtype=torch.float64)
    model, fused = both()
    with model.disable_adapter(), fused.disable_adapter():
        torch.testing.assert_close(fused(x), model(x))
    hook = fused.base_model.model.first.base_layer.register_forward_hook(lambda *_: None)
    fused.base_model.model.second.base_layer.weight.requires_grad_()
    torch.testing.assert_close(fused(x), model(x))
    hook.remove()
    fused.merge_adapter()
    torch.testing.assert_close(fused(x), model(x))
    assert not calls
    for changes in (
        {"use_dora": True},
        {"lora_dropout": 0.5},
        {"lora_bias": True, "target_modules": ["first"]},
    ):
        model, fused = both(**changes)
        model.eval(), fused.eval()
        torch.testing.assert_close(fused(x), model(x))
    assert not calls


def test_a_second_adapter_beside_the_first_goes_the_way_of_peft(calls: list[int]) -> None:
    model, fused = both()
    for each in (model, fused):
        torch.manual_seed(1)
        each.add_adapter("other", peft.LoraConfig(r=2, target_modules=["first"], init_lora_weights=False))
        each.base_model.set_adapter(["default", "other"])
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(fused(x), model(x))
    assert not calls


def test_layers_of_mixed_types_go_the_way_of_peft(calls: list[int]) -> None:
    model, fused = both(dtype=torch.float32)
    for each in (model, fused):
        each.base_model.model.first.lora_A.double()
        each.base_model.model.first.lora_B.double()
    x = torch.randn(6, 5)
    torch.testing.assert_close(fused(x), model(x))
    assert len(calls) == 1  # the second layer's


def test_names_and_copies_stay_as_they_were() -> None:
    model, fused = both()
    assert list(fused.state_dict()) == list(model.state_dict())
    copied = copy.deepcopy(fused)
    with torch.no_grad():
        copied.base_model.model.first.lora_B["default"].weight.zero_()
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(fused(x), model(x))
    assert isinstance(copied.base_model.model.first, FusedLinear)
