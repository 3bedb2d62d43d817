"""Every shipped recipe loads, says what it is, and holds the numbers that its source gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from simpo.cli.recipe import about, shipped_recipes
from simpo.recipe import load_recipe, warnings_for

ROOT = Path(__file__).parents[1]
SHIPPED = shipped_recipes()

# Model -> beta, gamma, lr: the table of the authors' repository (its gamma_beta_ratio is our gamma).
AUTHORS = {
    "simpo-mistral-7b-base": (2.0, 0.8, 3e-7),
    "simpo-mistral-7b-instruct": (2.5, 0.1, 5e-7),
    "simpo-llama-3-8b-base": (2.0, 0.5, 6e-7),
    "simpo-llama-3-8b-instruct": (2.5, 0.55, 1e-6),
    "simpo-llama-3-8b-instruct-v0.2": (10.0, 0.3, 1e-6),
    "simpo-gemma-2-9b-it": (10.0, 0.5, 8e-7),
}


def test_the_package_ships_the_files_of_the_folder() -> None:
    assert {path.name for path in SHIPPED.values()} == {path.name for path in (ROOT / "recipes").iterdir()}
    assert len(SHIPPED) >= 11


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_loads_and_says_what_it_is_for(name: str) -> None:
    loaded = load_recipe(SHIPPED[name])
    assert loaded.recipe.output == f"runs/{name}"
    assert len(about(SHIPPED[name].read_text(encoding="utf-8"))) > 20


@pytest.mark.parametrize("name", [name for name in SHIPPED if not name.startswith("quickstart")])
def test_a_recipe_for_real_work_earns_no_warning(name: str) -> None:
    assert warnings_for(load_recipe(SHIPPED[name]).recipe) == []


@pytest.mark.parametrize("name", AUTHORS)
def test_a_recipe_of_the_authors_holds_their_numbers(name: str) -> None:
    recipe = load_recipe(SHIPPED[name]).recipe
    parameters = recipe.method.parameters
    assert (parameters["beta"], parameters["gamma"], recipe.train.lr) == AUTHORS[name]
    assert recipe.method.chosen_sft_weight == 0
    assert recipe.adapter.type == "none"
    train = recipe.train
    assert (train.batch_size, train.epochs, train.schedule, train.warmup) == (128, 1, "cosine", 0.1)
