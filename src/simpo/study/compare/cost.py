"""What each method costs: a few steps of each in a fresh process, a reference method at each of its three prices."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from simpo.core.methods import METHODS
from simpo.errors import RunFailed
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, is_run_folder, write_atomic
from simpo.study.child import Progress, Train, train_in_child
from simpo.study.compare.plan import Contender, Plan, settings_of
from simpo.study.compare.train import Note, RunFacts

STEPS = 4  # of a trial; the first, which fills caches and makes the optimizer's state, does not count

Row = dict[str, Any]


def price_methods(
    plan: Plan,
    *,
    steps: int = STEPS,
    train: Train = train_in_child,
    progress: Progress | None = None,
    note: Note | None = None,
) -> tuple[list[Row], list[dict[str, str]]]:
    """Rows of the cost table by trial, and what could not be tried.

    Each trial trains `steps` steps of the method's recipe without validation, alone in its process, with nothing scored
    ahead by earlier runs; a method with a reference is tried with it precomputed, live, and (where there is an adapter)
    with the adapter off. All are tried twice, the second time in the reverse order, so that what else the machine does
    meanwhile shows as spread. A trial that was made before in this folder is read again. train: how, as
    `train_in_child` does it.
    """
    trials = [
        _Trial(plan.out, one.id, mode, _shortened(one.recipe, mode, steps))
        for one in plan.contenders
        for mode in _modes(one.recipe)
    ]
    problems: dict[str, dict[str, str]] = {}
    for number, order in enumerate((trials, trials[::-1]), 1):
        for trial in order:
            if note is not None and not trial.done(number):
                note(f"cost of {trial.name}, {steps} steps, {number} of 2")
            try:
                trial.run(number, train, progress)
            except RunFailed as failure:
                problems[trial.name] = {"where": f"cost of {trial.name}", "message": failure.message}
        shutil.rmtree(plan.out / "cost" / f"cache-{number}", ignore_errors=True)
    return [trial.row() for trial in trials if trial.name not in problems], list(problems.values())


@dataclass(frozen=True, slots=True)
class _Trial:
    """A few steps of one method with one mode of reference, made twice."""

    out: Path
    method: str
    mode: str | None
    recipe: Recipe

    @property
    def name(self) -> str:
        return self.method if self.mode is None else f"{self.method}-{self.mode}"

    def folder(self, number: int) -> RunFolder:
        return RunFolder(self.out / "cost" / f"{self.name}-{number}")

    def done(self, number: int) -> bool:
        folder = self.folder(number)
        if not is_run_folder(folder.path) or folder.lineage().get("status") != "done":
            return False
        return settings_of(folder.load_recipe().recipe) == settings_of(self.recipe)

    def run(self, number: int, train: Train, progress: Progress | None) -> None:
        folder = self.folder(number)
        if self.done(number):
            return
        shutil.rmtree(folder.path, ignore_errors=True)  # half a trial measures nothing
        file = self.out / "recipes" / f"cost-{folder.path.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        own = self.recipe.model_copy(update={"output": str(folder.path)})
        write_atomic(file, LoadedRecipe(own, {}).to_yaml())
        cache = {"SIMPO_CACHE": str(self.out / "cost" / f"cache-{number}")}
        train(file, listen=None, progress=progress, environment=cache)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # a few steps make no model

    def row(self) -> Row:
        stories = [read_events(self.folder(number).events_path) for number in (1, 2)]
        taken = [[event for event in events if event["event"] == "step"] for events in stories]
        steps = [step for every in taken for step in every[1:] or every]
        start = next(event for event in stories[0] if event["event"] == "start")
        seconds = sum(step["seconds"] for step in steps)
        return {
            "method": self.method,
            "reference": self.mode,
            "from": "trial",
            "steps": len(steps),
            "seconds": seconds,
            **_per_pair([step["seconds"] / step["pairs"] for step in steps], spread=(0.0, 1.0)),
            "tokens_per_second": sum(step["tokens"] for step in steps) / seconds,
            "prepare_seconds": _preparation(stories),
            "prepare_pairs": start["plan"]["num_rows"],
            "peak_memory_bytes": max(_last(events, "stop")["peak_memory_bytes"] for events in stories),
            "parameters_held": _held(start["parameters"], self.mode),
            "parameters_trained": start["parameters"]["trained"],
        }


def _preparation(stories: Sequence[Sequence[Row]]) -> float | None:
    """Seconds from the choice of a scorer until a trial is ready to step: what a reference scored ahead takes.

    The shorter of two; None of trials that were made before runs said so.
    """
    told = [event["prepare_seconds"] for events in stories for event in events if event["event"] == "ready"]
    return min(told, default=None)


def _last(events: Sequence[Row], kind: str) -> Row:
    return next(event for event in reversed(events) if event["event"] == kind)


def run_costs(contenders: Sequence[Contender], facts: Mapping[str, RunFacts]) -> list[Row]:
    """Rows of the cost table from the runs themselves, over all seeds: validation is among their memory."""
    rows = []
    for contender in contenders:
        done = [facts[run.name] for run in contender.runs if facts[run.name].error is None]
        if not done or not all(fact.seconds and fact.pairs for fact in done):
            continue
        seconds = median(fact.seconds for fact in done)
        peaks = [fact.peak_memory_bytes for fact in done if fact.peak_memory_bytes]
        parameters = done[0].parameters or {"total": 0, "trained": 0}
        mode = contender.recipe.reference_mode
        rows.append(
            {
                "method": contender.id,
                "reference": mode,
                "from": "run",
                "steps": done[0].steps,
                "seconds": seconds,
                **_per_pair([cost for fact in done for cost in fact.step_costs[1:] or fact.step_costs]),
                "tokens_per_second": median(fact.tokens / fact.seconds for fact in done),
                "prepare_seconds": None,
                "peak_memory_bytes": median(peaks) if peaks else None,
                "parameters_held": _held(parameters, mode),
                "parameters_trained": parameters["trained"],
            }
        )
    return rows


def _modes(recipe: Recipe) -> tuple[str | None, ...]:
    if not METHODS[recipe.method.name].reference:
        return (None,)
    return ("precomputed", "live", *(("adapter_off",) if recipe.adapter.type != "none" else ()))


def _shortened(recipe: Recipe, mode: str | None, steps: int) -> Recipe:
    rows = steps * recipe.train.batch_size
    data = recipe.data.model_copy(
        update={
            "limit": min(rows, recipe.data.limit or rows),
            "validation": None,
            "validation_fraction": 0.0,
            "test": None,
        }
    )
    train = recipe.train.model_copy(
        update={
            "epochs": float(steps),
            "max_steps": steps,
            "evaluate_every": None,
            "patience": None,
            "save_every": None,
        }
    )
    return recipe.model_copy(
        update={
            "data": data,
            "train": train,
            "method": recipe.method.model_copy(update={"reference": mode}),
            "guard": recipe.guard.model_copy(update={"prompts": 0, "every": None, "feedback": None}),
            "tracking": recipe.tracking.model_copy(update={"tracker": None}),
        }
    )


def _per_pair(costs: Sequence[float], spread: tuple[float, float] = (0.25, 0.75)) -> Row:
    """The median step's seconds per pair, and quantiles of the steps: wide where the machine had other work."""
    low, middle, high = (float(at) for at in np.quantile(costs, [spread[0], 0.5, spread[1]]))
    return {
        "seconds_per_pair": middle,
        "seconds_per_pair_low": low,
        "seconds_per_pair_high": high,
        "pairs_per_second": 1 / middle,
    }


def _held(parameters: Mapping[str, int], mode: str | None) -> int:
    """Parameters in memory while training: a live reference is a second model, without the adapter of the first."""
    if mode != "live":
        return parameters["total"]
    base = parameters["total"] - (parameters["trained"] if parameters["trained"] < parameters["total"] else 0)
    return parameters["total"] + base
