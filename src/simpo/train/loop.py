"""The training loop: events, evaluation, saves and stops, in plain sight; `schedule.py` says when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from simpo.data.batches import BatchOrder
from simpo.errors import Collapsed, DataError, Interrupted, RunFailed
from simpo.model.lean import make_lean
from simpo.model.reference import AdapterOffReference, LiveReference, Reference
from simpo.model.score import Scorer, score
from simpo.model.trust import Choice
from simpo.model.weights import load_weights
from simpo.recipe import Recipe
from simpo.runs.checkpoint import (
    OPTIMIZER,
    Checkpoint,
    prune,
    set_aside_after,
    set_best,
    tidy_finished,
    whole_checkpoint,
)
from simpo.runs.events import EventLog, read_events
from simpo.runs.folder import RunFolder
from simpo.runs.machine import peak_memory_bytes, reset_peak_memory
from simpo.runs.ranks import LostRank, current
from simpo.train.accelerator import make_accelerator, run_scorer
from simpo.train.advice import collapsed, first_knobs
from simpo.train.allocator import give_back_freed_memory
from simpo.train.balance import Cost, Cut, divide, flops
from simpo.train.cut import choose_cut
from simpo.train.feedback import feedback_rates
from simpo.train.guard import Guard, Look
from simpo.train.optimizer import (
    learning_rate,
    load_optimizer,
    make_optimizer,
    reserve,
    set_learning_rate,
)
from simpo.train.parallel import CUT, ZERO_STAGES, Strategy, choose_strategy, shard_models
from simpo.train.prepare import (
    Prepared,
    Progress,
    attach_adapter,
    checkpoint_activations,
    make_reference,
    seed_everything,
)
from simpo.train.reduce import seed_step
from simpo.train.saving import save_state
from simpo.train.schedule import Schedule
from simpo.train.signals import StopRequest
from simpo.train.state import LoopState, plan_of, read_state
from simpo.train.step import train_step
from simpo.train.tracker import Tracker
from simpo.train.validation import validation_figures
from simpo.train.zero import ZeroAdamW, cut_frozen

Listener = Callable[[dict[str, Any]], None]


class Loop:
    """One run in progress: what it holds, and the few decisions it takes between steps."""

    optimizer: torch.optim.Optimizer
    cut: Cut
    cost: Cost

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        prepared: Prepared,
        stop: StopRequest,
        tracker: Tracker,
        listen: Listener | None,
        progress: Progress | None,
    ) -> None:
        self.run, self.recipe, self.prepared, self.stop, self.tracker = run, recipe, prepared, stop, tracker
        self.listen, self.progress, self.ranks = listen, progress, current()
        self.events = self.ranks.on_main(EventLog, run.events_path)
        self.state = LoopState()
        self.saved: LoopState | None = None
        self.order = BatchOrder(len(prepared.train), recipe.train.batch_size, recipe.train.seed)
        self.schedule = Schedule(recipe.train, self.order)
        self.accelerator = make_accelerator(recipe, prepared.policy.device)
        self.scorer: Scorer = score
        self.reference: Reference | None = None
        self.guard = Guard.of(recipe, prepared)

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event at the current step and tell listener and tracker: the main rank does, for all."""
        if not self.ranks.main:
            return
        record = self.events.append(event, step=self.state.step, **fields)
        if self.listen is not None:
            self.listen(record)
        if event in ("step", "evaluate"):
            problem = self.tracker.log(event, fields, self.state.step)
            if problem is not None:
                self.emit("note", message=problem)

    def begin(self, checkpoint: Checkpoint | None, notes: Sequence[str] = ()) -> None:
        """Score the reference while the policy is still the starting one, then take up the checkpoint if any."""
        reset_peak_memory()
        policy, train = self.prepared.policy, self.recipe.train
        attach_adapter(self.recipe, policy, self.run.path)
        if checkpoint is not None:
            self._take_up(checkpoint)
        self._open_story()
        for note in notes:
            self.emit("note", message=note)
        choice, chosen = self._choose_scorer(), time.perf_counter()
        try:
            self.reference = make_reference(self.recipe, self.prepared, self.scorer, self._on_progress)
        except _NoLongerWaited:
            raise self._interruption() from None
        if checkpoint is not None:
            load_weights(policy, checkpoint.model, self.recipe.model)
        if train.lean_layers:
            make_lean(policy.model)
        if train.gradient_checkpointing:
            checkpoint_activations(policy.model)
        policy.model.train()
        strategy = self._choose_strategy().name
        sharded = strategy in CUT
        if sharded:  # measured first: a forward or backward of shards is no longer one rank's own
            self.cut = self._choose_cut(choice, None)
        if strategy == "fsdp2":
            shard_models(policy, self.reference, self.ranks)
        self.optimizer = make_optimizer(policy.model, train, zero=ZERO_STAGES.get(strategy))
        if isinstance(self.optimizer, ZeroAdamW):
            self._score_through(self.optimizer)
        reserve(self.optimizer)
        give_back_freed_memory()
        if not sharded:
            self.cut = self._choose_cut(choice, self.optimizer)
        self.cost = flops(policy.model, choice.tokens)
        seed_everything(train.seed)
        if checkpoint is not None and not self.schedule.finished(self.state):
            load_optimizer(self.optimizer, checkpoint.path / OPTIMIZER)
        self.emit("ready", prepare_seconds=time.perf_counter() - chosen)

    def _score_through(self, optimizer: ZeroAdamW) -> None:
        """Run the models whose weights DeepSpeed has cut as it wants them run; a live reference is cut with them."""
        self.scorer = optimizer.through(self.scorer)
        if isinstance(self.reference, AdapterOffReference):
            self.reference.scorer = self.scorer
        if isinstance(self.reference, LiveReference) and optimizer.cuts_weights:
            self.reference.scorer = cut_frozen(self.reference.model)(self.reference.scorer)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint stands, with its best one if that is still whole."""
        self.state = read_state(checkpoint)
        best = self.state.best_step
        if best not in (None, checkpoint.step):
            whole = self.ranks.on_main(whole_checkpoint, self.run.checkpoints, best)
            if whole is None:
                self.state.best_step, self.state.best_loss = None, None  # the next evaluation names a new one
        self.ranks.on_main(set_best, self.run.checkpoints, self.state.best_step)
        self.saved = replace(self.state)

    def _open_story(self) -> None:
        """The first event: `start`, or `resume` where an earlier process got as far as that."""
        if any(event["event"] == "start" for event in read_events(self.run.events_path)):
            state = self.state
            evaluated, looked = state.evaluated_step == state.step, state.guard.looked_step == state.step
            self.emit("resume", evaluated=evaluated, looked=looked, steps=self.schedule.num_steps)
        else:
            self.emit("start", **plan_of(self.recipe, self.prepared, self.schedule.num_steps))

    def _choose_scorer(self) -> Choice:
        policy, groups = self.prepared.policy, self.prepared.train
        choice = run_scorer(self.recipe, self.accelerator, policy.model, groups, gradients=True)
        self.scorer = choice.scorer
        self.emit("scorer", name=choice.name, reason=choice.reason)
        return choice

    def _choose_strategy(self) -> Strategy:
        strategy = choose_strategy(self.recipe, self.prepared.policy, self.ranks)
        if self.ranks.size > 1:
            self.emit("ranks", size=self.ranks.size, strategy=strategy.name, reason=strategy.reason)
        return strategy

    def _choose_cut(self, choice: Choice, optimizer: torch.optim.Optimizer | None) -> Cut:
        train, events = self.recipe.train, self.run.events_path
        return choose_cut(train, self.prepared, optimizer, choice, events, self.emit, self.ranks)

    def run_to_end(self) -> None:
        """Step until the plan is done or validation no longer improves; evaluate and save on the way."""
        while True:
            if self.schedule.evaluation_due(self.state) and not self._evaluate():
                break
            if not self._look_if_due():
                break
            if self.schedule.save_due(self.state):
                self._save()
            if self.schedule.finished(self.state) or self.ranks.any(self.stop.requested):
                break
            self._step()
        if self.schedule.finished(self.state):
            self._finish()
            return
        self._save()
        raise self._interruption()

    def _interruption(self) -> Interrupted:
        self.emit("interrupted")
        return Interrupted(
            f"interrupted at step {self.state.step} of {self.schedule.num_steps}; the state is saved",
            where=str(self.run.path),
            fix=f"go on with `simpo train --resume {self.run.path}`",
        )

    def _step(self) -> None:
        started, step = time.perf_counter(), self.state.step
        groups = [self.prepared.train[index] for index in self.order.batch(step)]
        lr = learning_rate(self.recipe.train, step, self.schedule.num_steps)
        set_learning_rate(self.optimizer, lr)
        seed_step(self.recipe.train.seed, step, self.ranks)
        division = divide(groups, self.ranks, self.cut, self.cost)
        try:
            record = train_step(
                self.optimizer if isinstance(self.optimizer, ZeroAdamW) else self.accelerator,
                self.prepared.policy.model,
                self.optimizer,
                division.batches,
                objective=self.prepared.objective,
                scorer=self.scorer,
                reference=self.reference,
                max_grad_norm=self.recipe.train.max_grad_norm,
                ranks=self.ranks,
            )
        except LostRank:
            raise
        except RunFailed:
            # The weights are as the last good step left them, good or not: nothing older makes way for them.
            with suppress(RunFailed):  # the first failure is the one to tell
                self._save(keep_older=True)
            raise
        record = replace(record, **self._known())
        seconds = time.perf_counter() - started
        self.state.step += 1
        self.state.pairs += record.pairs
        self.state.seconds += seconds
        self.state.guard = self.state.guard.after_step(record)
        epoch = self.schedule.epoch(self.state.step)
        figures = {name: value for name, value in asdict(record).items() if value is not None}
        if self.ranks.size > 1:
            figures["imbalance"] = division.imbalance
        self.emit("step", epoch=epoch, lr=lr, seconds=seconds, **figures)

    def _evaluate(self) -> bool:
        """Evaluate on validation, let the guard look, note the best, save; False when the user asked to stop."""
        state, started = self.state, time.perf_counter()
        figures: dict[str, float | None] | None = None
        try:
            if self.prepared.validation:
                figures = self._validate()
            seconds = time.perf_counter() - started
            look = (
                None if figures is not None and figures["loss"] is None else self._look("evaluation", figures)
            )
        except _NoLongerWaited:
            return False
        epoch = self.schedule.epoch(state.step)
        if figures is not None:
            better = state.note_loss(figures["loss"], fit=look is None or look.fit)
            num_pairs = len(self.prepared.validation)
            self.emit("evaluate", epoch=epoch, num_pairs=num_pairs, seconds=seconds, best=better, **figures)
            if figures["loss"] is None:
                raise Collapsed(
                    f"the validation loss is not finite after step {state.step}; what was saved before is intact",
                    fix="lower train.lr, or set train.precision: float32",
                )
        if look is not None:
            self._tell(look)
        if self.recipe.guard.feedback is not None and state.step > 0 and epoch.is_integer():
            self._tell_feedback(Path(self.recipe.guard.feedback), epoch)
        state.evaluated_step = state.step
        self._save()
        return True

    def _known(self) -> dict[str, Any]:
        """Before the first step the policy is its reference: what parts them is rounding, and every pair is a tie."""
        return {"margin": 0.0, "accuracy": 0.5} if self.reference and not self.state.step else {}

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Let go of what only a step needs: its memory serves what is done in the block, and the other way round."""
        self.optimizer.zero_grad(set_to_none=True)
        give_back_freed_memory()
        yield
        give_back_freed_memory()

    def _validate(self) -> dict[str, float | None]:
        size = self.recipe.evaluate.batch_size
        tell = partial(self._on_progress, "evaluating")
        with self._room():
            return validation_figures(self.prepared, self.scorer, self.reference, size, tell) | self._known()

    def _look_if_due(self) -> bool:
        """Let the guard look between two evaluations, and before a save; False when the user asked to stop."""
        why = None
        if self.guard is not None:
            why = self.guard.due(self.state.guard, self.state.step, saving=self.schedule.save_due(self.state))
        if why is not None:
            try:
                look = self._look(why, None)
            except _NoLongerWaited:
                return False
            if look is not None:
                self._tell(look)
        return True

    def _look(self, why: str, figures: dict[str, float | None] | None) -> Look | None:
        if self.guard is None:
            return None
        state, tell = self.state, partial(self._on_progress, "writing")
        with self._room():
            look, state.guard = self.guard.look(state.guard, state.step, why, figures, tell)
        return look

    def _tell(self, look: Look) -> None:
        """Write down what the guard saw; where that is a collapse, give up with Collapsed before it is saved."""
        state, checkpoints = self.state, self.run.checkpoints
        epoch = self.schedule.epoch(state.step)
        if look.verdict.name != "collapsing":
            self.emit("guard", epoch=epoch, **look.to_json())
            return
        knobs = first_knobs(self.recipe, self.prepared.train, epoch)
        kept = state.best_step if state.best_step is not None else state.guard.good_step
        self.emit("guard", epoch=epoch, kept=kept, advice=list(knobs), **look.to_json())
        if self.recipe.guard.stop_on_collapse:
            self.ranks.on_main(set_aside_after, checkpoints, state.guard.good_step or 0)
            self.ranks.on_main(set_best, checkpoints, kept)
            raise collapsed(
                self.run.path, f"{state.step} of {self.schedule.num_steps}", look.verdict, kept, knobs
            )

    def _tell_feedback(self, path: Path, epoch: float) -> None:
        if not self.ranks.main:
            return
        try:
            self.emit("feedback", epoch=epoch, **feedback_rates(path))
        except DataError as error:  # the file lives on beside the run, which need not die of it
            self.emit("note", message=str(error))

    def _on_progress(self, what: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(what, done, total)
        if self.ranks.any(self.stop.requested):
            raise _NoLongerWaited

    def _save(self, *, keep_older: bool = False) -> None:
        """Save the state, unless it is the start (which the recipe holds) or saved already."""
        started = time.perf_counter()
        policy, state = self.prepared.policy, self.state
        if state.step == 0 or state == self.saved:
            return
        if state.guard.looked_step == state.step and not state.guard.suspected:
            state.guard = replace(state.guard, good_step=state.step)
        # The last checkpoint of a run is for use, not for going on.
        optimizer = None if self.schedule.finished(state) else self.optimizer
        checkpoint, size = save_state(self.run.checkpoints, policy, optimizer, state, self.events, self.ranks)
        self.saved = replace(state)
        if state.best_step == state.step:
            self.ranks.on_main(set_best, self.run.checkpoints, state.step)
        if not keep_older:
            keep, spare = self.recipe.train.keep_checkpoints, state.guard.good_step
            self.ranks.on_main(prune, self.run.checkpoints, keep=keep, spare=spare)
        path = str(checkpoint.path.relative_to(self.run.path))
        self.emit("checkpoint", path=path, bytes=size, seconds=time.perf_counter() - started)

    def _finish(self) -> None:
        """Name the best checkpoint (the newest where there is no validation) and close the run."""
        state, checkpoints = self.state, self.run.checkpoints
        best = state.best_step or (state.guard.good_step if state.guard.suspected else None) or state.step
        self.ranks.on_main(set_best, checkpoints, best)
        self.emit(
            "stop",
            reason=self.schedule.reason(state),
            best_step=best,
            seconds=state.seconds,
            pairs_per_second=state.pairs / state.seconds if state.seconds else 0.0,
            peak_memory_bytes=max(self.ranks.gather(peak_memory_bytes())),
        )
        self.ranks.on_main(self._tidy)

    def _tidy(self) -> None:
        """Done first and tidied after: a run that is killed in between is done, and only larger than it need be."""
        self.run.update_lineage(status="done")
        tidy_finished(self.run.path)


class _NoLongerWaited(Exception):
    """Raised between two batches of a scoring that the user no longer waits for."""
