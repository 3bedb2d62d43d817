"""Layers that keep less: the model's own numbers, its own gradients, fewer bytes; look-alikes are left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from simpo.model import lean
from simpo.model.adapted import fuse_adapters
from simpo.model.lean import make_lean
from simpo.train.budget import kept_bytes
from simpo.train.prepare import checkpoint_activations
from tests.model.made import make_model

NORMS = {"Llama": LlamaRMSNorm, "OLMo 2": Olmo2RMSNorm, "Gemma": GemmaRMSNorm}


class Gated(nn.Module):
    """A gated layer as most models write it."""

    def __init__(self, *, bias: bool = False, activation: Any = F.silu) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(5, 7, bias=bias), nn.Linear(5, 7, bias=bias)
        self.down_proj, self.act_fn = nn.Linear(7, 5, bias=bias), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


def answers(layer: nn.Module, x: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """What the layer gives, and the gradients of its input and of all that is trained."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = layer(x)
    slopes = torch.linspace(1, 2, out.numel()).view(out.shape).to(out.dtype)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    return [out.detach(), *torch.autograd.grad((out * slopes).sum(), [x, *trained])]


def error(found: list[Tensor], truth: list[Tensor]) -> float:
    return sum(float((a.double() - t).norm() / t.norm()) for a, t in zip(found, truth, strict=True))


