"""Which strategy several ranks of a GPU each take, by what the states need and what can be cut at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from simpo.recipe import Recipe
from simpo.train.parallel import Strategy, choose_strategy

TWO: Any = SimpleNamespace(size=2, on_main=lambda ask, *arguments: ask(*arguments))
BILLION: Any = SimpleNamespace(
    device=torch.device("cuda", 0), parameter_counts=lambda: {"trained": 2**30, "total": 2**30}
)


def chosen(tmp_path: Path, **sections: Any) -> Strategy:
    values = {
        "output": str(tmp_path / "run"),
        "model": {"name": "m", **sections.pop("model", {})},
        "data": {"train": "t"},
    }
    return choose_strategy(Recipe.model_validate({**values, **sections}), BILLION, TWO)


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24 * 2**30)
    )


def test_states_that_would_fill_more_than_half_of_a_gpu_are_cut(tmp_path: Path) -> None:
    assert chosen(tmp_path).name == "fsdp2"  # 16 bytes of a float32 weight
    light = {"model": {"dtype": "bfloat16"}, "train": {"rounding": "stochastic"}}
    assert chosen(tmp_path, **light) == Strategy("ddp", "8.0 GiB of states, 24 GiB a GPU")


def test_what_cannot_be_cut_is_held_whole_and_not_refused(tmp_path: Path) -> None:
    found = chosen(tmp_path, train={"optimizer": "adamw_8bit"})
    assert found == Strategy("ddp", "train.optimizer adamw_8bit cannot be cut")
