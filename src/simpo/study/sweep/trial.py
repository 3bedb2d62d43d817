"""One trial of a sweep: a run of its own, on what all trials share, stopped early if hopeless, then measured."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simpo.core.halving import hopeless
from simpo.core.logps import SequenceLogps
from simpo.data.batches import BatchOrder
from simpo.errors import Collapsed, Interrupted
from simpo.evaluate.preference import PreferenceFigures, evaluate_preferences
from simpo.model.weights import is_adapter, load_weights
from simpo.recipe import LoadedRecipe, Recipe
from simpo.records import TokenGroup
from simpo.runs.checkpoint import best_model_folder
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, is_run_folder, leftovers_of, storage_errors
from simpo.study.sweep.rows import Row
from simpo.study.sweep.shared import Shared, by_row, of_rows, scored
from simpo.study.sweep.space import Sweep
from simpo.train.loop import Listener
from simpo.train.prepare import Prepared, Progress, attach_adapter
from simpo.train.run import resume, train

_CURVE = ("step", "epoch", "accuracy", "loss", "margin", "chosen_logps", "rejected_logps", "saturated")

LATEST_STOP = 0.8  # of the steps; after that a trial costs little more to finish

Report = Callable[[int, float], Sequence[float]]


class Hopeless(Interrupted):
    """A trial was stopped early; its run could be gone on with."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be tried, and where its run lies.

    report: tells the others an accuracy at a point, in thousandths of the steps, and returns theirs at that point.
    """

    name: str
    settings: Mapping[str, Any]
    folder: Path
    report: Report


class _EarlyStop:
    """Hears a trial's events, tells the others its accuracies, and raises Hopeless where they leave it no hope."""

    def __init__(self, report: Report, planned: int, num_prompts: int, *, active: bool) -> None:
        self.report, self.planned, self.num_prompts, self.active = report, planned, num_prompts, active
        self.verdict: str | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Stop at the checkpoint after a hopeless evaluation: by then the guard has had its say."""
        if (
            event["event"] == "evaluate"
            and 0 < event["step"] < self.planned
            and event["accuracy"] is not None
        ):
            self._judge(int(event["step"]), float(event["accuracy"]))
        elif event["event"] == "checkpoint" and self.verdict is not None:
            raise Hopeless(self.verdict)

    def _judge(self, step: int, accuracy: float) -> None:
        progress = step / self.planned
        others = self.report(round(1000 * progress), accuracy)
        if (
            self.active
            and progress <= LATEST_STOP
            and hopeless(accuracy, others, num_prompts=self.num_prompts)
        ):
            self.verdict = (
                f"stopped at step {step} of {self.planned}: accuracy {accuracy:.1%}, "
                f"the best trial had {max(others):.1%} there"
            )


def trial_recipe(sweep: Sweep, trial: Trial, num_train: int) -> LoadedRecipe:
    """The recipe of a trial's run: the settings, and evaluations for its curve where the recipe names none."""
    loaded = sweep.recipe(trial.settings, trial.folder)
    if loaded.recipe.train.evaluate_every is not None:
        return loaded
    every = max(1, math.ceil(num_steps(loaded.recipe, num_train) / sweep.settings.evaluations))
    train_section = loaded.recipe.train.model_copy(update={"evaluate_every": every})
    recipe = loaded.recipe.model_copy(update={"train": train_section})
    return LoadedRecipe(recipe, {**loaded.origins, "train.evaluate_every": "simpo sweep"})


def num_steps(recipe: Recipe, num_train: int) -> int:
    """The steps that a run of this recipe takes."""
    order = BatchOrder(num_train, recipe.train.batch_size, recipe.train.seed)
    return order.num_steps(recipe.train.epochs, recipe.train.max_steps)


def run_trial(
    sweep: Sweep,
    shared: Shared,
    trial: Trial,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
) -> Row:
    """Train and measure a trial, going on with its run where one was begun; never raises for what these settings do.

    Raises Interrupted when the user stops it, and RunFailed, DataError and RecipeError for what would befall any trial.
    """
    prepared = shared.take(sweep.recipe(trial.settings, trial.folder).recipe)
    loaded = trial_recipe(sweep, trial, len(prepared.train))
    recipe = loaded.recipe
    planned = num_steps(recipe, len(prepared.train))
    num_prompts = len({group.row.prompt_id for group in prepared.validation})
    judge = _EarlyStop(trial.report, planned, num_prompts, active=sweep.settings.prune)

    def hear(event: dict[str, Any]) -> None:
        if listen is not None:
            listen(event)
        judge(event)

    row = _plain_row(trial, recipe, planned)
    try:
        _train(loaded, trial.folder, prepared, hear, judge, progress)
    except Hopeless as stop:
        return _told(row, trial.folder, status="pruned", message=stop.message)
    except Collapsed as failure:
        return _told(row, trial.folder, status="collapsed", message=failure.message)
    except torch.OutOfMemoryError:
        return _told(
            row, trial.folder, status="failed", message="these settings do not fit in the device's memory"
        )
    return _told(row, trial.folder, status="done", **_measure(recipe, shared, prepared, trial.folder))


