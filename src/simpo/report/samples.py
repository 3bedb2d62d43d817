"""Replies of both models to the same prompts, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from simpo.report.source import RunSource, Sample
from simpo.report.words import clip

FIRST_SAMPLES = 6
WORST_SAMPLES = 2
MAX_REPLY_CHARS = 6000


@dataclass(frozen=True, slots=True)
class SampleView:
    """The replies of both models to one prompt."""

    number: int
    heading: str
    sample: Sample
    before: Sample | None
    after: Sample | None
    why: str


def samples(source: RunSource) -> list[SampleView]:
    """The first replies as they come, then those whose rubric score fell most: nothing is picked to please."""
    before, after = _replies(source, "before"), _replies(source, "after")
    keys = list(dict.fromkeys([*after, *before]))
    chosen = [(key, "") for key in keys[:FIRST_SAMPLES]]
    falls = sorted(
        (fall, key)
        for key in keys[FIRST_SAMPLES:]
        if (fall := _score_change(before.get(key), after.get(key))) < 0
    )
    chosen += [(key, "one of the largest falls in rubric score") for _, key in falls[:WORST_SAMPLES]]
    if len(chosen) < FIRST_SAMPLES + WORST_SAMPLES:
        used = {key for key, _ in chosen}
        spare = [key for key in keys if key not in used]
        chosen += [(key, "") for key in spare[: FIRST_SAMPLES + WORST_SAMPLES - len(chosen)]]
    views = []
    for place, (key, why) in enumerate(chosen, start=1):
        either = after.get(key) or before[key]
        heading = " ".join(either.prompt[-1].content.split()) if either.prompt else ""
        views.append(SampleView(place, heading[:160], either, before.get(key), after.get(key), why))
    return views


def _replies(source: RunSource, label: str) -> dict[tuple[tuple[str, str], ...], Sample]:
    """Replies by prompt; the reply file goes before the samples in the evaluation, which are some of the same."""
    evaluation = source.evaluations.get(label)
    embedded = evaluation.generation.samples if evaluation and evaluation.generation else ()
    return {sample.key: sample for sample in [*embedded, *source.replies.get(label, ())]}


def _score_change(before: Sample | None, after: Sample | None) -> float:
    if before is None or after is None or before.score is None or after.score is None:
        return 0.0
    return after.score - before.score


def clip_reply(text: str) -> str:
    """A text of an evaluation, cut where it would swell the page."""
    return clip(text, MAX_REPLY_CHARS, "the evaluation folder")
