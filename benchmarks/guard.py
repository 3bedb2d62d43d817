"""Does the guard stop collapsing runs early, and healthy ones never? Real runs of a small model, good and bad.

    python -m benchmarks.guard --model RUN_OR_FOLDER --data HARBOR --out DIR [--only NAME ...] [--table]

Each case trains to its end with a guard that watches and stops nothing. What became of it is then judged without the
guard: replies of up to 192 tokens to 12 test prompts, which the guard never saw. A case counts as collapsed where most
of these loop, or most no longer end, though most did not at the start; as whole where under a quarter more than at the
start do either; as damaged in between. So MODEL must be one that answers: the quickstart's SFT run does.

DIR gets one folder a case and `guard.jsonl`; cases in it are not run again, so the table can be made in pieces, also by
several processes with an --only each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NUM_TEST_PROMPTS, TEST_TOKENS = 12, 192
LORA, FULL = {"type": "lora", "r": 16}, {"type": "none"}


def _case(
    name: str, adapter: Mapping[str, Any], lr: float, method: str = "simpo", **settings: Any
) -> dict[str, Any]:
    train = {
        key: settings.pop(key)
        for key in ("epochs", "seed", "limit", "batch_size", "turned")
        if key in settings
    }
    return {
        "name": name,
        "adapter": adapter,
        "lr": lr,
        "method": {"name": method, **settings},
        "train": train,
    }


CASES = (
    _case("lora-2e-4", LORA, 2e-4),
    _case("lora-5e-3", LORA, 5e-3),
    _case("full-1e-4-gamma-5", FULL, 1e-4, gamma=5.0),
    _case("lora-2e-4-batch-1", LORA, 2e-4, batch_size=1, limit=16),
    _case("full-1e-4", FULL, 1e-4),
    _case("full-1e-6", FULL, 1e-6),
    _case("lora-1e-3-10-epochs", LORA, 1e-3, epochs=10, limit=8),
    _case("lora-2e-4-turned", LORA, 2e-4, turned=True),
    _case("lora-2e-3-gamma-5", LORA, 2e-3, gamma=5.0),
    _case("dpo-2e-4", LORA, 2e-4, "dpo"),
    _case("lora-2e-3", LORA, 2e-3),
    _case("lora-1e-4-3-epochs", LORA, 1e-4, epochs=3, limit=16),
    _case("dpo-5e-3", LORA, 5e-3, "dpo"),
    _case("orpo-2e-4", LORA, 2e-4, "orpo"),
    _case("lora-5e-4-beta-10", LORA, 5e-4, beta=10.0, gamma=0.3),
    _case("simper-1e-4", LORA, 1e-4, "simper"),
    _case("lora-1", LORA, 1.0),
    _case("lora-2e-4-seed-1", LORA, 2e-4, seed=1),
    _case("full-3e-6", FULL, 3e-6),
    _case("lora-1e-4", LORA, 1e-4),
    _case("full-3e-5", FULL, 3e-5),
    _case("dpo-norm-2e-4", LORA, 2e-4, "dpo_norm"),
    _case("lora-1e-3", LORA, 1e-3),
    _case("ipo-1e-4", LORA, 1e-4, "ipo"),
    _case("lora-2e-3-beta-0.1", LORA, 2e-3, beta=0.1),
    _case("lora-5e-4", LORA, 5e-4),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="these cases alone")
    parser.add_argument("--table", action="store_true", help="run nothing; print what has been run")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    story = options.out / "guard.jsonl"
    done = {row["name"] for row in _rows(story)}
    for case in CASES:
        if options.table or case["name"] in done or (options.only and case["name"] not in options.only):
            continue
        row = run_case(case, options.model, options.data, options.out / case["name"])
        with story.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(line(row), flush=True)
    print_table(_rows(story))
    return 0


def run_case(case: Mapping[str, Any], model: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train one case to its end and say what the guard saw and what became of it."""
    from simpo.errors import RunFailed
    from simpo.recipe import resolve_recipe
    from simpo.runs.events import read_events
    from simpo.train.run import train

    shutil.rmtree(folder, ignore_errors=True)
    settings = dict(case["train"])
    limit, batch = settings.pop("limit", 48), settings.pop("batch_size", 4)
    pairs = turned_pairs(data, folder.parent) if settings.pop("turned", False) else data / "pairs_train.jsonl"
    full = case["adapter"]["type"] == "none"
    recipe = resolve_recipe(
        {
            "output": str(folder),
            "model": {"name": model, "dtype": "float32" if full else "bfloat16"},
            "adapter": case["adapter"],
            "data": {
                "train": str(pairs),
                "validation": str(data / "pairs_validation.jsonl"),
                "limit": limit,
                "limit_validation": 8,
                "max_length": 256,
                "on_bad_row": "drop",
            },
            "method": case["method"],
            "train": {
                "lr": case["lr"],
                "batch_size": batch,
                "micro_batch_size": batch,
                "evaluate_every": 6,
                "scorer": "shared",
                "precision": "bf16_matmul" if full else "float32",
                **settings,
            },
            "evaluate": {"batch_size": 8},
            "guard": {"stop_on_collapse": False, "max_new_tokens": 96},
        }
    )
    started, failure = time.perf_counter(), None
    try:
        train(recipe)
    except RunFailed as error:
        failure = error.message
    events = read_events(folder / "events.jsonl")
    row = {
        "name": case["name"],
        "seconds": time.perf_counter() - started,
        "failure": failure,
        "steps": max(event["step"] for event in events),
        "looks": [event for event in events if event["event"] == "guard"],
        "evaluations": [event for event in events if event["event"] == "evaluate"],
        "step_seconds": sum(event["seconds"] for event in events if event["event"] == "step"),
    }
    before = start_figures(recipe.recipe, model, data, folder.parent / "start.json")
    after = None if failure else test_figures(recipe.recipe, str(newest(folder)), data)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "base", ignore_errors=True)
    return {**row, "before": before, "after": after, "truth": truth(before, after)}


