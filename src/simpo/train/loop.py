"""The training loop: schedule, events, evaluation, saves and stops, in plain sight."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from simpo.core.logps import SequenceLogps
from simpo.data.batches import BatchOrder, micro_batches
from simpo.errors import Interrupted, RecipeError, RunFailed
from simpo.model.reference import Reference
from simpo.model.score import Scorer, score, score_all, score_in_batches
from simpo.model.weights import load_weights, save_weights
from simpo.recipe import LoadedRecipe, Recipe, warnings_for
from simpo.records import TokenGroup
from simpo.runs.checkpoint import (
    Checkpoint,
    drop_optimizer,
    latest_checkpoint,
    prune,
    save_checkpoint,
    set_best,
)
from simpo.runs.events import EventLog
from simpo.runs.folder import RunFolder
from simpo.runs.machine import peak_memory_bytes, reset_peak_memory
from simpo.train.guard import StopRequest
from simpo.train.optimizer import (
    learning_rate,
    load_optimizer,
    make_optimizer,
    save_optimizer,
    set_learning_rate,
)
from simpo.train.prepare import Prepared, Progress, attach_adapter, make_reference, seed_everything
from simpo.train.step import PairSums, train_step

Listener = Callable[[dict[str, Any]], None]


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


class Loop:
    """One run in progress: what it holds, and the few decisions it takes between steps."""

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        prepared: Prepared,
        stop: StopRequest,
        listen: Listener | None,
        progress: Progress | None,
    ) -> None:
        self.run, self.recipe, self.prepared, self.stop = run, recipe, prepared, stop
        self.listen, self.progress = listen, progress
        self.events = EventLog(run.events_path)
        self.state = LoopState()
        self.order = BatchOrder(len(prepared.train), recipe.train.batch_size, recipe.train.seed)
        self.num_steps = self.order.num_steps(recipe.train.epochs, recipe.train.max_steps)
        self.accelerator = make_accelerator(
            recipe, prepared.policy.device, run.path, tracker=recipe.tracking.tracker
        )
        self.scorer = autocast_scorer(self.accelerator)
        self.reference: Reference | None = None

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event at the current step, tell the listener, and the tracker if there is one."""
        record = self.events.append(event, step=self.state.step, **fields)
        if self.recipe.tracking.tracker is not None and event in ("step", "evaluate"):
            numbers = {
                f"{event}/{name}": value for name, value in fields.items() if isinstance(value, (int, float))
            }
            self.accelerator.log(numbers, step=self.state.step)
        if self.listen is not None:
            self.listen(record)

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Score the reference while the policy is still the starting one, then take up the checkpoint if any."""
        reset_peak_memory()
        policy, train = self.prepared.policy, self.recipe.train
        attach_adapter(self.recipe, policy, self.run.path)
        self.reference = make_reference(self.recipe, self.prepared, self.scorer, self.progress)
        if checkpoint is not None:
            load_weights(policy, checkpoint.model, self.recipe.model)
            self.state = LoopState(**checkpoint.state())
            if self.state.best_step is not None:
                set_best(self.run.checkpoints, self.state.best_step)
        if train.gradient_checkpointing:
            policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        policy.model.train()
        self.optimizer = make_optimizer(policy.model, train)
        seed_everything(train.seed)
        if checkpoint is None:
            self.emit("start", **self._plan())
        else:
            load_optimizer(self.optimizer, checkpoint.path / "optimizer.safetensors")
            self.emit("resume", evaluated=self.state.evaluated_step == self.state.step)
        self.run.update_lineage(status="running")

    def run_to_end(self) -> None:
        """Step until the plan is done or validation no longer improves; evaluate and save on the way."""
        while True:
            if self._evaluation_due() and not self._evaluate():
                break
            if self._finished() or self.stop.requested:
                break
            self._step()
            if self._save_due():
                self._save()
        if self._finished():
            self._finish()
            return
        self._save()
        self.emit("interrupted")
        raise Interrupted(
            f"interrupted at step {self.state.step} of {self.num_steps}; the state is saved",
            where=str(self.run.path),
            fix=f"go on with `simpo train --resume {self.run.path}`",
        )

    def _step(self) -> None:
        started, step = time.perf_counter(), self.state.step
        groups = [self.prepared.train[index] for index in self.order.batch(step)]
        lr = learning_rate(self.recipe.train, step, self.num_steps)
        set_learning_rate(self.optimizer, lr)
        try:
            record = train_step(
                self.accelerator,
                self.prepared.policy.model,
                self.optimizer,
                list(micro_batches(groups, self.recipe.train.micro_batch_size)),
                objective=self.prepared.objective,
                scorer=self.scorer,
                reference=self.reference,
                max_grad_norm=self.recipe.train.max_grad_norm,
            )
        except RunFailed:
            self._save()  # the weights are as the last good step left them
            raise
        seconds = time.perf_counter() - started
        self.state.step += 1
        self.state.pairs += record.pairs
        self.state.seconds += seconds
        epoch = round(self.state.step / self.order.steps_per_epoch, 4)
        self.emit("step", epoch=epoch, lr=lr, seconds=seconds, **_present(asdict(record)))

    def _scheduled_evaluation(self) -> bool:
        step, every = self.state.step, self.recipe.train.evaluate_every
        ends = step in (0, self.num_steps) or step % self.order.steps_per_epoch == 0
        return ends or (every is not None and step % every == 0)

    def _evaluation_due(self) -> bool:
        return self._scheduled_evaluation() and self.state.evaluated_step < self.state.step

    def _save_due(self) -> bool:
        every = self.recipe.train.save_every
        return every is not None and self.state.step % every == 0 and not self._scheduled_evaluation()

    def _finished(self) -> bool:
        state, patience = self.state, self.recipe.train.patience
        if patience is not None and state.evaluations_without_gain >= patience:
            return True
        return state.step >= self.num_steps and state.evaluated_step == state.step

    def _evaluate(self) -> bool:
        """Evaluate on validation, note the best, save; False when the user asked to stop in the middle."""
        state, started = self.state, time.perf_counter()
        if self.prepared.validation:
            try:
                figures = validation_figures(
                    self.prepared,
                    self.scorer,
                    self.reference,
                    self.recipe.evaluate.batch_size,
                    self._on_evaluation,
                )
            except _StopEvaluation:
                return False
            loss = figures["loss"]
            # The untrained start is measured but cannot win: a run's result is something it trained.
            better = (
                state.step > 0 and loss is not None and (state.best_loss is None or loss < state.best_loss)
            )
            state.evaluations_without_gain += state.step > 0 and not better
            if better:
                state.best_loss, state.best_step, state.evaluations_without_gain = loss, state.step, 0
            self.emit(
                "evaluate",
                epoch=round(state.step / self.order.steps_per_epoch, 4),
                num_pairs=len(self.prepared.validation),
                seconds=time.perf_counter() - started,
                best=better,
                **figures,
            )
        state.evaluated_step = state.step
        if state.step > 0:
            self._save()
        return True

    def _on_evaluation(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress("evaluating", done, total)
        if self.stop.requested:
            raise _StopEvaluation

    def _save(self) -> None:
        started = time.perf_counter()
        policy, state = self.prepared.policy, self.state

        def write(folder: Path) -> None:
            save_weights(policy, folder / "model")
            save_optimizer(self.optimizer, folder / "optimizer.safetensors")
            (folder / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")

        checkpoint, size = save_checkpoint(self.run.checkpoints, state.step, write)
        if state.best_step == state.step:
            set_best(self.run.checkpoints, state.step)
        prune(self.run.checkpoints, keep=self.recipe.train.keep_checkpoints)
        path = str(checkpoint.path.relative_to(self.run.path))
        self.emit("checkpoint", path=path, bytes=size, seconds=time.perf_counter() - started)

    def _finish(self) -> None:
        """Name the best checkpoint (the newest where there is no validation) and close the run."""
        state, checkpoints = self.state, self.run.checkpoints
        best = state.best_step or state.step
        set_best(checkpoints, best)
        prune(checkpoints, keep=1)
        newest = latest_checkpoint(checkpoints, lambda note: self.emit("note", message=note))
        if newest is not None:
            drop_optimizer(newest)
        reason = (
            "early_stop"
            if state.step < self.num_steps
            else "max_steps"
            if self.recipe.train.max_steps
            else "done"
        )
        self.emit(
            "stop",
            reason=reason,
            best_step=best,
            seconds=state.seconds,
            pairs_per_second=state.pairs / state.seconds if state.seconds else 0.0,
            peak_memory_bytes=peak_memory_bytes(),
        )
        self.run.update_lineage(status="done")

    def _plan(self) -> dict[str, Any]:
        train = self.recipe.train
        return {
            "method": self.recipe.method.describe(),
            "model": self.recipe.model.name,
            "model_hash": self.prepared.policy.hash,
            "plan": {
                "steps": self.num_steps,
                "epochs": train.epochs,
                "batch_size": train.batch_size,
                "micro_batch_size": train.micro_batch_size,
                "num_rows": len(self.prepared.train),
                "num_validation": len(self.prepared.validation),
            },
            "parameters": self.prepared.policy.parameter_counts(),
            "warnings": warnings_for(self.recipe),
            "data": self.prepared.summary,
        }


class _StopEvaluation(Exception):
    """Raised between two batches of an evaluation that the user no longer waits for."""


def validation_figures(
    prepared: Prepared,
    scorer: Scorer,
    reference: Reference | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float | None]:
    """Loss, accuracy, margin and mean log-probabilities over the validation groups, each row counted once.

    A figure that is not finite is None: JSON has no word for it, and it is never better than another.
    """
    groups, objective = prepared.validation, prepared.objective
    policy = score_all(prepared.policy.model, groups, batch_size=batch_size, scorer=scorer, progress=progress)
    baseline = None if reference is None else score_in_batches(reference, groups, batch_size)
    losses = objective.losses(policy, baseline).double()
    tokens = sum(group.num_completion_tokens for group in groups)
    sums = PairSums()
    if objective.method.pairwise:
        sums.add(policy, objective.rewards(policy, baseline))
    loss = float(losses.sum()) / objective.denominator(len(groups), tokens)
    return {
        name: value if value is None or math.isfinite(value) else None
        for name, value in _with(loss, sums).items()
    }


def _with(loss: float, sums: PairSums) -> dict[str, float | None]:
    return {"loss": loss, **_present(sums.means())}


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def make_accelerator(recipe: Recipe, device: torch.device, run: Path, *, tracker: str | None) -> Any:
    """accelerate's handle on devices, mixed precision and trackers for one run."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps one state a process and refuses a second precision; a run has its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if recipe.train.precision == "bf16" else "no",
        log_with=tracker,
        project_dir=str(run / "tracker") if tracker else None,
    )
    if accelerator.num_processes > 1:
        raise RecipeError("several processes are not supported yet", fix="run `simpo train` as one process")
    if tracker is not None:
        values = LoadedRecipe(recipe, {}).flat()
        config = {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers(recipe.tracking.project, config=config)
    return accelerator


def autocast_scorer(accelerator: Any) -> Scorer:
    """The plain scorer under the run's precision, the same for steps, evaluation and reference."""

    def scorer(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
        with accelerator.autocast():
            return score(model, groups)

    return scorer
