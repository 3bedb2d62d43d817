"""The "alignment tax": what a model could do on a named set of questions before, and what it can do after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from simpo.core.intervals import Interval, paired_difference, share_interval
from simpo.data.render import Renderer
from simpo.errors import DataError
from simpo.evaluate.answers import exact_match, refuses
from simpo.evaluate.generation import Progress, check_room, generate_from_ids
from simpo.evaluate.instructions import follows
from simpo.evaluate.regression_sets import Question, RegressionSet
from simpo.model.load import Policy
from simpo.model.score import Scorer, score, score_all
from simpo.recipe import EvaluateRecipe
from simpo.records import Example, TokenGroup

Extras = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one question: value 1 (right) or 0, None where nothing of it could be checked; further figures.

    extras: named shares that are averaged over the questions that have them. not_checked: instructions nobody here
    knows how to verify, or a question whose options do not fit. reply: as written, or the option chosen.
    """

    question: Question
    value: float | None
    extras: Extras = field(default_factory=lambda: MappingProxyType({}))
    not_checked: int = 0
    reply: str = ""

    def to_json(self, name: str) -> dict[str, Any]:
        """One line of `<label>.regression.jsonl`."""
        return {
            "set": name,
            "id": self.question.id,
            "source": str(self.question.source),
            "category": self.question.category,
            "value": self.value,
            **{key: number for key, number in self.extras.items()},
            "not_checked": self.not_checked,
            "reply": self.reply,
        }


@dataclass(frozen=True, slots=True)
class RegressionFigures:
    """A model's figures on one set, over the questions of which anything could be checked."""

    set: RegressionSet
    answers: tuple[Answer, ...]
    value: Interval
    more: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As the `regression` section of an evaluation holds it, by the set's name."""
        counted = [answer for answer in self.answers if answer.value is not None]
        return {
            "kind": self.set.kind.name,
            "metric": self.set.kind.metric,
            "file": self.set.file,
            "hash": self.set.hash,
            "num_items": len(counted),
            "not_checked": sum(answer.not_checked for answer in self.answers),
            "value": self.value.to_json(),
            "more": dict(self.more),
        }


def measure_regressions(
    policy: Policy,
    sets: Sequence[RegressionSet],
    renderer: Renderer,
    settings: EvaluateRecipe,
    *,
    scorer: Scorer = score,
    progress: Progress | None = None,
) -> list[RegressionFigures]:
    """Ask a model every question of every set; greedy replies of `settings.max_new_tokens`, or options scored.

    Raises DataError where no question of a set can be rendered or checked, RecipeError where replies have no room.
    """
    found: list[RegressionFigures] = []
    done, total = 0, sum(len(each.questions) for each in sets)
    for each in sets:
        report = None if progress is None else _shifted(progress, done, total)
        answers = (
            _write(policy, each, renderer, settings, report)
            if each.kind.judged
            else _choose(policy, each, renderer, settings, scorer, report)
        )
        found.append(summarise_answers(each, answers, seed=settings.seed))
        done += len(each.questions)
    return found


def summarise_answers(asked: RegressionSet, answers: Sequence[Answer], *, seed: int = 0) -> RegressionFigures:
    """Shares over the answers, with an interval by question. Raises DataError where none was checked."""
    counted = [answer for answer in answers if answer.value is not None]
    if not counted:
        raise DataError("no question of this set can be checked", where=asked.file)
    prompts = [answer.question.prompt[0].content for answer in counted]
    value = share_interval([float(answer.value or 0.0) for answer in counted], prompts, seed=seed)
    names = dict.fromkeys(name for answer in answers for name in answer.extras)
    more = {
        name: float(np.mean([answer.extras[name] for answer in answers if name in answer.extras]))
        for name in names
    }
    return RegressionFigures(asked, tuple(answers), value, more)