def _train(
    loaded: LoadedRecipe,
    folder: Path,
    prepared: Prepared,
    hear: Listener,
    judge: Listener,
    progress: Progress | None,
) -> None:
    if is_run_folder(folder):
        run = RunFolder(folder)
        for event in read_events(
            run.events_path
        ):  # the others may not have heard of these, nor may we have judged
            if run.lineage().get("status") != "done":
                judge(event)
        resume(folder, listen=hear, progress=progress, prepared=prepared)
        return
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in leftovers_of(folder):
            shutil.rmtree(leftover, ignore_errors=True)
    train(loaded, listen=hear, progress=progress, prepared=prepared)


def _measure(recipe: Recipe, shared: Shared, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """The figures of a run's best checkpoint."""
    policy, measured = prepared.policy, shared.measured
    if recipe.adapter.type != "none" and not is_adapter(policy):  # the run was finished when we came to it
        attach_adapter(recipe, policy, folder)
    load_weights(policy, best_model_folder(folder), recipe.model)
    logps = by_row(measured.all, scored(recipe, policy, measured.all))

    def figures(groups: Sequence[TokenGroup]) -> PreferenceFigures:
        reference = shared.start(groups) if prepared.objective.method.reference else None
        return evaluate_preferences(
            groups, of_rows(groups, logps), prepared.objective, reference=reference, seed=recipe.evaluate.seed
        )

    validation = figures(measured.validation)
    return {
        "accuracy": validation.reward.to_json(),
        "wins": "".join(_letter(pair.chosen_reward, pair.rejected_reward) for pair in validation.pairs),
        "train_accuracy": figures(measured.train_sample).reward.value,
        "paraphrase_accuracy": figures(measured.paraphrases).reward.to_json()
        if measured.paraphrases
        else None,
        "chosen_logps": validation.chosen_logps,
        "drift": drift(of_rows(measured.validation, logps), shared.start(measured.validation)),
    }


def start_figures(sweep: Sweep, shared: Shared) -> PreferenceFigures:
    """What the untrained model makes of the held-out pairs, under the recipe's own reward.

    A reference method begins at its reference: every pair is a tie.
    """
    method, groups = sweep.base.recipe.method, shared.measured.validation
    prepared = shared.take(sweep.base.recipe)
    reference = shared.start(groups) if prepared.objective.method.reference else None
    assert method.name == prepared.objective.method.name
    return evaluate_preferences(
        groups,
        shared.start(groups),
        prepared.objective,
        reference=reference,
        seed=sweep.base.recipe.evaluate.seed,
    )


def drift(policy: SequenceLogps, start: SequenceLogps) -> float:
    """Mean absolute change of the mean log-probability of completions [N], nats per token: 0 for an unchanged model."""
    return float((policy.mean.double() - start.mean.double()).abs().mean())


def _letter(chosen: float, rejected: float) -> str:
    return "1" if chosen > rejected else "h" if chosen == rejected else "0"


def _plain_row(trial: Trial, recipe: Recipe, planned: int) -> dict[str, Any]:
    return {
        "name": trial.name,
        "settings": dict(trial.settings),
        "beta": recipe.method.parameters.get("beta"),
        "planned_steps": planned,
    }


def _told(row: Mapping[str, Any], folder: Path, **more: Any) -> Row:
    """The row with what the run's own story tells."""
    events = read_events(RunFolder(folder).events_path)
    evaluations = [event for event in events if event["event"] == "evaluate"]
    looks = [event for event in events if event["event"] == "guard"]
    stop = next((event for event in reversed(events) if event["event"] == "stop"), None)
    best = next((event for event in reversed(evaluations) if event["best"]), None)
    best_step = stop["best_step"] if stop else best["step"] if best else None
    last = evaluations[-1] if evaluations else {}
    told: dict[str, Any] = {
        "best_step": best_step,
        "steps": max((event["step"] for event in events), default=0),
        "seconds": sum(event.get("seconds", 0.0) for event in events if event["event"] != "stop"),
        "verdict": looks[-1]["verdict"] if looks else None,
        "curve": [{key: event.get(key) for key in _CURVE} for event in evaluations],
        "loss": (best or last).get("loss"),
        "chosen_logps": last.get("chosen_logps"),
        "accuracy": {"value": last["accuracy"], "low": None, "high": None} if last else None,
    }
    seen = next((look["figures"] for look in reversed(looks) if look["step"] == best_step), None)
    seen = seen or (looks[-1]["figures"] if looks else {})
    told |= {key: seen.get(key) for key in ("median_chars", "stopped", "repetitive")}
    return Row(**{**row, **told, **more})
