"""What a plan starts from: the model's configuration and the lengths of the data, as far as a recipe leads to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from simpo.data.render import render_rows
from simpo.errors import RecipeError, SimpoError
from simpo.model.find import base_of, is_adapter_folder, resolve_model_folder
from simpo.model.load import load_tokenizer
from simpo.model.pack import num_packed_tokens
from simpo.recipe import Recipe
from simpo.train.prepare import load_data, tokenizer_renderer

NUM_SAMPLED_ROWS = 256


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a typical group, of the longest one, pairs in a run, and where these are from."""

    prompt: int
    chosen: int
    rejected: int
    longest: int
    pairs: int | None
    origin: str


def read_config(recipe: Recipe) -> Any:
    """The model's configuration alone, of an adapter its base's; a hub id gives up its config.json and no weight."""
    from transformers import AutoConfig

    name, settings = recipe.model.name, {"trust_remote_code": recipe.model.trust_remote_code}
    here = Path(name).expanduser().exists()
    if here or name.startswith((".", "/", "~")) or name.count("/") != 1:
        folder, _ = resolve_model_folder(name, recipe.model.revision)
        name = str(base_of(folder, recipe.model.trust_remote_code) if is_adapter_folder(folder) else folder)
    try:
        revision = None if here else recipe.model.revision
        return AutoConfig.from_pretrained(name, revision=revision, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f"the model's configuration cannot be read: {str(error).splitlines()[0]}", where=name
        ) from None


def find_lengths(recipe: Recipe, given: tuple[int, int, int] | None) -> Lengths:
    """Lengths as given, else of the recipe's first rows, else those that `data.max_length` allows."""
    if given is not None:
        longest = max(recipe.data.max_length, given[0] + max(given[1:]))
        return Lengths(*given, longest, None, "as given")
    try:
        data = load_data(recipe)["train"]
        tokenizer, stops = load_tokenizer(recipe.model)
        rendered = render_rows(
            data.rows[:NUM_SAMPLED_ROWS], tokenizer_renderer(tokenizer, stops, recipe.data)
        )
    except SimpoError as error:
        groups: tuple[Any, ...] = ()
        why = error.message
    else:
        groups, why = rendered.groups, "no row could be rendered"
    if not groups or len(groups[0].completions) != 2:
        third = recipe.data.max_length // 3
        return Lengths(
            third, third, third, recipe.data.max_length, None, f"a third of data.max_length each: {why}"
        )
    prompt = round(median(len(group.prompt) for group in groups))
    chosen, rejected = (round(median(len(group.completions[side]) for group in groups)) for side in (0, 1))
    longest = max(num_packed_tokens(group) for group in groups)
    return Lengths(
        prompt, chosen, rejected, longest, len(data.rows), f"medians of {len(groups)} training rows"
    )