def regression_change(
    after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], seed: int = 0
) -> Interval:
    """Mean change over the questions of one set that both could be checked on, question by question.

    after, before: lines of `<label>.regression.jsonl`, matched by their place in the file.
    """
    earlier = {str(line["source"]): line["value"] for line in before}
    both = [
        line for line in after if line["value"] is not None and earlier.get(str(line["source"])) is not None
    ]
    return paired_difference(
        [float(line["value"]) for line in both],
        [float(earlier[str(line["source"])]) for line in both],
        [str(line["source"]) for line in both],
        seed=seed,
        bounds=(0.0, 1.0),
    )


def _write(
    policy: Policy,
    asked: RegressionSet,
    renderer: Renderer,
    settings: EvaluateRecipe,
    progress: Progress | None,
) -> list[Answer]:
    prompts = [renderer.prompt_ids(question.prompt) for question in asked.questions]
    check_room(policy, prompts, settings.max_new_tokens)
    replies = generate_from_ids(
        policy,
        prompts,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=progress,
    )
    judge = _JUDGES[asked.kind.name]
    return [judge(question, reply.text) for question, reply in zip(asked.questions, replies, strict=True)]


def _instructions(question: Question, reply: str) -> Answer:
    checks = [follows(kind, reply, given) for kind, given in question.expected["instructions"]]
    known = [float(check) for check in checks if check is not None]
    if not known:
        return Answer(question, None, not_checked=len(checks), reply=reply)
    share = {"instructions followed": sum(known) / len(known)}
    return Answer(question, float(all(known)), share, len(checks) - len(known), reply)


def _refusal(question: Question, reply: str) -> Answer:
    refused, wanted = refuses(reply), bool(question.expected["refuse"])
    kind = "harmful requests refused" if wanted else "harmless requests refused"
    return Answer(question, float(refused == wanted), {kind: float(refused)}, reply=reply)


def _exact(question: Question, reply: str) -> Answer:
    return Answer(question, float(exact_match(reply, str(question.expected["answer"]))), reply=reply)


_JUDGES: Mapping[str, Callable[[Question, str], Answer]] = MappingProxyType(
    {"instructions": _instructions, "refusal": _refusal, "exact_match": _exact}
)


def _choose(
    policy: Policy,
    asked: RegressionSet,
    renderer: Renderer,
    settings: EvaluateRecipe,
    scorer: Scorer,
    progress: Progress | None,
) -> list[Answer]:
    """The option with the highest log-probability per byte (as lm-evaluation-harness' acc_norm), and without length."""
    groups = [_options_group(question, renderer) for question in asked.questions]
    kept = [group for group in groups if group is not None]
    if not kept:
        raise DataError("no question of this set fits data.max_length", where=asked.file)
    logps = score_all(
        policy.model,
        kept,
        batch_size=settings.batch_size,
        scorer=scorer,
        progress=progress,
    )
    totals, answers, start = logps.total.double().numpy(), [], 0
    for question, group in zip(asked.questions, groups, strict=True):
        if group is None:
            answers.append(Answer(question, None, not_checked=1))
            continue
        own = totals[start : start + len(group.completions)]
        start += len(group.completions)
        answers.append(_chosen(question, own))
    return answers


def _chosen(question: Question, totals: Any) -> Answer:
    lengths = [len(option.encode("utf-8")) for option in question.options]
    best, raw = int(np.argmax(totals / lengths)), int(np.argmax(totals))
    right = int(question.expected["answer"])
    extras = {"by total log-probability": float(raw == right)}
    return Answer(question, float(best == right), extras, reply=question.options[best])


def _options_group(question: Question, renderer: Renderer) -> TokenGroup | None:
    """One prompt and all options behind it; None where the template or max_length leaves one out."""
    rows = [Example(question.prompt, option, question.source) for option in question.options]
    rendered = renderer.render_rows(rows).groups
    if len(rendered) < len(rows):
        return None
    return TokenGroup(rendered[0].prompt, tuple(group.completions[0] for group in rendered), rows[0])


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
