"""sweep.json: all that is known of a sweep, for people, pages and programs; rewritten whenever a trial ends."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import simpo
from simpo.study.sweep.rows import Choice, Row
from simpo.study.sweep.space import Sweep
from simpo.study.sweep.strategy import Plan

SCHEMA = 1
LARGE_GAP = 0.1
FEW_PROMPTS = 100

Known = Mapping[str, Any]


def table(
    sweep: Sweep, out: Path, status: str, rows: Sequence[Row], plan: Plan, choice: Choice | None, known: Known
) -> dict[str, Any]:
    """The contents of sweep.json.

    rows: of every trial planned so far, in that order. known: what the workers wrote down of the sweep as a whole:
    `created`, `data`, `start`, `test`, `shared_seconds`.
    """
    return {
        "schema": SCHEMA,
        "kind": "sweep",
        "created": known.get("created"),
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "simpo_version": simpo.__version__,
        "status": status,
        "recipe": sweep.name,
        "recipe_values": sweep.base.resolved()[0],
        "method": sweep.base.recipe.method.describe(),
        "strategy": sweep.settings.strategy,
        "axes": [{**axis.to_json(), "base": sweep.value(axis.key)} for axis in sweep.axes],
        "planned": len(rows),
        "seconds": sum(row.seconds for row in rows),
        "data": known.get("data"),
        "start": known.get("start"),
        "trials": [
            {**row.to_json(), "stages": _stages_of(row.name, plan), "run": f"trials/{row.name}"}
            for row in rows
        ],
        "stages": [
            {
                "key": stage.key,
                "trials": list(stage.trials),
                "chosen": stage.choice.chosen.name if stage.choice else None,
                "why": stage.choice.why if stage.choice else None,
            }
            for stage in plan.stages
        ],
        "chosen": _chosen_json(choice, known.get("test"), sweep) if choice and status == "done" else None,
        "runner_up": _runner_up_json(choice) if choice and status == "done" else None,
        "notes": notes(sweep, rows, choice, known) if status == "done" else [],
        "cost": {
            "shared_seconds": known.get("shared_seconds"),
            "trial_seconds": sum(row.seconds for row in rows),
        },
        "commands": _commands(out, choice) if choice and status == "done" else [],
    }


def notes(sweep: Sweep, rows: Sequence[Row], choice: Choice | None, known: Known) -> list[str]:
    """What a reader should know before taking the chosen setting for the best there is."""
    found = []
    lost = [row for row in rows if row.status == "collapsed"]
    if lost:
        found.append(f"{len(lost)} of {len(rows)} trials collapsed and were left out of the choice.")
    if choice is None:
        return [*found, "No trial came to its end: there is nothing to choose."]
    found += _edges(sweep, choice.chosen)
    start, best = (known.get("start") or {}).get("accuracy"), choice.chosen.accuracy
    if start and best and best["low"] is not None and best["low"] <= start["value"]:
        found.append(
            f"The untrained model has {start['value']:.1%} on the same pairs, within the interval of the chosen "
            "setting: no gain is shown."
        )
    gap = choice.chosen.gap
    if gap is not None and gap > LARGE_GAP:
        found.append(
            f"The chosen setting is {gap:.1%} better on pairs it was trained on: it has learnt some of them by heart."
        )
    other = choice.chosen.paraphrase_accuracy
    if (
        other
        and best
        and other["high"] is not None
        and best["value"] is not None
        and other["high"] < best["value"]
    ):
        found.append(
            f"On paraphrased prompts its accuracy is {other['value']:.1%}: it knows the wording, not the "
            "matter."
        )
    prompts = (known.get("data") or {}).get("num_prompts") or 0
    if prompts < FEW_PROMPTS:
        found.append(f"There are {prompts} validation prompts: differences of a few points are chance.")
    if len(choice.ties) > 1:
        found.append(
            f"{len(choice.ties)} settings tie within one standard error; more validation pairs would tell them apart."
        )
    return found


def _edges(sweep: Sweep, chosen: Row) -> list[str]:
    found = []
    for axis in sweep.axes:
        values = [
            value for value in axis.values if isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        value = chosen.settings.get(axis.key)
        if len(values) > 2 and value in (min(values), max(values)):
            side = "smallest" if value == min(values) else "largest"
            found.append(
                f"The chosen {axis.key} {value:g} is the {side} that was tried: the best may lie beyond."
            )
    return found


def _stages_of(name: str, plan: Plan) -> list[int]:
    return [number for number, stage in enumerate(plan.stages) if name in stage.trials]


def _chosen_json(choice: Choice, test: Mapping[str, Any] | None, sweep: Sweep) -> dict[str, Any]:
    if test is not None:
        said = "The test pairs were used once, after everything was chosen, for this setting alone."
    elif sweep.base.recipe.data.test is None:
        said = "There is no data.test: the accuracy is on the pairs that chose the setting, and flatters it."
    else:
        said = "The test pairs have not been used yet."
    return {
        "name": choice.chosen.name,
        "why": choice.why,
        "ties": list(choice.ties),
        "best_accuracy": choice.best_accuracy,
        "test": test,
        "test_note": said,
    }


def _runner_up_json(choice: Choice) -> dict[str, Any] | None:
    if choice.runner_up is None:
        return None
    return {"name": choice.runner_up.name, "why": choice.runner_up_why, "difference": choice.difference}


def _commands(out: Path, choice: Choice) -> list[dict[str, str]]:
    run = out / "trials" / choice.chosen.name
    found = [
        {"what": "look at the chosen run", "command": f"simpo report {run}"},
        {"what": "export the chosen model", "command": f"simpo export {run}"},
        {
            "what": "train the chosen setting again, with another seed",
            "command": f"simpo train {out / 'chosen.yaml'}",
        },
    ]
    if choice.runner_up is not None:
        other = out / "trials" / choice.runner_up.name
        found.append({"what": "compare it with the runner-up", "command": f"simpo compare {run} {other}"})
    return found


def clusters_of(known: Known) -> list[Hashable]:
    """The prompts of the held-out pairs, as the first worker wrote them down; none yet."""
    return list(known.get("clusters") or [])
