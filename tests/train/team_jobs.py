"""What ranks do in tests: each function runs on every rank of a team, and returns what JSON holds."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from simpo.recipe import load_recipe
from simpo.runs.ranks import Ranks
from simpo.train import loop
from simpo.train.prepare import prepare
from simpo.train.reduce import seed_step
from simpo.train.run import resume, train
from simpo.train.step import StepRecord, train_step


def train_each(recipes: list[str]) -> list[str]:
    """Train runs one after another; returns their folders."""
    return [str(train(load_recipe(recipe)).path) for recipe in recipes]


def train_with_float32_norm(recipe: str) -> None:
    """Train a model whose last norm alone is float32."""
    loaded = load_recipe(recipe)
    prepared = prepare(loaded.recipe)
    prepared.policy.model.model.norm.float()
    train(loaded, prepared=prepared)


def resume_each(runs: list[str]) -> None:
    """Go on with runs one after another."""
    for run in runs:
        resume(run)


def train_and_signal(recipe: str, rank: int, step: int, number: int) -> None:
    """Train; one rank sends itself a signal as it begins a step."""
    _signal_at(rank, step, number)
    train(load_recipe(recipe))


def resume_and_signal(run: str, rank: int, step: int, number: int) -> None:
    """Go on with a run; one rank sends itself a signal as it begins a step."""
    _signal_at(rank, step, number)
    resume(run)


def _signal_at(rank: int, step: int, number: int) -> None:
    def watched(seed: int, at: int, ranks: Ranks) -> None:
        seed_step(seed, at, ranks)
        if (ranks.rank, at) == (rank, step):
            os.kill(os.getpid(), number)

    setattr(loop, "seed_step", watched)  # noqa: B010 - a name that it only imports


def train_with_own_rows(recipe: str) -> None:
    """Train, each rank on one row less than the one before: what stale files on a machine come to."""
    rank = int(os.environ["RANK"])
    train(load_recipe(recipe, [f"data.limit={20 - rank}"]))


def train_until_infinite(recipe: str, rank: int, step: int) -> None:
    """Train; in one step the gradient of one weight is infinite on one rank."""
    own, taken = int(os.environ["RANK"]), count()

    def watched(accelerator: Any, model: Any, *rest: Any, **settings: Any) -> StepRecord:
        if (own, next(taken)) == (rank, step):
            weight = next(weight for weight in model.parameters() if weight.requires_grad)
            weight.register_hook(lambda gradient: gradient * float("inf"))
        return train_step(accelerator, model, *rest, **settings)

    setattr(loop, "train_step", watched)  # noqa: B010 - a name that it only imports
    train(load_recipe(recipe))
