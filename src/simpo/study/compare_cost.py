"""What each method costs: a few steps of each in a fresh process, a reference method at each of its three prices."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from simpo.core.methods import METHODS
from simpo.errors import RunFailed
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, is_run_folder, write_atomic
from simpo.study.child import Progress, train_in_child
from simpo.study.compare_plan import Contender, Plan
from simpo.study.compare_train import Note, RunFacts

STEPS = 4  # of a trial; the first, which fills caches and makes the optimizer's state, does not count

Row = dict[str, Any]


def price_methods(
    plan: Plan, *, steps: int = STEPS, progress: Progress | None = None, note: Note | None = None
) -> tuple[list[Row], list[dict[str, str]]]:
    """Rows of the cost table by trial, and what could not be tried.

    Each trial trains `steps` steps of the method's recipe without validation, alone in its process, with nothing scored
    ahead by earlier runs; a method with a reference is tried with it precomputed, live, and (where there is an adapter)
    with the adapter off. A trial that was made before in this folder is read again.
    """
    rows: list[Row] = []
    problems: list[dict[str, str]] = []
    for contender in plan.contenders:
        for mode in _modes(contender.recipe):
            name = contender.id if mode is None else f"{contender.id}-{mode}"
            recipe = _trial(contender.recipe, mode, steps, plan.out / "cost" / name)
            if note is not None and not _done(recipe):
                note(f"cost of {name}, {steps} steps")
            try:
                _run(plan.out, name, recipe, progress)
            except RunFailed as failure:
                problems.append({"where": f"cost of {name}", "message": failure.message})
                continue
            rows.append(
                {"method": contender.id, "reference": mode, "from": "trial", **_figures(recipe, mode)}
            )
    shutil.rmtree(plan.out / "cost" / "cache", ignore_errors=True)
    return rows, problems


def run_costs(contenders: Sequence[Contender], facts: Mapping[str, RunFacts]) -> list[Row]:
    """Rows of the cost table from the runs themselves, the median of the seeds: validation is among their memory."""
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
                "seconds_per_pair": median(fact.seconds / fact.pairs for fact in done),
                "pairs_per_second": median(fact.pairs / fact.seconds for fact in done),
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


def _trial(recipe: Recipe, mode: str | None, steps: int, folder: Path) -> Recipe:
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
            "output": str(folder),
            "data": data,
            "train": train,
            "method": recipe.method.model_copy(update={"reference": mode}),
            "guard": recipe.guard.model_copy(update={"prompts": 0, "every": None, "feedback": None}),
            "tracking": recipe.tracking.model_copy(update={"tracker": None}),
        }
    )


def _run(out: Path, name: str, recipe: Recipe, progress: Progress | None) -> None:
    if _done(recipe):
        return
    shutil.rmtree(recipe.output, ignore_errors=True)  # half a trial measures nothing
    file = out / "recipes" / f"cost-{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, LoadedRecipe(recipe, {}).to_yaml())
    train_in_child(file, progress=progress, environment={"SIMPO_CACHE": str(out / "cost" / "cache")})
    shutil.rmtree(RunFolder(recipe.output).checkpoints, ignore_errors=True)  # a few steps make no model


def _done(recipe: Recipe) -> bool:
    folder = Path(recipe.output)
    return is_run_folder(folder) and RunFolder(folder).lineage().get("status") == "done"


def _figures(recipe: Recipe, mode: str | None) -> Row:
    events = read_events(RunFolder(recipe.output).events_path)
    every = [event for event in events if event["event"] == "step"]
    steps = every[1:] or every
    start = next(event for event in events if event["event"] == "start")
    ready = next(event for event in events if event["event"] == "scorer")
    stop = next(event for event in reversed(events) if event["event"] == "stop")
    seconds, pairs = (sum(step[name] for step in steps) for name in ("seconds", "pairs"))
    prepare = every[0]["time"] - every[0]["seconds"] - ready["time"]
    return {
        "steps": len(steps),
        "seconds": seconds,
        "seconds_per_pair": seconds / pairs,
        "pairs_per_second": pairs / seconds,
        "tokens_per_second": sum(step["tokens"] for step in steps) / seconds,
        "prepare_seconds": max(0.0, prepare),
        "prepare_pairs": start["plan"]["num_rows"],
        "peak_memory_bytes": stop["peak_memory_bytes"],
        "parameters_held": _held(start["parameters"], mode),
        "parameters_trained": start["parameters"]["trained"],
    }


def _held(parameters: Mapping[str, int], mode: str | None) -> int:
    """Parameters in memory while training: a live reference is a second model, without the adapter of the first."""
    if mode != "live":
        return parameters["total"]
    base = parameters["total"] - (parameters["trained"] if parameters["trained"] < parameters["total"] else 0)
    return parameters["total"] + base
