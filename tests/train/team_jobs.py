"""What ranks do in tests: each function runs on every rank of a team, and returns what JSON holds."""

from __future__ import annotations

from simpo.recipe import load_recipe
from simpo.train.run import resume, train


def train_each(recipes: list[str]) -> list[str]:
    """Train runs one after another; returns their folders."""
    return [str(train(load_recipe(recipe)).path) for recipe in recipes]


def resume_each(runs: list[str]) -> None:
    """Go on with runs one after another."""
    for run in runs:
        resume(run)
