"""The other figures of a comparison: drift from the start, and the regression sets before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simpo.core.crossed import crossed_difference, crossed_mean
from simpo.core.intervals import Floats
from simpo.evaluate.files import Evaluation
from simpo.study.compare.measure import Divergences, Drift
from simpo.study.compare.pairs import PairTable
from simpo.study.compare.plan import BASE

Json = dict[str, Any]


def drift_json(drifts: Mapping[str, Sequence[Drift]], table: PairTable) -> Json | None:
    """The `drift` section, in nats per token: means over replies of each reply's mean. None where none was measured."""
    models = {}
    for id_, several in drifts.items():
        if not several:
            continue
        change = table.chosen[id_] - table.chosen[BASE]
        chosen, generated = (
            _by_prompt([getattr(drift, which) for drift in several]) for which in ("chosen", "generated")
        )
        models[id_] = {
            "chosen": _estimate(chosen),
            "generated": _estimate(generated),
            "chosen_logps_change": crossed_mean(change, table.prompts, bounds=None).to_json(),
            "per_seed": {
                "chosen": [] if chosen is None else chosen[0].mean(axis=1).tolist(),
                "generated": [] if generated is None else generated[0].mean(axis=1).tolist(),
            },
        }
    return {"models": models} if models else None


def _by_prompt(seeds: Sequence[Divergences]) -> tuple[Floats, list[str]] | None:
    """[K, P] mean divergences of the replies to the prompts that every seed has, and those prompts."""
    keyed = [{str(each["prompt_id"]): each["total"] / each["tokens"] for each in seed} for seed in seeds]
    prompts = [prompt for prompt in keyed[0] if all(prompt in seed for seed in keyed)]
    if not prompts:
        return None
    return np.asarray([[seed[prompt] for prompt in prompts] for seed in keyed]), prompts


def _estimate(found: tuple[Floats, list[str]] | None) -> Json | None:
    """Mean of divergences with its interval, of which nothing lies below 0: a KL divergence does not."""
    if found is None:
        return None
    interval = crossed_mean(*found, bounds=None)
    return dict(replace(interval, low=max(interval.low, 0.0)).to_json())


def regression_json(evaluations: Mapping[str, Sequence[Evaluation]]) -> list[Json] | None:
    """The `regression` section: each set for every model, and the change from the base, question by question."""
    base = evaluations[BASE][0].report["regression"]
    if not base:
        return None
    return [_set_json(name, about, evaluations) for name, about in base.items()]


def _set_json(name: str, about: Mapping[str, Any], evaluations: Mapping[str, Sequence[Evaluation]]) -> Json:
    answers = {
        id_: [_answers(evaluation, name) for evaluation in several] for id_, several in evaluations.items()
    }
    questions = [
        key for key in answers[BASE][0] if all(key in one for each in answers.values() for one in each)
    ]
    values = {
        id_: np.asarray([[one[key] for key in questions] for one in each]) for id_, each in answers.items()
    }
    reports = {
        id_: [evaluation.report["regression"][name] for evaluation in several]
        for id_, several in evaluations.items()
    }
    return {
        "name": name,
        "file": about["file"],
        "kind": about["kind"],
        "metric": about["metric"],
        "higher_is_better": True,
        "num_items": len(questions),
        "not_checked": about["not_checked"],
        "models": {id_: crossed_mean(x, questions).to_json() for id_, x in values.items()},
        "changes": {
            id_: crossed_difference(x, values[BASE], questions).to_json()
            for id_, x in values.items()
            if id_ != BASE
        },
        "more": {
            other: {id_: float(np.mean([r["more"][other] for r in each])) for id_, each in reports.items()}
            for other in about["more"]
        },
    }


def _answers(evaluation: Evaluation, name: str) -> dict[str, float]:
    """The value of each question of a set that could be checked, by its place in the file."""
    return {
        str(line["source"]): float(line["value"])
        for line in evaluation.regression
        if line["set"] == name and line["value"] is not None
    }
