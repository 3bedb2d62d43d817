"""The top of the report: what was trained from what, how it ended, what changed, in plain sentences and tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simpo.core.methods import METHODS
from simpo.report.comparison import MOVED, accuracy_change, reference_at_start, same_data
from simpo.report.source import Evaluation, RunSource
from simpo.report.summary import SummaryRow, summary_rows
from simpo.report.words import count, last_name, number, percent, percent_range, points, signed, whole

# Events after which a run stands otherwise than before.
_TURNS = {"stop": "done", "failed": "failed", "interrupted": "interrupted", "resume": "running"}


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page opens with; `state` is empty for a run that ended, `table` and `parts` are the summary's rows."""

    title: str
    subtitle: str
    state: str
    verdict: tuple[str, ...]
    cautions: tuple[str, ...]
    tiles: tuple[SummaryRow, ...]
    table: tuple[SummaryRow, ...]
    parts: tuple[SummaryRow, ...]


def headline(source: RunSource) -> Headline:
    """The opening of the report of one run."""
    rows = summary_rows(source)
    recipe = source.recipe.recipe
    method = METHODS[recipe.method.name]
    words = "fine-tuned (SFT)" if not method.pairwise else f"aligned with {method.title}"
    state = _state(source)
    return Headline(
        title=f"{last_name(recipe.model.name)}, {f'{method.title}, not finished' if state else words}",
        subtitle=_subtitle(source),
        state=state,
        verdict=tuple(_verdict(source)),
        cautions=tuple(_cautions(source)),
        tiles=tuple(row for row in rows if row.key),
        table=tuple(row for row in rows if not row.part),
        parts=tuple(row for row in rows if row.part),
    )


def _last_step(source: RunSource) -> int:
    return max((int(event["step"]) for event in source.all("step")), default=0)


def _subtitle(source: RunSource) -> str:
    start = source.last("start") or {}
    rows = start.get("plan", {}).get("num_rows")
    data = source.run.get("data", {}).get("train", {}).get("name") or source.recipe.recipe.data.train
    name = ", ".join(last_name(part) for part in ([data] if isinstance(data, str) else data))
    trained = f"Trained on {whole(rows)} {source.row_word} of {name}" if rows else f"To be trained on {name}"
    preference = source.after.preference if source.after else None
    held_out = ""
    if preference:
        pairs, prompts = count(preference.num_pairs, "held-out pair"), count(preference.num_prompts, "prompt")
        held_out = f", measured on {pairs} over {prompts}"
    return f"{trained} for {count(_last_step(source), 'step')}{held_out}.{_kept(source)}"


def _kept(source: RunSource) -> str:
    """Which step's model a finished run kept, where that is not simply the last one planned."""
    stop = source.last("stop") or {}
    words = (
        " Training stopped early: the validation loss no longer fell."
        if stop.get("reason") == "early_stop"
        else ""
    )
    best = stop.get("best_step")
    if best is not None and best != _last_step(source):
        words += f" The model kept is that of step {whole(best)}, where the validation loss was lowest."
    return words


def _state(source: RunSource) -> str:
    """How a run that did not end as planned stands, as one sentence; empty for one that ended."""
    planned = (source.last("start") or {}).get("plan", {}).get("steps")
    steps = f"step {whole(_last_step(source))}" + (f" of {whole(planned)}" if planned else "")
    last = next((event for event in reversed(source.events) if event["event"] in _TURNS), None)
    kind = _TURNS[last["event"]] if last else source.run.get("status", "running")
    if kind == "done":
        return ""
    if kind == "failed":
        return f"This run failed at {steps}: {(last or {}).get('message') or 'no message was left'}"
    if kind == "interrupted":
        return f"This run was interrupted at {steps}. Figures and curves go as far as it went."
    return f"This run has not ended: it stands at {steps}. Figures and curves go as far as it went."


def _verdict(source: RunSource) -> Iterator[str]:
    before, after = source.before, source.after
    if after is None:
        yield from _without_evaluation(source)
        return
    yield from _accuracy_sentence(source)
    if before and before.generation and after.generation:
        yield _length_sentence(before, after)
    yield from _judge_sentence(after)


def _without_evaluation(source: RunSource) -> Iterator[str]:
    for row in summary_rows(source):
        if row.label == "Validation loss" and row.before != row.after:
            yield f"The loss on the validation rows went from {row.before} to {row.after} ({row.note})."
        elif row.label == "Validation loss":
            yield f"The loss on the validation rows is {row.after} ({row.note})."
    if METHODS[source.recipe.recipe.method.name].pairwise:
        yield "The trained model has not been evaluated: nothing here says whether it is better than what it began as."