def turned_pairs(data: Path, out: Path) -> Path:
    """The training pairs with every third one's sides exchanged: labels as noisy as annotators' can be."""
    from simpo.runs.folder import write_atomic

    rows = [
        json.loads(text) for text in (data / "pairs_train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for row in rows[::3]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    write_atomic(out / "turned.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return out / "turned.jsonl"


def start_figures(recipe: Any, model: str, data: Path, kept: Path) -> dict[str, float]:
    """What the untrained model writes to the test prompts: the same for all cases."""
    from simpo.runs.folder import write_atomic

    if not kept.exists():
        write_atomic(kept, json.dumps(test_figures(recipe, model, data)))
    found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def newest(folder: Path) -> Path:
    """The model of the last checkpoint, which need not be the best."""
    return max((folder / "checkpoints").glob("step-*")) / "model"


def test_figures(recipe: Any, model: str, data: Path) -> dict[str, float]:
    """What a model writes to test prompts that the guard has never seen."""
    from simpo.data.read import read_rows
    from simpo.evaluate.generation import generate_from_ids, summarise_replies
    from simpo.model.load import choose_device, load_policy
    from simpo.train.prepare import make_renderer

    settings = recipe.model.model_copy(update={"name": model, "dtype": "bfloat16"})
    policy = load_policy(settings, device=choose_device("auto"))
    renderer = make_renderer(policy, recipe.data)
    rows = read_rows(
        str(data / "pairs_test.jsonl"), kind="pairs", on_bad_row="drop", limit=NUM_TEST_PROMPTS
    ).rows
    prompts = [renderer.prompt_ids(row.prompt) for row in rows]
    figures = summarise_replies(
        generate_from_ids(policy, prompts, max_new_tokens=TEST_TOKENS, batch_size=NUM_TEST_PROMPTS)
    )
    return {
        "stopped": figures.stopped,
        "repetitive": figures.repetitive,
        "repeated_4gram": figures.repeated_4gram,
        "median_chars": figures.chars.median,
    }


def truth(before: Mapping[str, float], after: Mapping[str, float] | None) -> str:
    """`collapsed`, `damaged` or `whole`, from the replies before and after alone."""
    if after is None:
        return "collapsed"
    fall, rise = before["stopped"] - after["stopped"], after["repetitive"] - before["repetitive"]
    loops = before["repetitive"] < 0.5 < after["repetitive"]
    endless = before["stopped"] > 0.5 > after["stopped"]
    if loops or endless or after["median_chars"] < 1:
        return "collapsed"
    return "whole" if fall < 0.25 and rise < 0.25 else "damaged"


def line(row: Mapping[str, Any]) -> str:
    """One row of the table."""
    caught = [look["step"] for look in row["looks"] if look["verdict"] == "collapsing"]
    drifting = [look["step"] for look in row["looks"] if look["verdict"] == "drifting"]
    after = row["after"] or {"stopped": float("nan"), "repetitive": float("nan")}
    looked = sum(look["seconds"] for look in row["looks"])
    first, seen = min(drifting, default="-"), min(caught, default="-")
    return (
        f"| {row['name']} | {row['truth']} | {row['steps']} | {first} | {seen} "
        f"| {row['before']['stopped']:.0%} -> {after['stopped']:.0%} "
        f"| {row['before']['repetitive']:.0%} -> {after['repetitive']:.0%} "
        f"| {looked / row['seconds']:.0%} |"
    )


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """All cases and the counts."""
    print(
        "| case | truth | steps | first drifting | caught at | replies that end | that loop | guard's share of time |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(line(row))
    for kind in ("collapsed", "damaged", "whole"):
        of = [row for row in rows if row["truth"] == kind]
        caught = [
            row
            for row in of
            if any(look["verdict"] == "collapsing" for look in row["looks"]) or row["failure"]
        ]
        print(f"{kind}: {len(caught)} of {len(of)} called collapsing")


def _rows(story: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(text) for text in story.read_text(encoding="utf-8").splitlines()]
        if story.exists()
        else []
    )


if __name__ == "__main__":
    raise SystemExit(main())
