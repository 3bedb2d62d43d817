"""One model measured on held-out pairs: accuracy, what it writes, what a judge says, and against whom it wins."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from simpo.core.objective import Objective
from simpo.data.render import Rendered, Renderer, render_rows
from simpo.errors import DataError, RecipeError
from simpo.evaluate.files import SCHEMA, Evaluation, check_label
from simpo.evaluate.generation import Progress, Reply, check_room, generate_from_ids, summarise_replies
from simpo.evaluate.judge import Judge, Verdict, load_judge, summarise_verdicts, win_rate
from simpo.evaluate.pair_judge import compares_replies
from simpo.evaluate.preference import PreferenceFigures, evaluate_preferences
from simpo.evaluate.regression import RegressionFigures, measure_regressions, regression_change
from simpo.evaluate.regression_sets import read_sets
from simpo.model.load import Policy
from simpo.model.reference import Reference
from simpo.model.score import Scorer, model_batches, score, score_all, score_in_batches
from simpo.recipe import EvaluateRecipe, MethodRecipe
from simpo.records import Dataset, Pair, Row, TokenGroup
from simpo.runs.machine import peak_memory_bytes, reset_peak_memory
from simpo.runs.ranks import current

NUM_SAMPLES = 20  # replies shown in the JSON itself; all of them are in <label>.replies.jsonl


def evaluate_model(
    policy: Policy,
    dataset: Dataset,
    renderer: Renderer,
    *,
    objective: Objective,
    label: str,
    settings: EvaluateRecipe,
    reference: Reference | None = None,
    judge: Judge | None = None,
    against: Evaluation | None = None,
    scorer: Scorer = score,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a policy on a data set of pairs.

    objective, reference: the method whose reward decides the accuracy, and its reference exactly where it takes one.
    judge: given, or loaded from `settings.judge`; it scores the replies. against: an earlier evaluation, to compute
    a win rate over (which needs a judge and replies to the same prompts) and the change on each regression set both
    were asked. progress: called with the pairs, prompts and regression questions done, and all of them.
    `settings.batch_size` bounds the pairs scored together, and so does `model_batches`.

    Everything that can be refused is refused before the model runs. Raises RecipeError for settings that contradict
    each other, DataError for data without pairs, RunFailed for non-finite log-probabilities or a failing judge.
    """
    started = time.perf_counter()
    reset_peak_memory()
    _check_reference(objective, reference)
    check_label(label)
    judge = judge or (load_judge(settings.judge) if settings.judge else None)
    if judge is not None:
        require_judge_fits(settings, judge)
    _check_against(settings, judge, against)
    sets = read_sets(settings.regression, settings.limit_regression)
    rendered = _render(dataset, renderer)
    prompts = choose_prompts(rendered.groups, settings.generate, seed=settings.seed)
    _check_prompts(policy, prompts, settings, against if judge else None)
    pairs_and_prompts = len(rendered.groups) + len(prompts)
    total = pairs_and_prompts + sum(len(each.questions) for each in sets)
    preference = _preferences(
        policy, rendered.groups, objective, reference, settings, scorer, _shifted(progress, 0, total)
    )
    written = _write_replies(
        policy, prompts, settings, judge, _shifted(progress, len(rendered.groups), total)
    )
    regression = measure_regressions(
        policy, sets, renderer, settings, scorer=scorer, progress=_shifted(progress, pairs_and_prompts, total)
    )
    report = {
        **_identity_json(policy, dataset, rendered, objective, label),
        "preference": preference.to_json(),
        "generation": _generation_json(written, settings, judge) if written else None,
        "win_rate": current().on_main(_win_rate_json, written, against, judge, settings.seed)
        if against and judge
        else None,
        "regression": _regression_json(regression, against, settings.seed),
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    return Evaluation(
        report,
        tuple(pair.to_json() for pair in preference.pairs),
        tuple(reply.to_json() for reply in written),
        tuple(answer.to_json(figures.set.name) for figures in regression for answer in figures.answers),
    )


def choose_prompts(groups: Sequence[TokenGroup], count: int, *, seed: int) -> list[TokenGroup]:
    """The groups of `count` distinct prompts, in an order that depends on the seed and each prompt's content alone.

    So two evaluations on overlapping data, in any row order, share most prompts. Of a prompt with several rows the
    first stands for it. Fewer where there are not so many prompts.
    """
    first: dict[str, TokenGroup] = {}
    for group in groups:
        first.setdefault(group.row.prompt_id, group)

    def place(prompt_id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()

    return [first[prompt_id] for prompt_id in sorted(first, key=place)[:count]]


def method_json(objective: Objective) -> dict[str, Any]:
    """The `method` section of an evaluation: name, parameters and the one-line description of the recipe."""
    name, parameters = objective.method.name, dict(objective.parameters)
    if objective.method.uses("sft_weight"):
        parameters["sft_weight"] = objective.sft_weight
    return {
        "name": name,
        "parameters": parameters,
        "description": MethodRecipe.model_validate({"name": name, **parameters}).describe(),
    }


@dataclass(frozen=True, slots=True)
class _Written:
    """A reply to one prompt of the data and, where a judge sits, its verdict."""

    row: Row
    reply: Reply
    verdict: Verdict | None

    def sample(self) -> dict[str, Any]:
        """As it stands in the JSON: what was asked and written, what the data prefers and rejects there."""
        row = self.row
        return {
            "prompt": [message.as_dict() for message in row.prompt],
            "reply": self.reply.text,
            "stopped": self.reply.stopped,
            "chars": len(self.reply.text),
            "tokens": len(self.reply.tokens),
            "score": self.verdict.score if self.verdict else None,
            "chosen": row.completions[0],
            "rejected": row.completions[-1],
        }

    def to_json(self) -> dict[str, Any]:
        """One line of `<label>.replies.jsonl`: the sample, whose it is, and the judge's parts."""
        verdict = self.verdict
        return {
            "prompt_id": self.row.prompt_id,
            "source": str(self.row.source),
            "category": self.row.category,
            **self.sample(),
            "parts": dict(verdict.parts) if verdict else None,
            "escalates": verdict.escalates if verdict else None,
        }


def require_judge_fits(settings: EvaluateRecipe, judge: Judge) -> None:
    """RecipeError for a judge that would have no reply to score, or compares two."""
    if settings.generate == 0:
        raise RecipeError(
            f"the judge {judge.name} has nothing to score: evaluate.generate is 0",
            fix="set evaluate.generate to a number of prompts, or remove the judge",
        )
    if compares_replies(judge):
        raise RecipeError(
            f"the judge {judge.name} compares two replies; here one is scored",
            fix="use it in `simpo compare`, or name a judge of (prompt, reply, columns)",
        )


def _check_against(settings: EvaluateRecipe, judge: Judge | None, against: Evaluation | None) -> None:
    if against is None:
        return
    if judge is None:
        if against.regression and settings.regression:
            return
        raise RecipeError("a win rate needs a judge", fix="set evaluate.judge to module:function")
    if not against.replies:
        raise RecipeError(
            f"the evaluation {against.label!r} holds no replies to compare with",
            fix="evaluate that model with evaluate.generate above 0",
        )
    earlier = against.report["generation"]["settings"]
    for key in ("max_new_tokens", "temperature"):
        if earlier[key] != getattr(settings, key):
            raise RecipeError(
                f"replies under evaluate.{key} {getattr(settings, key)} cannot be compared with those of "
                f"{against.label!r} under {earlier[key]}",
                fix="evaluate both models with the same settings",
            )


def _check_reference(objective: Objective, reference: Reference | None) -> None:
    if (reference is None) == objective.method.reference:
        takes = "a" if objective.method.reference else "no"
        raise ValueError(f"{objective.method.name} takes {takes} reference")


def _check_prompts(
    policy: Policy, prompts: Sequence[TokenGroup], settings: EvaluateRecipe, against: Evaluation | None
) -> None:
    check_room(policy, [group.prompt for group in prompts], settings.max_new_tokens)
    theirs = {reply["prompt_id"] for reply in against.replies} if against else set()
    if against and not any(group.row.prompt_id in theirs for group in prompts):
        raise RecipeError(
            f"the evaluation {against.label!r} replied to none of these prompts",
            fix="evaluate both models on the same data with the same evaluate.seed",
        )


def _render(dataset: Dataset, renderer: Renderer) -> Rendered:
    if not dataset.rows or not all(isinstance(row, Pair) for row in dataset.rows):
        raise DataError("evaluation takes pairs, with a chosen and a rejected completion", where=dataset.name)
    rendered = render_rows(dataset.rows, renderer)
    if not rendered.groups:
        raise DataError(
            f"none of {len(dataset.rows)} pairs is left; the first: {rendered.dropped[0].detail}",
            where=dataset.name,
        )
    return rendered


def _preferences(
    policy: Policy,
    groups: Sequence[TokenGroup],
    objective: Objective,
    reference: Reference | None,
    settings: EvaluateRecipe,
    scorer: Scorer,
    progress: Progress | None,
) -> PreferenceFigures:
    batch_size = settings.batch_size
    logps = score_all(policy.model, groups, batch_size=batch_size, scorer=scorer, progress=progress)
    batches = model_batches(policy.model, groups, batch_size)
    reference_logps = score_in_batches(reference, groups, batches) if reference else None
    return evaluate_preferences(groups, logps, objective, reference=reference_logps, seed=settings.seed)


def _write_replies(
    policy: Policy,
    prompts: Sequence[TokenGroup],
    settings: EvaluateRecipe,
    judge: Judge | None,
    progress: Progress | None,
) -> list[_Written]:
    # The rendered prompts, not the rows': where a prompt lost old turns to fit, the reply is to what was scored.
    replies = generate_from_ids(
        policy,
        [group.prompt for group in prompts],
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=progress,
    )

    def judged() -> list[_Written]:
        return [
            _Written(group.row, reply, judge(group.row, reply.text) if judge else None)
            for group, reply in zip(prompts, replies, strict=True)
        ]

    return current().on_main(judged)  # a judge may be somebody's server, or a person


def _identity_json(
    policy: Policy, dataset: Dataset, rendered: Rendered, objective: Objective, label: str
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "label": label,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"name": policy.name, "hash": policy.hash},
        "data": _data_json(dataset, rendered),
        "method": method_json(objective),
    }


def _data_json(dataset: Dataset, rendered: Rendered) -> dict[str, Any]:
    dropped: dict[str, int] = {}
    for row in (*dataset.dropped, *rendered.dropped):
        dropped[row.reason] = dropped.get(row.reason, 0) + 1
    return {
        "name": dataset.name,
        "hash": dataset.hash,
        "num_pairs": len(dataset.rows),
        "num_prompts": len({row.prompt_id for row in dataset.rows}),
        "dropped": dict(sorted(dropped.items())),
    }


def _generation_json(
    written: Sequence[_Written], settings: EvaluateRecipe, judge: Judge | None
) -> dict[str, Any]:
    verdicts = [reply.verdict for reply in written if reply.verdict is not None]
    prompt_ids = [reply.row.prompt_id for reply in written]
    judged = summarise_verdicts(judge, verdicts, prompt_ids, seed=settings.seed) if judge else None
    return {
        "num_prompts": len(written),
        "settings": {
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "seed": settings.seed,
        },
        **summarise_replies([reply.reply for reply in written]).to_json(),
        "judge": judged.to_json() if judged else None,
        "samples": [reply.sample() for reply in written[:NUM_SAMPLES]],
    }


def _win_rate_json(
    written: Sequence[_Written], against: Evaluation, judge: Judge, seed: int
) -> dict[str, Any]:
    """Over the prompts both replied to; the other's replies keep their scores only if this very judge gave them."""
    theirs: Mapping[str, Mapping[str, Any]] = {reply["prompt_id"]: reply for reply in against.replies}
    both = [reply for reply in written if reply.row.prompt_id in theirs]
    earlier = against.report["generation"]["judge"] or {}
    same = judge.hash is not None and (earlier.get("name"), earlier.get("hash")) == (judge.name, judge.hash)
    scores, other_scores = [], []
    for reply in both:
        other = theirs[reply.row.prompt_id]
        verdict = reply.verdict or judge(reply.row, reply.reply.text)
        scores.append(verdict.score)
        other_scores.append(float(other["score"]) if same else judge(reply.row, str(other["reply"])).score)
    return win_rate(scores, other_scores, [reply.row.prompt_id for reply in both], seed=seed).to_json(
        against.label
    )


def _regression_json(
    regression: Sequence[RegressionFigures], against: Evaluation | None, seed: int
) -> dict[str, Any] | None:
    """Each set's figures, and how they changed against an earlier evaluation that was asked the same questions."""
    found: dict[str, Any] = {}
    for figures in regression:
        name = figures.set.name
        change = None
        earlier = (against.report.get("regression") or {}).get(name) if against else None
        if against and earlier and earlier["hash"] == figures.set.hash:
            lines = [answer.to_json(name) for answer in figures.answers]
            interval = regression_change(
                lines, [line for line in against.regression if line["set"] == name], seed
            )
            change = {"against": against.label, **interval.to_json()}
        found[name] = {**figures.to_json(), "change": change}
    return found or None


def _shifted(progress: Progress | None, done_before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(done_before + done, total)
