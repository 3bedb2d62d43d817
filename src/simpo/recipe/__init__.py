"""A recipe: everything that decides a run, as YAML checked by pydantic, each value with where it came from."""

from simpo.recipe.load import LoadedRecipe, load_recipe, resolve_recipe
from simpo.recipe.method import MethodRecipe
from simpo.recipe.schema import (
    AdapterRecipe,
    DataRecipe,
    EvaluateRecipe,
    GuardRecipe,
    ModelRecipe,
    Recipe,
    TrackingRecipe,
    TrainRecipe,
    known_keys,
)
from simpo.recipe.section import Section
from simpo.recipe.warn import warnings_for

__all__ = [
    "AdapterRecipe",
    "DataRecipe",
    "EvaluateRecipe",
    "GuardRecipe",
    "LoadedRecipe",
    "MethodRecipe",
    "ModelRecipe",
    "Recipe",
    "Section",
    "TrackingRecipe",
    "TrainRecipe",
    "known_keys",
    "load_recipe",
    "resolve_recipe",
    "warnings_for",
]
