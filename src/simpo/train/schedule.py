"""When a run evaluates, saves and ends: asked between two steps, decided by the recipe and where the run stands."""

from __future__ import annotations

from dataclasses import dataclass

from simpo.data.batches import BatchOrder
from simpo.recipe import TrainRecipe
from simpo.train.state import LoopState


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of one run. It remembers nothing: a resumed run asks with its saved state and goes on as planned."""

    train: TrainRecipe
    order: BatchOrder

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.order.num_steps(self.train.epochs, self.train.max_steps)

    def epoch(self, step: int) -> float:
        """Passes over the training rows after so many steps; whole where one ends."""
        return round(step / self.order.steps_per_epoch, 4)

    def evaluates_at(self, step: int) -> bool:
        """Whether the plan evaluates here: before the first step, after the last, at an epoch's end, every k steps."""
        every = self.train.evaluate_every
        ends = step in (0, self.num_steps) or step % self.order.steps_per_epoch == 0
        return ends or (every is not None and step % every == 0)

    def evaluation_due(self, state: LoopState) -> bool:
        """Whether to evaluate now: planned here, and not done yet."""
        return self.evaluates_at(state.step) and state.evaluated_step < state.step

    def save_due(self, state: LoopState) -> bool:
        """Whether to save now for `save_every` alone; an evaluation saves anyway."""
        every = self.train.save_every
        return every is not None and state.step % every == 0 and not self.evaluates_at(state.step)

    def finished(self, state: LoopState) -> bool:
        """Whether the plan is done and its end evaluated, or validation no longer improves."""
        patience = self.train.patience
        if patience is not None and state.evaluations_without_gain >= patience:
            return True
        return state.step >= self.num_steps and state.evaluated_step == state.step

    def reason(self, state: LoopState) -> str:
        """Why a finished run ended: `done`, `max_steps` or `early_stop`."""
        if state.step < self.num_steps:
            return "early_stop"
        return "max_steps" if self.num_steps < self.order.num_steps(self.train.epochs, None) else "done"
