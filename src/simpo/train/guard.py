"""The guard of a preference run: now and then it lets the policy write, and says when it no longer can."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import torch

from simpo.core.guard import Figures, Verdict, judge, stands_out
from simpo.core.methods import METHODS
from simpo.evaluate.evaluate import choose_prompts
from simpo.evaluate.generation import Reply, generate_from_ids, summarise_replies
from simpo.recipe import Recipe
from simpo.records import TokenGroup
from simpo.train.prepare import Prepared
from simpo.train.step import StepRecord

ROOMIER = 4  # times the room, for replies of which fewer end than did at the start
CONFIRM_AFTER = 2  # steps from a suspicion to the second look
ALARMING_FALL = 1.0  # nats per token that the batches' chosen completions lose
ALARMING_NORM = 10.0  # times the gradient norm of the first steps
FIRST_STEPS = 8
RECENT_STEPS = 16
NUM_SAMPLES, SAMPLE_CHARS = 2, 400


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers between two steps; it travels in the checkpoint.

    start: figures of the untrained policy. looked_step: of the last look. good_step: of the newest checkpoint that was
    looked at and found to write. suspected: signals that looked like a collapse at the last look; confirm_step: when to
    look again for that. alarm_from: no unscheduled look before this step. first_*, recent_*: of the steps' batches.
    """

    start: Mapping[str, Any] | None = None
    looked_step: int = -1
    good_step: int | None = None
    suspected: tuple[str, ...] = ()
    confirm_step: int | None = None
    alarm_from: int = 0
    first_chosen: tuple[float, ...] = ()
    first_norms: tuple[float, ...] = ()
    recent_chosen: tuple[float, ...] = ()
    recent_losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()
    spikes: int = 0

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> GuardState:
        """From a checkpoint's JSON; TypeError for fields that are not these."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
        }
        return cls(**fields)

    def after_step(self, step: StepRecord) -> GuardState:
        """With one more step's batch in it."""
        chosen = 0.0 if step.chosen_logps is None else step.chosen_logps
        first = len(self.first_norms) < FIRST_STEPS
        return replace(
            self,
            first_chosen=(*self.first_chosen, chosen) if first else self.first_chosen,
            first_norms=(*self.first_norms, step.grad_norm) if first else self.first_norms,
            recent_chosen=(*self.recent_chosen, chosen)[-4:],
            recent_losses=(*self.recent_losses, step.loss)[-RECENT_STEPS:],
            norms=(*self.norms, step.grad_norm)[-RECENT_STEPS:],
            spikes=self.spikes + stands_out(step.loss, self.recent_losses),
        )

    @property
    def chosen_fall(self) -> float:
        """Nats per token that chosen completions of the latest batches have lost since the first steps."""
        if not self.first_chosen:
            return 0.0
        return self.first_chosen[0] - sum(self.recent_chosen) / len(self.recent_chosen)

    def alarmed(self, step: int) -> bool:
        """Whether the batches alone give cause to look; after a false alarm the next one waits half as long again."""
        if not self.norms or step < self.alarm_from:
            return False
        norm = self.norms[-1] > ALARMING_NORM * median(self.first_norms)
        return self.chosen_fall > ALARMING_FALL or norm or self.spikes > 0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the policy: the verdict, what it rests on, and whether what is there may be kept as a result."""

    verdict: Verdict
    why: str
    figures: Figures
    start: Figures
    num_prompts: int
    seconds: float
    samples: tuple[str, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing looks like a collapse: only such a policy can be the best checkpoint."""
        return not self.verdict.suspects

    def to_json(self) -> dict[str, Any]:
        """The fields of a `guard` event."""
        return {
            "verdict": self.verdict.name,
            "reasons": [asdict(reason) for reason in self.verdict.reasons],
            "why": self.why,
            "figures": asdict(self.figures),
            "start": asdict(self.start),
            "num_prompts": self.num_prompts,
            "samples": list(self.samples),
            "seconds": self.seconds,
        }


