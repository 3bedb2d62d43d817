"""The same budget for every method of a comparison: as many pairs, or as many tokens, to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from simpo.data.batches import BatchOrder
from simpo.model.load import load_tokenizer
from simpo.recipe import LoadedRecipe, Recipe
from simpo.records import TokenGroup
from simpo.train.prepare import Progress, load_data, render_dataset, tokenizer_renderer

Equal = Literal["pairs", "tokens", "as-given"]
SAME_BUDGET = 0.01  # plans that differ by less are left as they are


def equal_budgets(
    recipes: Sequence[tuple[str, LoadedRecipe]], equal: Equal, progress: Progress | None
) -> dict[str, LoadedRecipe]:
    """Each recipe, by name, with as many pairs (or tokens) to train on as the first, by way of `train.epochs`.

    Recipes with the first's data, epochs, steps and batch stay as they are, and so do those whose plans differ from its
    by less than a hundredth. Tokens are those read in training: each pair's prompt once, and both completions.
    """
    if equal == "as-given" or len({_plan_key(loaded.recipe) for _, loaded in recipes}) < 2:
        return dict(recipes)
    sizes: dict[str, tuple[int, float]] = {}
    budgeted: dict[str, LoadedRecipe] = {}
    target = 0.0
    for name, loaded in recipes:
        recipe = loaded.recipe
        key = recipe.data.model_dump_json() + str(recipe.train.seed)
        if key not in sizes:
            groups = _training_groups(recipe, progress)
            sizes[key] = (len(groups), sum(map(_trained_tokens, groups)) / len(groups))
        rows, tokens = sizes[key]
        unit = 1.0 if equal == "pairs" else tokens
        seen = _pairs_seen(recipe, rows) * unit
        target = target or seen
        if abs(seen - target) > SAME_BUDGET * target:
            epochs = target / (unit * rows)
            train = recipe.train.model_copy(update={"epochs": epochs, "max_steps": None})
            origins = {
                **loaded.origins,
                "train.epochs": f"simpo compare: as many {equal} as the first recipe",
            }
            loaded = LoadedRecipe(recipe.model_copy(update={"train": train}), origins)
        budgeted[name] = loaded
    return budgeted


def _plan_key(recipe: Recipe) -> str:
    train = recipe.train
    return f"{recipe.data.model_dump_json()} {train.epochs} {train.max_steps} {train.batch_size}"


def _training_groups(recipe: Recipe, progress: Progress | None) -> tuple[TokenGroup, ...]:
    tokenizer, stop_ids = load_tokenizer(recipe.model)
    renderer = tokenizer_renderer(tokenizer, stop_ids, recipe.data)
    return render_dataset(load_data(recipe)["train"], renderer, recipe.data.on_bad_row, progress).groups


def _trained_tokens(group: TokenGroup) -> int:
    return len(group.prompt) + group.num_completion_tokens


def _pairs_seen(recipe: Recipe, rows: int) -> int:
    order = BatchOrder(rows, recipe.train.batch_size, 0)
    epochs, steps = divmod(
        order.num_steps(recipe.train.epochs, recipe.train.max_steps), order.steps_per_epoch
    )
    return epochs * rows + min(steps * recipe.train.batch_size, rows)