def made_lean(layer: nn.Module) -> nn.Module:
    copied = copy.deepcopy(layer)
    assert make_lean(copied) == 1
    return copied


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every call of the gated function."""
    seen: list[int] = []
    real = lean._GatedLinear.apply

    def apply(*arguments: Any) -> Any:
        seen.append(1)
        return real(*arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(lean._GatedLinear, "apply", apply)
    return seen


# Norms


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize(
    ("of_input", "of_weight"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)],
)
def test_a_norm_says_the_same_and_passes_the_same_back(
    norm: Any, of_input: torch.dtype, of_weight: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = norm(24, eps=1e-5)
    nn.init.normal_(layer.weight)
    x = torch.randn(2, 3, 24).to(of_input)
    ours, theirs = answers(made_lean(layer.to(of_weight)), x), answers(layer, x)
    assert torch.equal(ours[0], theirs[0]) and [a.dtype for a in ours] == [b.dtype for b in theirs]
    truth = _exact(layer, x)
    assert error(ours, truth) <= 1.05 * error(theirs, truth) + 1e-6


def _exact(layer: Any, x: Tensor) -> list[Tensor]:
    """The norm in float64 to the end, which its class does not do."""
    weight = layer.weight.detach().double().requires_grad_()
    x = x.double().requires_grad_()
    factor = 1 + weight if isinstance(layer, GemmaRMSNorm) else weight
    out = factor * x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    slopes = torch.linspace(1, 2, out.numel()).view(out.shape).to(layer.weight.dtype).double()
    return [out.detach(), *torch.autograd.grad((out * slopes).sum(), [x, weight])]


def test_a_frozen_norm_passes_back_what_its_input_gets_and_nothing_else() -> None:
    torch.manual_seed(0)
    layer = LlamaRMSNorm(8).requires_grad_(False)
    x = torch.randn(3, 8)
    (_, ours), (_, theirs) = answers(made_lean(layer), x), answers(layer, x)
    torch.testing.assert_close(ours, theirs)


class Clamped(LlamaRMSNorm):  # type: ignore[misc]  # transformers' types are not seen
    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states).clamp(-2, 2)  # type: ignore[no-any-return]


class Centred(LlamaRMSNorm):  # type: ignore[misc]  # transformers' types are not seen
    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states - hidden_states.mean(-1, keepdim=True))  # type: ignore[no-any-return]


class Unweighted(LlamaRMSNorm):  # type: ignore[misc]  # transformers' types are not seen
    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states) / self.weight  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "layer",
    [Clamped(8), Centred(8), Unweighted(8), nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.BatchNorm1d(8)],
    ids=lambda layer: type(layer).__name__,
)
def test_what_only_looks_like_a_norm_is_left_alone(layer: nn.Module) -> None:
    kind = type(layer)
    assert make_lean(layer) == 0 and type(layer) is kind


# Gated layers


@pytest.mark.parametrize("activation", [F.silu, nn.GELU("tanh"), torch.tanh], ids=["silu", "gelu", "tanh"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_gated_layer_says_the_same_and_passes_the_same_back(
    activation: Any, bias: bool, calls: list[int]
) -> None:
    torch.manual_seed(0)
    layer = Gated(bias=bias, activation=activation).double()
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    for ours, theirs in zip(answers(made_lean(layer), x), answers(layer, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert calls == [1]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_in_bfloat16_it_is_no_further_from_the_truth(autocast: bool, adapted: bool, calls: list[int]) -> None:
    torch.manual_seed(0)
    layer: Any = Gated(bias=True)
    if adapted:
        layer = adapt(layer)
    layer = layer.to(torch.float32 if autocast else torch.bfloat16)
    x = torch.randn(64, 5).to(layer.down_proj.weight.dtype)
    truth = answers(copy.deepcopy(layer).double(), x.double())
    ours, theirs = answers(made_lean(layer), x, autocast=autocast), answers(layer, x, autocast=autocast)
    assert calls and error(ours, truth) <= 1.2 * error(theirs, truth)


def adapt(layer: nn.Module, **changes: Any) -> Any:
    config = LoraConfig(
        **{"r": 3, "lora_alpha": 5, "target_modules": ["gate_proj", "up_proj", "down_proj"]} | changes
    )
    model: Any = get_peft_model(layer, config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    fuse_adapters(model)
    return model


def test_an_adapted_gated_layer_says_the_same_and_passes_the_same_back(calls: list[int]) -> None:
    torch.manual_seed(0)
    layer = adapt(Gated(bias=True)).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    for ours, theirs in zip(answers(made_lean(layer), x), answers(layer, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert calls == [1]


def test_what_the_function_is_not_for_goes_through_the_layer_below(calls: list[int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 5)
    layer = Gated()
    kept: Any = made_lean(layer)
    seen: list[int] = []
    kept.down_proj.register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(kept(x), layer(x))
    for changes in ({"use_dora": True}, {"lora_dropout": 0.5}):
        adapted = adapt(Gated(), **changes).eval()
        torch.testing.assert_close(made_lean(adapted)(x), adapted(x))
    assert seen == [1] and not calls


class GatedUp(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.gate_proj(x) * self.act_fn(self.up_proj(x)))  # type: ignore[no-any-return]


class Limited(Gated):
    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x).clamp(max=7)) * self.up_proj(x))  # type: ignore[no-any-return]


class Learned(nn.SiLU):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize(
    "layer",
    [GatedUp(), Limited(), Gated(activation=Learned()), nn.Linear(5, 5), nn.Sequential(nn.Linear(5, 5))],
    ids=["gated up", "limited", "learned activation", "linear", "sequence"],
)
def test_what_only_looks_like_a_gated_layer_is_left_alone(layer: nn.Module) -> None:
    assert make_lean(layer) == 0


def test_a_layer_that_somebody_wrapped_is_left_alone() -> None:
    layer = Gated()
    layer.forward = lambda x: x  # type: ignore[method-assign]
    assert make_lean(layer) == 0


# Whole models


def test_a_model_keeps_less_and_keeps_its_names_and_classes() -> None:
    model = make_model("llama")
    thin = copy.deepcopy(model)
    assert make_lean(thin) == 7  # two norms and a gated layer in each of two layers, and the last norm
    assert make_lean(thin) == 7  # again: the same
    assert list(thin.state_dict()) == list(model.state_dict())
    norms = [module for module in thin.modules() if isinstance(module, LlamaRMSNorm)]
    assert len(norms) == 5 and {type(norm).__name__ for norm in norms} == {"LlamaRMSNorm"}
    ids = torch.arange(20)[None]
    before = kept_bytes(model, lambda: model(input_ids=ids))
    after = kept_bytes(thin, lambda: thin(input_ids=ids))
    # A norm: its input normalised. A gated layer: what its activation gave, and the product. In float32.
    per_token = 4 * (5 * 16 + 2 * 2 * 32)
    assert before - after == 20 * per_token


def test_without_gradients_nothing_is_called(calls: list[int]) -> None:
    model = make_model("llama")
    thin = copy.deepcopy(model)
    make_lean(thin)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(thin(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not calls


def test_it_goes_with_activations_that_are_computed_again(calls: list[int]) -> None:
    model = make_model("llama").train()
    thin = copy.deepcopy(model)
    make_lean(thin)
    checkpoint_activations(thin)
    ids = torch.arange(20)[None]
    for each in (model, thin):
        each(input_ids=ids, use_cache=False).logits.pow(2).mean().backward()
    for ours, theirs in zip(thin.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert len(calls) == 4  # forward, and again in the backward
