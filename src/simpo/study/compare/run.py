"""Methods side by side: trained alike, measured on the same things, told with intervals in one file and one verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import simpo
from simpo.errors import SimpoError
from simpo.evaluate.files import Evaluation
from simpo.evaluate.pair_judge import PairJudge, compares_replies
from simpo.records import Dataset
from simpo.runs.folder import write_json
from simpo.runs.machine import machine
from simpo.study.child import Listener
from simpo.study.compare.cost import STEPS, price_methods, run_costs
from simpo.study.compare.measure import Measurements, check_settings, measure_all
from simpo.study.compare.more import drift_json, regression_json
from simpo.study.compare.pairs import pair_table, preference_json
from simpo.study.compare.plan import BASE, Contender, Plan, PlannedRun, read_held_out, settings_of
from simpo.study.compare.replies import generation_json, reply_table
from simpo.study.compare.train import Note, RunFacts, train_all
from simpo.study.compare.verdict import judge_comparison
from simpo.train.prepare import Progress, load_data

SCHEMA = 1
FILE = "compare.json"


def compare(
    plan: Plan,
    *,
    cost_steps: int = STEPS,
    listen: Listener | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> dict[str, Any]:
    """Train what is not trained, measure all on the same data, and write `compare.json`; returns its contents.

    cost_steps: steps of each cost trial; 0 for none. Whatever was finished by an earlier call in the same folder is
    used again. A run that fails is told under `problems`. Raises RecipeError and DataError before anything is trained
    where settings cannot be used, RunFailed where no run is left, Interrupted where the user stopped.
    """
    started = time.perf_counter()
    read_held_out(plan)
    check_settings(plan)
    facts = train_all(plan, listen=listen, progress=progress, note=note)
    costs = run_costs(plan.contenders, facts)
    trials, problems = (
        price_methods(plan, steps=cost_steps, progress=progress, note=note) if cost_steps else ([], [])
    )
    measured = measure_all(plan, facts, progress=progress, note=note)
    measured.problems += problems
    report = {
        "schema": SCHEMA,
        "kind": "comparison",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "simpo_version": simpo.__version__,
        "equal": plan.equal,
        "seeds": list(plan.seeds),
        "machine": machine(),
        **figures_json(plan, facts, measured, progress=progress),
        "cost": [*costs, *trials],
    }
    report["verdict"] = judge_comparison(report).to_json()
    report["seconds"] = time.perf_counter() - started
    write_json(plan.out / FILE, report)
    return report


def figures_json(
    plan: Plan, facts: Mapping[str, RunFacts], measured: Measurements, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything that is computed from the measurements alone; the same ones give the same figures."""
    shown = [one for one in plan.contenders if any(run.name in measured.runs for run in one.runs)]
    evaluations: dict[str, list[Evaluation]] = {
        one.id: [measured.runs[run.name] for run in one.runs if run.name in measured.runs] for one in shown
    }
    evaluations[BASE] = [measured.base]
    drifts = {
        one.id: [measured.drift[run.name] for run in one.runs if run.name in measured.drift] for one in shown
    }
    table = pair_table(evaluations)
    generation = _generation(plan, measured, evaluations, progress)
    return {
        "warnings": _warnings(plan, facts, measured),
        "problems": measured.problems,
        "data": _data_json(plan, measured),
        "base": {"name": plan.recipe.model.name, "hash": measured.base.report["model"]["hash"]},
        "methods": [_method_json(one, plan, facts, measured) for one in plan.contenders],
        "preference": preference_json(table),
        "generation": generation,
        "drift": drift_json(drifts, table),
        "regression": regression_json(evaluations),
    }


