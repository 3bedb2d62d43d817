"""What ranks do in tests: each function runs on every rank of a team, and returns what JSON holds."""

from __future__ import annotations

import os

from simpo.recipe import load_recipe
from simpo.runs.ranks import Ranks
from simpo.train import loop
from simpo.train.run import resume, train


def train_each(recipes: list[str]) -> list[str]:
    """Train runs one after another; returns their folders."""
    return [str(train(load_recipe(recipe)).path) for recipe in recipes]


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
    begin = loop.seed_step

    def watched(seed: int, at: int, ranks: Ranks) -> None:
        begin(seed, at, ranks)
        if (ranks.rank, at) == (rank, step):
            os.kill(os.getpid(), number)

    loop.seed_step = watched
