"""The learning rate of each step, and an optimizer that goes on where it stood."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simpo.recipe import TrainRecipe, resolve_recipe, warnings_for
from simpo.train.optimizer import (
    learning_rate,
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    save_optimizer,
    set_learning_rate,
)
from simpo.train.rounding import MasterAdamW


def rates(num_steps: int, **settings: Any) -> list[float]:
    recipe = TrainRecipe(lr=1.0, **settings)
    return [learning_rate(recipe, step, num_steps) for step in range(num_steps)]


def test_the_rates_are_those_worked_out_by_hand() -> None:
    # 2 of 10 steps warm up: 1/2, 2/2. Then 8 steps from 1 down to what would be 0 one step after the last.
    assert rates(10, warmup=0.2, schedule="linear") == pytest.approx(
        [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert rates(10, warmup=0.2, schedule="constant") == [0.5] + [1.0] * 9
    # Cosine at 0, 1/4, 1/2 and 3/4 of half a turn: (1 + cos) / 2.
    half = math.sqrt(0.5)
    assert rates(4, warmup=0, schedule="cosine") == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2])


@pytest.mark.parametrize(
    ("warmup", "num_steps", "warm"),
    [
        (0.1, 10, 1),
        (0.1, 11, 2),  # a started step counts whole
        (0.07, 100, 7),  # 0.07 * 100 is 7.000000000000001
        (0.28, 50, 14),  # 0.28 * 50 is 14.000000000000002
        (0.1, 1, 1),
        (0.0, 5, 0),
    ],
)
def test_warm_up_takes_its_share_of_the_steps(warmup: float, num_steps: int, warm: int) -> None:
    found = rates(num_steps, warmup=warmup, schedule="constant")
    assert found[:warm] == pytest.approx([(step + 1) / warm for step in range(warm)])
    assert found[warm:] == [1.0] * (num_steps - warm)


@given(
    st.integers(1, 300),
    st.floats(0, 0.999),
    st.sampled_from(["cosine", "linear", "constant"]),
)
def test_every_step_has_a_rate_above_zero_and_at_most_the_peak(
    num_steps: int, warmup: float, schedule: str
) -> None:
    found = rates(num_steps, warmup=warmup, schedule=schedule)
    assert all(0 < rate <= 1 for rate in found)
    assert max(found) == 1.0
    peak = found.index(1.0)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_an_optimizer_and_its_dropout_go_on_where_they_stood(tmp_path: Path) -> None:
    def work(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            noise = torch.nn.functional.dropout(torch.ones(4, 3), 0.5)
            model(noise).pow(2).sum().backward()
            optimizer.step()

    recipe = TrainRecipe(lr=0.1, weight_decay=0.1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    optimizer = make_optimizer(model, recipe)
    work(model, optimizer, 3)
    save_optimizer(optimizer_tensors(optimizer), tmp_path / "optimizer.safetensors")
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    work(model, optimizer, 3)

    again = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    again.load_state_dict(saved)
    restored = make_optimizer(again, recipe)
    torch.manual_seed(99)
    load_optimizer(restored, tmp_path / "optimizer.safetensors")
    work(again, restored, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_learning_rate_reaches_every_group() -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 2), TrainRecipe(lr=0.1))
    set_learning_rate(optimizer, 0.025)
    assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.025]


def test_rounding_to_the_nearest_loses_small_updates_and_a_full_fine_tune_with_it_is_warned_of() -> None:
    changed = {}
    for rounding in ("master", "stochastic", "nearest"):
        torch.manual_seed(0)
        weight = torch.nn.Parameter((0.05 * torch.randn(100, 100)).bfloat16())
        before = weight.detach().clone()
        optimizer = make_optimizer(torch.nn.ParameterList([weight]), TrainRecipe(lr=1e-6, rounding=rounding))
        slopes = torch.randn(100, 100).bfloat16()
        for _ in range(100):
            optimizer.zero_grad()
            torch.autograd.backward((weight * slopes).sum())
            optimizer.step()
        learned = optimizer.masters[0] if isinstance(optimizer, MasterAdamW) else weight
        # AdamW moves every weight by lr against the sign of its gradient, 1e-4 in all: one part in 500 of a weight.
        changed[rounding] = float(((learned.detach() - before).float() * -slopes.float().sign()).mean())
        assert (changed[rounding] < 2e-5) == (rounding == "nearest")
    assert changed["master"] == pytest.approx(1e-4, rel=0.05)
    assert changed["stochastic"] == pytest.approx(1e-4, rel=0.05)

    def warnings_of(**sections: Any) -> str:
        values = {
            "output": "x",
            "model": {"name": "x", "dtype": "bfloat16"},
            "data": {"train": "x"},
            "train": {"rounding": "nearest"},
            **sections,
        }
        return " ".join(warnings_for(resolve_recipe(values).recipe))

    assert "loses what a full fine-tune learns" in warnings_of()
    assert "loses what a full fine-tune learns" not in warnings_of(adapter={"type": "lora"})
