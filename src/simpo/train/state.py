"""What a run is about to do, where it stands between two steps, and which weights are worth saving."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from simpo.errors import Collapsed, RecipeError
from simpo.model.sharding import local
from simpo.recipe import Recipe, warnings_for
from simpo.runs.checkpoint import Checkpoint
from simpo.runs.ranks import current
from simpo.train.guard import GuardState
from simpo.train.prepare import Prepared

LARGEST_WEIGHT = 1e6  # no network that says anything has a larger one


@dataclass(slots=True)
class LoopState:
    """Where a run stands between two steps; saved in every checkpoint.

    seconds: spent in steps, over all the processes the run took.
    """

    step: int = 0
    evaluated_step: int = -1
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    seconds: float = 0.0
    pairs: int = 0
    guard: GuardState = field(default_factory=GuardState)

    def note_loss(self, loss: float | None, *, fit: bool) -> bool:
        """Whether this validation loss is the best so far; neither the untrained start nor a collapse can win."""
        if self.step == 0:
            return False
        better = fit and loss is not None and (self.best_loss is None or loss < self.best_loss)
        if better:
            self.best_loss, self.best_step, self.evaluations_without_gain = loss, self.step, 0
        else:
            self.evaluations_without_gain += 1
        return better


def read_state(checkpoint: Checkpoint) -> LoopState:
    """What `LoopState` a checkpoint holds; RecipeError for one of another version."""
    try:
        saved = checkpoint.state()
        return LoopState(**{**saved, "guard": GuardState.read(saved.get("guard", {}))})
    except TypeError:
        raise RecipeError(
            "the checkpoint was written by another version of simpo",
            where=str(checkpoint.path),
            fix="go on with the version that run.json names, or start a new run",
        ) from None


def require_sane_weights(model: Any, step: int) -> None:
    """Collapsed where a trained weight is not finite, or as good as: such a checkpoint must not replace another."""
    # Smallest and largest: one pass that copies nothing, and a NaN shows in both.
    trained = [local(p).detach() for p in model.parameters() if p.requires_grad]
    ends = [end for weight in trained if weight.numel() for end in torch.aminmax(weight)]
    sizes = [abs(float(end)) for end in ends]
    own = math.inf if any(map(math.isnan, sizes)) else max(sizes, default=0.0)
    largest = max(current().gather(own))
    if largest <= LARGEST_WEIGHT:
        return
    what = f"as large as {largest:.0e}" if math.isfinite(largest) else "not finite"
    raise Collapsed(
        f"the weights are {what} after step {step}; they were not saved, and what was saved before is intact",
        fix="lower train.lr, or set train.precision: float32",
    )


def plan_of(recipe: Recipe, prepared: Prepared, num_steps: int) -> dict[str, Any]:
    """The fields of a `start` event: what is about to be done, with what, on what."""
    train = recipe.train
    return {
        "method": recipe.method.describe(),
        "model": recipe.model.name,
        "model_hash": prepared.policy.hash,
        "plan": {
            "steps": num_steps,
            "epochs": train.epochs,
            "batch_size": train.batch_size,
            "num_rows": len(prepared.train),
            "num_validation": len(prepared.validation),
        },
        "parameters": prepared.policy.parameter_counts(),
        "warnings": warnings_for(recipe),
        "data": prepared.summary,
    }
