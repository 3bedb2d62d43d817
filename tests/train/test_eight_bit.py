"""AdamW with moments of 8 bits (torchao): near AdamW, smaller, and gone on with bit for bit; needs torchao."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from simpo.errors import RecipeError
from simpo.recipe import TrainRecipe
from simpo.train.accelerator import require_packages
from simpo.train.optimizer import (
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    save_optimizer,
    set_learning_rate,
)
from tests.train.made_up import Workshop

HERE = importlib.util.find_spec("torchao") is not None
needs_torchao = [
    pytest.mark.skipif(not HERE, reason="torchao is not installed"),
    pytest.mark.filterwarnings("ignore"),  # what torchao says of kernels that this machine has not
]


@pytest.fixture
def eager() -> Iterator[None]:
    """Nothing is compiled: the arithmetic is the same, and half a minute is saved."""
    with torch.compiler.set_stance("force_eager"):
        yield


def moved(recipe: TrainRecipe, steps: int, folder: Path | None = None) -> torch.nn.Linear:
    """A layer after some steps; with a folder, saved and taken up half-way."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    optimizer = make_optimizer(layer, recipe)
    inputs = [torch.randn(8, 64) for _ in range(steps)]
    for number, batch in enumerate(inputs):
        if folder is not None and number == steps // 2:
            save_optimizer(optimizer_tensors(optimizer), folder / "optimizer.safetensors")
            optimizer = make_optimizer(layer, recipe)
            load_optimizer(optimizer, folder / "optimizer.safetensors")
        optimizer.zero_grad()
        set_learning_rate(optimizer, recipe.lr / (1 + number))
        layer(batch).pow(2).sum().backward()
        optimizer.step()
    if folder is not None:
        save_optimizer(optimizer_tensors(optimizer), folder / "end.safetensors")
    return layer


@pytest.mark.usefixtures("eager")
class TestEightBit:
    pytestmark = needs_torchao

    def test_it_moves_weights_as_adamw_does_within_what_8_bits_hold(self) -> None:
        start = moved(TrainRecipe(lr=0.01), 0).weight
        small = moved(TrainRecipe(lr=0.01, optimizer="adamw_8bit"), 6).weight - start
        full = moved(TrainRecipe(lr=0.01), 6).weight - start
        assert float((small - full).norm() / full.norm()) < 0.05

    def test_saved_and_taken_up_it_goes_on_bit_for_bit_and_its_states_are_small(self, tmp_path: Path) -> None:
        recipe = TrainRecipe(lr=0.01, optimizer="adamw_8bit")
        straight, taken_up = moved(recipe, 6), moved(recipe, 6, tmp_path)
        assert torch.equal(straight.weight, taken_up.weight)
        # 64 * 64 weights: two codes of a byte each, where AdamW has eight bytes.
        (tmp_path / "full").mkdir()
        moved(TrainRecipe(lr=0.01), 6, tmp_path / "full")
        sizes = [(folder / "end.safetensors").stat().st_size for folder in (tmp_path, tmp_path / "full")]
        assert sizes[1] - sizes[0] > 4 * 64 * 64

    def test_a_run_trains_with_it(self, workshop: Workshop) -> None:
        ours = workshop.train("run", train={"optimizer": "adamw_8bit"})
        assert ours.curve("loss") == pytest.approx(workshop.train("full").curve("loss"), rel=0.02)


@pytest.mark.skipif(HERE, reason="torchao is installed")
def test_without_its_package_it_is_refused_before_anything_is_loaded(workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match="adamw_8bit: the package torchao is not installed") as refusal:
        workshop.train("run", train={"optimizer": "adamw_8bit"})
    assert "pip install torchao" in str(refusal.value.fix) and not (workshop.folder / "run").exists()


def test_settings_that_contradict_it_are_refused(workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match="set rounding: stochastic"):
        workshop.recipe(
            "run", model={"dtype": "bfloat16"}, train={"optimizer": "adamw_8bit", "rounding": "master"}
        )
    with pytest.raises(RecipeError, match=r"set train.rounding: stochastic"):
        workshop.recipe("run", model={"dtype": "bfloat16"}, train={"optimizer": "adamw_8bit"})
    require_packages(workshop.recipe("run").recipe)
