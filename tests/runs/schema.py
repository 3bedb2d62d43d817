"""What a run folder promises to its readers, checked in full: every test that trains may call `check_run`."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import yaml

from simpo.recipe import load_recipe
from simpo.runs.checkpoint import verify
from simpo.runs.events import read_events
from simpo.runs.folder import read_json

Types = dict[str, Any]

NUMBER = (int, float)
MAYBE_NUMBER = (int, float, type(None))
PAIR_FIGURES: Types = {
    "chosen_logps": MAYBE_NUMBER,
    "rejected_logps": MAYBE_NUMBER,
    "margin": MAYBE_NUMBER,
    "accuracy": MAYBE_NUMBER,
}
EVENTS: dict[str, Types] = {
    "start": {
        "method": str,
        "model": str,
        "model_hash": str,
        "plan": dict,
        "parameters": dict,
        "warnings": list,
    }
    | {"data": dict},
    "step": {"epoch": NUMBER, "loss": NUMBER, "lr": NUMBER, "grad_norm": NUMBER, "pairs": int, "tokens": int}
    | {"seconds": NUMBER},
    "evaluate": {"epoch": NUMBER, "loss": MAYBE_NUMBER, "num_pairs": int, "seconds": NUMBER, "best": bool},
    "checkpoint": {"path": str, "bytes": int, "seconds": NUMBER},
    "guard": {"epoch": NUMBER, "verdict": str, "reasons": list, "why": str, "figures": dict, "start": dict}
    | {"num_prompts": int, "samples": list, "seconds": NUMBER},
    "feedback": {"epoch": NUMBER, "rows": int, "override": MAYBE_NUMBER, "escalation": MAYBE_NUMBER},
    "resume": {"evaluated": bool, "looked": bool, "steps": int},
    "interrupted": {},
    "failed": {"message": str},
    "note": {"message": str},
    "scorer": {"name": str, "reason": str},
    "ready": {"prepare_seconds": NUMBER},
    "budget": {"tokens": int, "reason": str},
    "ranks": {"size": int, "strategy": str, "reason": str},
    "stop": {"reason": str, "best_step": int, "seconds": NUMBER, "pairs_per_second": NUMBER}
    | {"peak_memory_bytes": int},
}
PLAN: Types = {
    "steps": int,
    "epochs": NUMBER,
    "batch_size": int,
    "num_rows": int,
    "num_validation": int,
}
DATA: Types = {"rows": int, "dropped": dict, "hash": str, "format": str, "median_tokens": dict}
LINEAGE: Types = {
    "schema": int,
    "kind": str,
    "status": str,
    "created": str,
    "simpo_version": str,
    "code_version": str,
    "data": dict,
    "model": dict,
    "parents": list,
    "seed": int,
    "machine": dict,
    "libraries": dict,
    "command": list,
}
STATUSES = ("running", "done", "interrupted", "failed")


def check_run(run: Path) -> None:
    """Fail with the place where a run folder is not what it promises to be."""
    lineage = check_lineage(run / "run.json")
    check_recipe(run / "recipe.yaml")
    events = check_events(run / "events.jsonl", pairwise=lineage["kind"] == "preference")
    check_checkpoints(run / "checkpoints", done=lineage["status"] == "done")
    assert (events[-1]["event"] == "stop") == (lineage["status"] == "done")
    assert isinstance(json.loads((run / "rendering.json").read_text(encoding="utf-8")), (dict, list))
    left = [p for p in run.rglob(".*") if p.name not in (".lock",) and not p.is_dir()]
    assert not left, f"half-written files were left: {left}"


def check_recipe(path: Path) -> None:
    """It is YAML, and reading and writing it again gives the same values."""
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(load_recipe(path).to_yaml()) == yaml.safe_load(text)


def check_lineage(path: Path) -> dict[str, Any]:
    """run.json: every key, and the chain of parents."""
    lineage = read_json(path)
    _require("run.json", lineage, LINEAGE)
    assert lineage["kind"] in ("sft", "preference") and lineage["status"] in STATUSES
    for name, data in lineage["data"].items():
        assert name in ("train", "validation")
        _require(
            f"data.{name}", data, {"name": str, "hash": str, "rows": int, "files": dict, "tokens_hash": str}
        )
    _require("model", lineage["model"], {"name": str, "hash": str, "parent_run": (str, type(None))})
    for parent in lineage["parents"]:
        _require("parents", parent, {"run": str, "kind": str, "data_hash": str, "model_hash": str})
    return lineage


def check_events(path: Path, *, pairwise: bool) -> list[dict[str, Any]]:
    """Every event with its fields; steps, evaluations and checkpoints in the order in which they must have happened."""
    events = read_events(path)
    assert events[0]["event"] == "start"
    for event in events:
        kind = event["event"]
        _require(f"an event {kind}", event, {"v": int, "time": NUMBER, "step": int} | EVENTS[kind])
        if kind in ("step", "evaluate"):
            assert PAIR_FIGURES.keys() <= event.keys() if pairwise else not PAIR_FIGURES.keys() & event.keys()
        for name, value in event.items():
            assert not isinstance(value, float) or math.isfinite(value), f"{kind} {name}"
    _require("plan", events[0]["plan"], PLAN)
    for data in events[0]["data"].values():
        _require("data", data, DATA)
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1)), "the steps are not one straight story"
    for earlier, later in itertools.pairwise(events):
        assert earlier["step"] <= later["step"], f"{later['event']} goes back in time"
    evaluated = [event["step"] for event in events if event["event"] == "evaluate"]
    assert len(evaluated) == len(set(evaluated)), "a step was evaluated twice"
    looked = [event["step"] for event in events if event["event"] == "guard"]
    assert len(looked) == len(set(looked)), "a step was looked at twice"
    assert [event["event"] for event in events].count("stop") <= 1
    return events


def check_checkpoints(checkpoints: Path, *, done: bool) -> None:
    """Every checkpoint verifies; a finished run has a best one, and no optimizer state."""
    found = [path for path in checkpoints.iterdir() if path.is_dir()]
    for path in found:
        assert path.name.startswith(("step-", "collapsed-step-")), f"{path.name} was left behind"
        verify(path)
        assert (path / "optimizer.safetensors").exists() == (not done)
    if done:
        best = read_json(checkpoints / "best.json")["step"]
        assert f"step-{best:06d}" in [path.name for path in found]


def _require(what: str, record: dict[str, Any], types: Types) -> None:
    for name, kind in types.items():
        assert name in record, f"{what} lacks {name}"
        assert isinstance(record[name], kind), f"{what}: {name} is {record[name]!r}"
