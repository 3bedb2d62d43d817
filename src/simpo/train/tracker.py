"""Curves for W&B, MLflow, TensorBoard or Trackio through accelerate's trackers, beside a run's own events.

A tracker often is somebody else's server. One that cannot start is refused before anything is written; one that fails
later is left behind with a note, because the run and its events do not need it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from simpo.errors import RecipeError
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.ranks import ALONE, Ranks

# Any one of a tracker's packages will do.
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}
# The argument by which each takes the name of one run.
_NAME_ARGUMENTS = {"wandb": "name", "mlflow": "run_name", "trackio": "name"}
_START_FIXES = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "look at MLFLOW_TRACKING_URI, and whether that server answers",
}


def require_tracker(recipe: Recipe) -> None:
    """RecipeError where the package of the recipe's tracker is not installed.

    accelerate itself passes over such a tracker without a word.
    """
    tracker = recipe.tracking.tracker
    if tracker is None:
        return
    packages = _PACKAGES.get(tracker, (tracker,))
    if not any(importlib.util.find_spec(package) for package in packages):
        raise RecipeError(
            f"tracking.tracker {tracker}: the package {packages[0]} is not installed",
            fix=f"pip install {packages[0]}, or leave tracking.tracker out",
        )


class Tracker:
    """One run's curves on their way to the tracker that its recipe names, or to none.

    TensorBoard writes into the run folder and therefore starts with the first figures, when that folder is there.
    """

    def __init__(self, recipe: Recipe, run: Path, *, silent: bool = False) -> None:
        self.name = None if silent else recipe.tracking.tracker
        self._recipe, self._run = recipe, run
        self._tracker: Any = None

    def start(self) -> None:
        """Start the tracker, unless it is TensorBoard. Raises RecipeError where it cannot."""
        if self.name is None or self.name == "tensorboard":
            return
        try:
            self._begin(self.name)
        except _errors(self.name) as error:
            raise RecipeError(
                f"tracking.tracker {self.name} does not start: {_first_line(error)}",
                fix=f"{_START_FIXES.get(self.name, 'see what it says')}, or leave tracking.tracker out",
            ) from error

    def log(self, event: str, fields: Mapping[str, Any], step: int) -> str | None:
        """Hand over the numbers of one event; where the tracker fails, what it said, and nothing more is sent."""
        if self.name is None:
            return None
        # A bool is an int to Python and a curve to nobody.
        numbers = {
            f"{event}/{key}": value
            for key, value in fields.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        try:
            if self._tracker is None:
                self._begin(self.name)
            with redirect_stdout(sys.stderr):
                self._tracker.log(numbers, step=step)
        except _errors(self.name) as error:
            message = f"{self.name} takes no more figures: {_first_line(error)}; events.jsonl has them all"
            self.name = None
            return message
        return None

    def finish(self) -> str | None:
        """Close the tracker; where that fails, what it said."""
        if self.name is None or self._tracker is None:
            return None
        try:
            with redirect_stdout(sys.stderr):
                if self.name == "trackio":
                    # accelerate ends the run alone, which trackio then ends again, and says so, when Python exits.
                    importlib.import_module("trackio").finish()
                else:
                    self._tracker.finish()
        except _errors(self.name) as error:
            return f"{self.name} did not close: {_first_line(error)}"
        return None

    def _begin(self, name: str) -> None:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # accelerate's trackers ask it which process they are in; make_accelerator begins it anew
        project, kind = self._recipe.tracking.project, LOGGER_TYPE_TO_CLASS[name]
        # What trackers print is no answer of ours: standard output is for that, JSON or not.
        with redirect_stdout(sys.stderr):
            if name == "tensorboard":
                tracker = kind(project, str(self._run / "tracker"))
            else:
                tracker = kind(project, **{_NAME_ARGUMENTS[name]: self._run.name})
            tracker.start()
            values = LoadedRecipe(self._recipe, {}).flat()
            config = {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
            tracker.store_init_configuration(config)
        self._tracker = tracker


@contextmanager
def tracking(recipe: Recipe, run: Path, ranks: Ranks = ALONE) -> Iterator[Tracker]:
    """The started tracker of a run, closed at the end of the block. Raises RecipeError where it cannot start.

    Of several ranks the main one alone sends figures.
    """
    tracker = Tracker(recipe, run, silent=not ranks.main)
    ranks.on_main(tracker.start)
    try:
        yield tracker
    finally:
        problem = tracker.finish()
        if problem is not None:
            print(problem, file=sys.stderr)


def _errors(name: str) -> tuple[type[Exception], ...]:
    """What a tracker raises: files and network, its own refusal of a value, and its package's own class."""
    common = (OSError, RuntimeError, ValueError)
    if name == "wandb":
        import wandb  # type: ignore[import-not-found,unused-ignore]

        return (*common, wandb.Error)
    if name == "mlflow":
        from mlflow.exceptions import (  # type: ignore[import-not-found,unused-ignore]
            MlflowException,
        )

        return (*common, MlflowException)
    return common


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


__all__ = ["Tracker", "require_tracker", "tracking"]
