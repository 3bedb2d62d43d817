"""What n trials of a sweep cost against n runs of their own: reading, rendering and loading are shared, steps are not.

    python -m benchmarks.sweep_cost --model MODEL --data HARBOR --out DIR [--trials 4] [--steps 4] [--limit 2000]

One process sweeps n learning rates; then n processes train one recipe each, the recipes of the very trials. All weights
are compared bit for bit. Seconds of processor time, which other work on the machine moves less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--limit", type=int, help="training pairs; all by default")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    recipe = write_recipe(options.out / "recipe.yaml", options)
    sweep = options.out / "sweep"
    together = timed(
        [sys.executable, "-m", "simpo.cli.app", "sweep", str(recipe), "--out", str(sweep), "--json"]
    )
    table = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    alone = [timed(separate(sweep / trial["run"], options.out / "alone")) for trial in table["trials"]]
    same = all(
        equal(sweep / trial["run"], options.out / "alone" / trial["name"]) for trial in table["trials"]
    )
    print(f"| {options.trials} trials | processor seconds | seconds by the clock |\n|---|---|---|")
    print(f"| in one sweep | {together[0]:.0f} | {together[1]:.0f} |")
    print(
        f"| as runs of their own | {sum(cpu for cpu, _ in alone):.0f} | {sum(wall for _, wall in alone):.0f} |"
    )
    print(f"\nweights equal bit for bit: {same}")
    return 0 if same else 1


def write_recipe(path: Path, options: argparse.Namespace) -> Path:
    """A few steps on a large file: what is shared weighs most."""
    data: Path = options.data
    values = {
        "output": "unused",
        "model": {"name": options.model, "dtype": "bfloat16"},
        "adapter": {"type": "lora"},
        "data": {
            "train": str(data / "pairs_train.jsonl"),
            "validation": str(data / "pairs_validation.jsonl"),
            "limit": options.limit,
            "limit_validation": 16,
            "max_length": 512,
            "on_bad_row": "drop",
        },
        "train": {"lr": 1e-4, "batch_size": 4, "micro_batch_size": 4, "max_steps": options.steps},
        "guard": {"prompts": 2, "max_new_tokens": 32},
        "sweep": {
            "train.lr": [1e-4 * 2**place for place in range(options.trials)],
            "prune": False,
            "evaluations": 1,
        },
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def separate(trial: Path, folder: Path) -> list[str]:
    """The command that trains a trial's recipe in a folder and a process of its own, as the sweep trained it."""
    output = folder / trial.name
    recipe = folder / f"{trial.name}.yaml"
    folder.mkdir(exist_ok=True)
    recipe.write_text(
        (trial / "recipe.yaml").read_text(encoding="utf-8").replace(str(trial), str(output)), "utf-8"
    )
    return [sys.executable, "-m", "simpo.study.child", str(recipe)]


def timed(command: list[str]) -> tuple[float, float]:
    """Processor seconds of a command and its children, and seconds by the clock."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Its standard input stays open: a training of its own ends with the process that started it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - began


def equal(one: Path, other: Path) -> bool:
    """Whether two runs have the same best weights."""
    import torch
    from safetensors.torch import load_file

    from simpo.runs.checkpoint import best_model_folder

    ours, theirs = (load_file(best_model_folder(run) / "adapter_model.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


if __name__ == "__main__":
    raise SystemExit(main())