class Guard:
    """Looks at one run's policy; what it remembers is a `GuardState` that the caller keeps."""

    def __init__(self, recipe: Recipe, prepared: Prepared) -> None:
        self.settings, self.policy = recipe.guard, prepared.policy
        self.batch_size = max(recipe.evaluate.batch_size, 1)
        self.prompts = _prompts(prepared.validation or prepared.train, recipe, self._positions())

    @classmethod
    def of(cls, recipe: Recipe, prepared: Prepared) -> Guard | None:
        """The guard that a recipe asks for; None for SFT, for `guard.prompts: 0` and where no prompt leaves room."""
        if not METHODS[recipe.method.name].pairwise or recipe.guard.prompts == 0:
            return None
        guard = cls(recipe, prepared)
        return guard if guard.prompts else None

    def due(self, state: GuardState, step: int, *, saving: bool) -> str | None:
        """Why to look now, between two evaluations: `schedule`, `save`, `confirm`, `alarm`, or None."""
        if step == 0 or state.looked_step >= step:
            return None
        if state.confirm_step is not None and step >= state.confirm_step:
            return "confirm"
        if self.settings.every is not None and step % self.settings.every == 0:
            return "schedule"
        if saving:
            return "save"
        return "alarm" if state.alarmed(step) else None

    def look(
        self,
        state: GuardState,
        step: int,
        why: str,
        held_out: Mapping[str, float | None] | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Look, GuardState]:
        """Write replies and judge; returns the look and what to remember. No random number is drawn.

        held_out: the figures on validation pairs where they were just measured; else the batches' stand in.
        """
        started = time.perf_counter()
        begun = None if state.start is None else Figures(**state.start)
        replies, room = self._replies(begun, progress)
        start = None if begun is None else _comparable(begun, state)
        figures = _figures(replies, room, state, start, held_out)
        start = start or figures
        verdict = judge(figures, start, suspected=state.suspected)
        samples = (
            ()
            if verdict.name == "healthy"
            else tuple(reply.text[:SAMPLE_CHARS] for reply in replies[:NUM_SAMPLES])
        )
        look = Look(
            verdict,
            "start" if begun is None else why,
            figures,
            start,
            len(self.prompts),
            time.perf_counter() - started,
            samples,
        )
        after = replace(
            state,
            start=asdict(figures) if begun is None else state.start,
            looked_step=step,
            suspected=verdict.suspects,
            confirm_step=step + CONFIRM_AFTER if verdict.suspects else None,
            alarm_from=step + max(4, step // 2) if why == "alarm" else state.alarm_from,
            norms=(),
            spikes=0,
        )
        return look, after

    def _replies(
        self, start: Figures | None, progress: Callable[[int, int], None] | None
    ) -> tuple[list[Reply], int]:
        """Greedy replies; with more room where fewer end than at the start, since longer replies are no collapse."""
        room = self.settings.max_new_tokens
        replies = self._write(room, progress)
        if start is not None and start.stopped is not None:
            stopped = sum(reply.stopped for reply in replies) / len(replies)
            roomier = min(ROOMIER * room, self._positions() - max(map(len, self.prompts)))
            if start.stopped - stopped >= 0.375 and roomier > room:
                return self._write(roomier, progress), roomier
        return replies, room

    def _write(self, room: int, progress: Callable[[int, int], None] | None) -> list[Reply]:
        # Greedy decoding draws nothing; forked all the same, so that no change in a library moves a run's dropout.
        devices = [self.policy.device] if self.policy.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return generate_from_ids(
                self.policy,
                self.prompts,
                max_new_tokens=room,
                batch_size=self.batch_size,
                progress=progress,
            )

    def _positions(self) -> int:
        positions = getattr(self.policy.model.config.get_text_config(), "max_position_embeddings", None)
        return 2**31 if positions is None else int(positions)


def _prompts(groups: Sequence[TokenGroup], recipe: Recipe, positions: int) -> list[Any]:
    """A handful of prompts that leave room for a reply, chosen by their content alone."""
    roomy = [group for group in groups if len(group.prompt) + recipe.guard.max_new_tokens <= positions]
    return [group.prompt for group in choose_prompts(roomy, recipe.guard.prompts, seed=recipe.evaluate.seed)]


def _figures(
    replies: Sequence[Reply],
    room: int,
    state: GuardState,
    start: Figures | None,
    held_out: Mapping[str, float | None] | None,
) -> Figures:
    written = summarise_replies(replies)
    chosen = None if held_out is None else held_out.get("chosen_logps")
    if held_out is None and start is not None and start.chosen_logps is not None:
        chosen = start.chosen_logps - state.chosen_fall
    return Figures(
        median_tokens=written.tokens.median,
        median_chars=written.chars.median,
        stopped=written.stopped,
        repetitive=written.repetitive,
        repeated_4gram=written.repeated_4gram,
        distinct_2=written.distinct_2,
        room=room,
        chosen_logps=chosen,
        saturated=None if held_out is None else held_out.get("saturated"),
        loss=None if held_out is None else held_out.get("loss"),
        grad_norm=median(state.norms) if state.norms else None,
        loss_spikes=state.spikes,
    )


def _comparable(start: Figures, state: GuardState) -> Figures:
    """The start's figures, with what only the first steps' batches tell in the places that it left open."""
    chosen = start.chosen_logps
    if chosen is None and state.first_chosen:
        chosen = state.first_chosen[0]
    return replace(
        start, chosen_logps=chosen, grad_norm=median(state.first_norms) if state.first_norms else None
    )