def _generation(
    plan: Plan,
    measured: Measurements,
    evaluations: Mapping[str, Sequence[Evaluation]],
    progress: Progress | None,
) -> dict[str, Any] | None:
    table = reply_table(evaluations)
    if table is None:
        return None
    judge = measured.judge
    pair_judge = (
        PairJudge(judge, plan.out / "judgements.jsonl")
        if judge is not None and compares_replies(judge)
        else None
    )
    report = None if progress is None else lambda done, total: progress("asking the judge", done, total)
    rows = {row.prompt_id: row for row in reversed(measured.dataset.rows)}
    try:
        return generation_json(table, evaluations, judge, pair_judge, rows, progress=report)
    except SimpoError as error:
        measured.problems.append({"where": "judge", "message": error.message})
        return generation_json(table, evaluations, None, None, rows)


def _warnings(plan: Plan, facts: Mapping[str, RunFacts], measured: Measurements) -> list[str]:
    found = list(plan.warnings)
    hashes = {fact.train_hash for fact in facts.values() if fact.train_hash}
    if len(hashes) > 1:
        found.append("The runs were trained on different data: a difference may be the data's.")
    seen = {
        run.name: facts[run.name].pairs
        for one in plan.contenders
        for run in one.runs
        if facts[run.name].pairs
    }
    if seen and max(seen.values()) > 1.05 * min(seen.values()):
        found.append(
            f"The runs saw {min(seen.values())} to {max(seen.values())} pairs: a difference may be the amount's."
        )
    if measured.problems:
        found.append(f"{len(measured.problems)} runs or parts failed; what is shown is the rest.")
    return found


def _data_json(plan: Plan, measured: Measurements) -> dict[str, Any]:
    about, pairs = measured.base.report["data"], measured.base.pairs
    chosen, rejected = (
        np.asarray([pair[f"{side}_chars"] for pair in pairs]) for side in ("chosen", "rejected")
    )
    return {
        **about,
        "num_pairs": len(pairs),  # those that were measured: `dropped` counts the others
        "num_prompts": len({pair["prompt_id"] for pair in pairs}),
        "chosen_chars": float(np.median(chosen)),
        "rejected_chars": float(np.median(rejected)),
        "chosen_longer": float((chosen > rejected).mean()),
        "seen_in_training": _seen_in_training(plan, measured.dataset),
    }


def _seen_in_training(plan: Plan, held_out: Dataset) -> int | None:
    """How many held-out prompts are training prompts too; None where the training files are gone."""
    try:
        trained = {row.prompt_id for row in load_data(plan.recipe)["train"].rows}
    except SimpoError:
        return None
    return len(trained & {row.prompt_id for row in held_out.rows})


def _method_json(
    one: Contender, plan: Plan, facts: Mapping[str, RunFacts], measured: Measurements
) -> dict[str, Any]:
    settings = [settings_of(other.recipe) for other in plan.contenders]
    own = settings_of(one.recipe)
    differing = [key for key in own if any(each.get(key) != own[key] for each in settings)]
    return {
        "id": one.id,
        "label": one.label,
        "name": one.recipe.method.name,
        "description": one.recipe.method.describe(),
        "recipe": one.source,
        "settings": {key: own[key] for key in differing},
        "runs": [_run_json(plan.out, run, facts[run.name], measured) for run in one.runs],
    }


def _run_json(out: Path, run: PlannedRun, fact: RunFacts, measured: Measurements) -> dict[str, Any]:
    folder, evaluation = run.folder, measured.runs.get(run.name)
    report = None if evaluation is None else evaluation.report
    generation = None if report is None else report["generation"]
    return {
        "run": str(folder.relative_to(out)) if folder.is_relative_to(out) else str(folder.absolute()),
        "seed": run.seed,
        "status": fact.status,
        "error": fact.error,
        "steps": fact.steps,
        "best_step": fact.best_step,
        "pairs": fact.pairs,
        "tokens": fact.tokens,
        "train_hash": fact.train_hash,
        "evaluation": None if report is None else f"evaluation/{run.name}.json",
        "accuracy": None if report is None else report["preference"]["accuracy"]["reward"],
        "common": None if report is None else report["preference"]["accuracy"]["mean_logps"],
        "median_chars": None if generation is None else generation["chars"]["median"],
        "stopped": None if generation is None else generation["stopped"],
    }