def _accuracy_sentence(source: RunSource) -> Iterator[str]:
    before, after = source.before, source.after
    if after is None or after.preference is None:
        return
    title = METHODS[source.recipe.recipe.method.name].title
    new, pairs = after.preference.accuracy.reward, whole(after.preference.num_pairs)
    if before is None or before.preference is None:
        interval = percent_range(new.low, new.high)
        yield (
            f"Held-out pairwise accuracy is {percent(new.value)}{f' ({interval})' if interval else ''} on {pairs} "
            "pairs. There is no evaluation from before training to compare it with."
        )
        return
    if reference_at_start(source):
        interval = percent_range(new.low, new.high)
        yield (
            f"Held-out pairwise accuracy under the reward of {title} is {percent(new.value)}"
            f"{f' ({interval})' if interval else ''} on {pairs} pairs; the model it began as has 50 % by construction."
        )
        return
    old, change = before.preference.accuracy.reward, accuracy_change(source)
    ends = f"from {percent(old.value)} to {percent(new.value)}"
    if change is None:
        yield f"Held-out pairwise accuracy went {ends} on {pairs} pairs, without intervals to judge it by."
        return
    interval = f"{points(change.value)} points, 95 % interval {points(change.low)} to {points(change.high)}"
    if change.clear:
        verb = "raised" if change.value > 0 else "lowered"
        yield f"{title} {verb} held-out pairwise accuracy {ends} ({interval})."
    else:
        yield (
            f"Held-out pairwise accuracy went {ends}, which is not distinguishable from no change with {pairs} pairs "
            f"({interval})."
        )


def _length_sentence(before: Evaluation, after: Evaluation) -> str:
    assert before.generation and after.generation
    old, new = before.generation, after.generation
    text = f"The median reply went from {whole(old.chars.median)} to {whole(new.chars.median)} characters"
    if old.chars.median > 0:
        text += f" ({signed(100 * (new.chars.median / old.chars.median - 1), 0)} %)"
    return f"{text}; {percent(new.stopped)} of the replies stop by themselves, {percent(old.stopped)} did before."


def _judge_sentence(after: Evaluation) -> Iterator[str]:
    win_rate = after.win_rate
    if win_rate is None:
        return
    interval = percent_range(win_rate.low, win_rate.high)
    other = "those from before training" if win_rate.against == "before" else f"those of {win_rate.against}"
    shown = f"win rate {percent(win_rate.value)}{f' ({interval})' if interval else ''} against {other}"
    if win_rate.low is not None and win_rate.low > 0.5:
        yield f"The rubric prefers the new replies: {shown}."
    elif win_rate.high is not None and win_rate.high < 0.5:
        yield f"The rubric does not prefer the new replies but the old: {shown}."
    else:
        prompts = count(win_rate.wins + win_rate.ties + win_rate.losses, "prompt")
        yield f"The rubric does not tell the new replies from the old with {prompts}: {shown}."


def _cautions(source: RunSource) -> Iterator[str]:
    before, after = source.before, source.after
    if not same_data(source):
        yield "Before and after were measured on different data: their figures are not comparable."
    if before and after and before.preference and reference_at_start(source):
        yield (
            "The reward of this method is measured against the model that training starts from, so its accuracy before "
            "training says nothing. Accuracy under mean and total log-probability, below, can be compared."
        )
    if before and after and before.generation and after.generation:
        old, new = before.generation, after.generation
        if old.stopped - new.stopped > MOVED:
            yield f"Fewer replies stop by themselves: {percent(new.stopped)}, before {percent(old.stopped)}."
        if (new.repeated_4gram or 0) - (old.repeated_4gram or 0) > MOVED:
            yield (
                f"Replies repeat themselves more: {percent(new.repeated_4gram)} of 4-grams, before "
                f"{percent(old.repeated_4gram)}."
            )
    yield from _worse_strata(source)
    yield from _watched(source)
    for warning in (source.last("start") or {}).get("warnings", []):
        yield f"Warned at the start: {warning}"
    for note in source.all("note"):
        yield f"Noted on the way: {note.get('message', '')}"


def _watched(source: RunSource) -> Iterator[str]:
    """What the guard last said of a run that was not healthy at its last look."""
    last = source.last("guard")
    if last is None or last.get("verdict") == "healthy":
        return
    reasons = "; ".join(str(reason.get("words", "")) for reason in last.get("reasons", []))
    yield f"The guard's last look, at step {whole(last['step'])}, found the run {last.get('verdict')}: {reasons}."


def _worse_strata(source: RunSource) -> Iterator[str]:
    """Parts of the pairs that got clearly worse, their two intervals apart."""
    before, after = source.before, source.after
    if not (before and after and before.preference and after.preference):
        return
    olds = {(part.by, part.name): part.accuracy for part in before.preference.strata}
    for part in after.preference.strata:
        old = olds.get((part.by, part.name))
        if old is None or old.low is None or part.accuracy.high is None or part.accuracy.high >= old.low:
            continue
        yield (
            f"Accuracy fell on “{part.name}”: {percent(part.accuracy.value)}, before {percent(old.value)} "
            f"({number(part.num_pairs, 0)} pairs)."
        )
