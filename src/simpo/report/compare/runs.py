"""What a comparison was made of: its runs, their settings, the replies themselves, the data and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from simpo.report.compare.source import BASE, CompareFile
from simpo.report.compare.views import series_of
from simpo.report.words import NOTHING, duration, general, number, percent, whole

CHARS_SHOWN = 2000
MAX_SAMPLES = 6

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SampleView:
    """Every model's reply to one prompt."""

    heading: str
    category: str
    prompt: tuple[tuple[str, str], ...]
    replies: tuple[tuple[str, str, str, str], ...]  # series, model, facts, text
    chosen: str


def run_rows(comparison: CompareFile) -> list[tuple[str, tuple[str, ...]]]:
    """(method and seed, status and figures) of every run."""
    return [
        (
            f"{comparison.labels[method.id]}{f', seed {run.seed}' if run.seed is not None else ''}",
            (
                run.status + (f": {run.error}" if run.error else ""),
                whole(run.best_step if run.best_step is not None else run.steps),
                whole(run.pairs),
                percent(run.accuracy.value) if run.accuracy else NOTHING,
                percent(run.common.value) if run.common else NOTHING,
                whole(run.median_chars),
                percent(run.stopped, 0),
            ),
        )
        for method in comparison.methods
        for run in method.runs
    ]


def setting_rows(comparison: CompareFile) -> tuple[list[str], list[tuple[str, tuple[str, ...]]]]:
    """The keys in which the methods differ, with each one's value."""
    keys = list(dict.fromkeys(key for method in comparison.methods for key in method.settings))
    rows = [(key, tuple(_setting(method.settings.get(key)) for method in comparison.methods)) for key in keys]
    return [comparison.labels[method.id] for method in comparison.methods], rows


def _setting(value: object) -> str:
    if value is None:
        return NOTHING
    return general(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def samples(comparison: CompareFile) -> list[SampleView]:
    """Replies of all models to the first prompts, as they come."""
    generation = comparison.generation
    colours, names = series_of(comparison), comparison.labels
    views = []
    for sample in generation.samples[:MAX_SAMPLES] if generation else ():
        replies = []
        for model in [BASE, *(method.id for method in comparison.methods)]:
            reply = sample.replies.get(model)
            if reply is None:
                continue
            facts = [f"{whole(reply.chars if reply.chars is not None else len(reply.text))} characters"]
            facts += ["did not stop"] if reply.stopped is False else []
            facts += [f"score {number(reply.score)}"] if reply.score is not None else []
            facts += ["escalates"] if reply.escalates else []
            replies.append((colours[model], names[model], " · ".join(facts), reply.text[:CHARS_SHOWN]))
        heading = " ".join(sample.prompt[-1].content.split())[:160] if sample.prompt else ""
        prompt = tuple((turn.role, turn.content[:CHARS_SHOWN]) for turn in sample.prompt)
        views.append(
            SampleView(
                heading, sample.category or "", prompt, tuple(replies), (sample.chosen or "")[:CHARS_SHOWN]
            )
        )
    return views


def data_facts(comparison: CompareFile) -> Facts:
    """What was compared, on what, on which machine."""
    data, machine = comparison.data, comparison.machine
    seen = data.seen_in_training
    equal = {"pairs": "as many pairs for each", "tokens": "as many tokens for each"}.get(
        comparison.equal, comparison.equal
    )
    facts: Facts = [
        ("starting model", comparison.base.name),
        ("its hash", comparison.base.hash or ""),
        ("held-out pairs", f"{whole(data.num_pairs)} of {whole(data.num_prompts)} prompts, {data.name}"),
        ("their content hash", data.hash),
        ("chosen longer", percent(data.chosen_longer)),
        ("held-out prompts seen in training", whole(seen)),
        ("left out", ", ".join(f"{whole(number_of)} {reason}" for reason, number_of in data.dropped.items())),
        ("made equal", equal),
        ("seeds", ", ".join(str(seed) for seed in comparison.seeds)),
        ("judge", _judge(comparison)),
        ("machine", ", ".join(str(machine[key]) for key in ("gpu", "cpu", "platform") if machine.get(key))),
        ("took", duration(comparison.seconds)),
        ("written", comparison.created),
    ]
    return [(name, value) for name, value in facts if value and value != NOTHING]


def _judge(comparison: CompareFile) -> str:
    judge = comparison.generation.judge if comparison.generation else None
    if judge is None:
        return ""
    return f"{judge.name}{', asked in both orders' if judge.both_orders else ''}"
