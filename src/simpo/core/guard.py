"""Whether a policy in training still writes: figures of now and of the start in, a verdict with its reasons out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

VerdictName = Literal["healthy", "drifting", "collapsing"]

NOTABLE, SUSPECT, PLAIN = (
    1,
    2,
    3,
)  # a change to mention; one that looks like a collapse; one that can be nothing else


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is to see of a policy at one step; None where there was nothing to look at.

    Of the replies to the guard's prompts: median_tokens, median_chars; stopped, repetitive: shares of replies that end
    by themselves and that are mostly repeated 4-grams; repeated_4gram: mean share; distinct_2: of all their 2-grams.
    room: the tokens a reply could take. chosen_logps: mean log-probability of chosen completions, nats per token.
    saturated: share of held-out pairs of which the loss has next to no gradient left. loss: on held-out pairs.
    grad_norm: median over the steps since the last look. loss_spikes: steps since then whose loss stood out.
    """

    median_tokens: float | None = None
    median_chars: float | None = None
    stopped: float | None = None
    repetitive: float | None = None
    repeated_4gram: float | None = None
    distinct_2: float | None = None
    room: int | None = None
    chosen_logps: float | None = None
    saturated: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    loss_spikes: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """One figure that has left its place: from `start` to `value`, how bad that is (1 to 3), and a sentence."""

    signal: str
    level: int
    value: float
    start: float
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the figures say. `suspects` are the signals that look like a collapse and wait for a second look."""

    name: VerdictName
    reasons: tuple[Reason, ...]

    @property
    def suspects(self) -> tuple[str, ...]:
        """The signals of level 2 and 3."""
        return tuple(reason.signal for reason in self.reasons if reason.level >= SUSPECT)

    @property
    def words(self) -> str:
        """The reasons in one line, the worst first."""
        return "; ".join(reason.words for reason in self.reasons)


def judge(now: Figures, start: Figures, *, suspected: Collection[str] = ()) -> Verdict:
    """Compare the figures of now with those of the start.

    `collapsing` takes a signal that can be nothing else, two that look like it, or one that did so at the last look
    too (`suspected`): what a single look at a handful of replies shows by chance stops no run. Any signal at all is
    `drifting`.
    """
    found = [reason for signal in _SIGNALS if (reason := signal(now, start)) is not None]
    reasons = tuple(sorted(found, key=lambda reason: -reason.level))
    suspects = [reason.signal for reason in reasons if reason.level >= SUSPECT]
    plain = any(reason.level >= PLAIN for reason in reasons)
    if plain or len(suspects) >= 2 or any(signal in suspected for signal in suspects):
        return Verdict("collapsing", reasons)
    return Verdict("drifting" if reasons else "healthy", reasons)


def _repetition(now: Figures, start: Figures) -> Reason | None:
    """Replies that run in circles."""
    if now.repetitive is None or start.repetitive is None:
        return None
    rise = now.repetitive - start.repetitive
    level = PLAIN if rise >= 0.5 and now.repetitive >= 0.9 else _level(rise, 0.25, 0.5)
    return _reason(
        "repetition",
        level,
        now.repetitive,
        start.repetitive,
        f"{now.repetitive:.0%} of the replies repeat themselves ({start.repetitive:.0%} at the start)",
    )


def _sameness(now: Figures, start: Figures) -> Reason | None:
    """Replies that are all alike, or poor in words, without running in circles each."""
    if now.distinct_2 is None or not start.distinct_2:
        return None
    ratio = now.distinct_2 / start.distinct_2
    return _reason(
        "sameness",
        _level(1 - ratio, 0.5, 0.75),
        now.distinct_2,
        start.distinct_2,
        f"the replies hold {now.distinct_2:.2f} distinct pairs of words of all ({start.distinct_2:.2f} at the start)",
    )


def _stops(now: Figures, start: Figures) -> Reason | None:
    """Replies that no longer end."""
    if now.stopped is None or start.stopped is None:
        return None
    fall = start.stopped - now.stopped
    level = _level(fall, 0.375, 0.625) if now.stopped <= 0.25 else _level(fall, 0.375, 2.0)
    return _reason(
        "stops",
        level,
        now.stopped,
        start.stopped,
        f"{now.stopped:.0%} of the replies end by themselves within {now.room} tokens "
        f"({start.stopped:.0%} at the start)",
    )


def _length(now: Figures, start: Figures) -> Reason | None:
    """Replies that say nothing any more, or that have grown or shrunk beyond what a preference asks for."""
    if now.median_tokens is None or start.median_tokens is None or start.median_tokens < 8:
        return None
    ratio = now.median_tokens / start.median_tokens
    level = (
        PLAIN if now.median_tokens < 1 else _level(1 - ratio, 0.6, 0.85) or _level(ratio, 2.5, float("inf"))
    )
    return _reason(
        "length",
        level,
        now.median_tokens,
        start.median_tokens,
        f"the median reply has {now.median_tokens:g} tokens ({start.median_tokens:g} at the start)",
    )


def _likelihood(now: Figures, start: Figures) -> Reason | None:
    """Chosen completions that the model no longer holds for language."""
    if now.chosen_logps is None or start.chosen_logps is None:
        return None
    fall = start.chosen_logps - now.chosen_logps
    level = PLAIN if fall >= 4.0 else _level(fall, 0.75, 2.0)
    return _reason(
        "likelihood",
        level,
        now.chosen_logps,
        start.chosen_logps,
        f"the chosen completions' mean log-probability is {now.chosen_logps:.2f} nats per token "
        f"({start.chosen_logps:.2f} at the start)",
    )


def _saturation(now: Figures, start: Figures) -> Reason | None:
    """Pairs from which there is nothing left to learn: further steps can only do harm."""
    if now.saturated is None or start.saturated is None:
        return None
    level = NOTABLE if now.saturated >= 0.9 and now.saturated - start.saturated >= 0.25 else 0
    return _reason(
        "saturation",
        level,
        now.saturated,
        start.saturated,
        f"{now.saturated:.0%} of the held-out pairs have no gradient left ({start.saturated:.0%} at the start)",
    )


def _divergence(now: Figures, start: Figures) -> Reason | None:
    """A held-out loss that has gone up: worse than no training, and no collapse by itself."""
    if now.loss is None or start.loss is None:
        return None
    rise = now.loss - start.loss
    level = NOTABLE if rise >= max(0.3, 0.5 * abs(start.loss)) else 0
    return _reason(
        "loss",
        level,
        now.loss,
        start.loss,
        f"the held-out loss is {now.loss:.3g} ({start.loss:.3g} at the start)",
    )


def _gradient(now: Figures, start: Figures) -> Reason | None:
    """Gradients far larger than those of the first steps."""
    if now.grad_norm is None or not start.grad_norm:
        return None
    level = NOTABLE if now.grad_norm >= 10 * start.grad_norm else 0
    return _reason(
        "gradient",
        level,
        now.grad_norm,
        start.grad_norm,
        f"the median gradient norm is {now.grad_norm:.3g} ({start.grad_norm:.3g} in the first steps)",
    )


def _spikes(now: Figures, start: Figures) -> Reason | None:
    """Single steps whose loss stood out."""
    level = NOTABLE if now.loss_spikes else 0
    return _reason(
        "spikes",
        level,
        now.loss_spikes,
        0,
        f"{now.loss_spikes} steps since the last look had a loss that stood out",
    )


_SIGNALS = (
    _repetition,
    _sameness,
    _stops,
    _length,
    _likelihood,
    _saturation,
    _divergence,
    _gradient,
    _spikes,
)


def _level(change: float, notable: float, suspect: float) -> int:
    return SUSPECT if change >= suspect else NOTABLE if change >= notable else 0


def _reason(signal: str, level: int, value: float, start: float, words: str) -> Reason | None:
    return Reason(signal, level, value, start, words) if level else None


def stands_out(loss: float, before: Sequence[float]) -> bool:
    """Whether a step's loss is a spike against the steps before it: three times their median, and 0.5 above it."""
    if len(before) < 4:
        return False
    middle = sorted(before)[len(before) // 2]
    return loss > middle + 2 * abs(middle) + 0.5
