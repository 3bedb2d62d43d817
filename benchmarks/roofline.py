"""How much of the machine's matrix-product peak a training step reaches, and where the rest of its time goes."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).parents[1])

import torch

from benchmarks.child import Job, Setting
from benchmarks.rows import BenchRow, batches_of, choose_rows, pick_pairs, write_for_shuffle
from benchmarks.run_simpo import recipe_of
from benchmarks.saved import save_result
from simpo.data.batches import micro_batches_of_tokens
from simpo.model.lean import make_lean
from simpo.model.work import matmul_peak, work_of
from simpo.train.accelerator import make_accelerator, matmul_precision, run_scorer
from simpo.train.allocator import keeping_freed_memory
from simpo.train.budget import find_budget, free_bytes
from simpo.train.optimizer import make_optimizer
from simpo.train.prepare import attach_adapter, prepare
from simpo.train.step import train_step

PARTS = ("body", "head", "attention")

# What the profiler calls an operation, by what it is for; the first that fits counts.
KINDS = (
    ("matrix products", ("mm", "addmm", "bmm", "matmul", "linear")),
    ("softmax", ("softmax", "logsumexp")),
    ("copies and casts", ("copy_", "cat", "clone", "contiguous", "index", "gather", "scatter")),
    ("optimizer", ("adamw", "linalg_vector_norm", "foreach")),
    ("filling with zeros", ("fill_", "zero_")),
    (
        "element by element",
        ("add", "mul", "sub", "div", "exp", "pow", "silu", "rsqrt", "neg", "sum", "mean", "tanh", "where"),
    ),
)


def step_of(row: BenchRow, model: Path, pairs: int, scratch: Path) -> tuple[Callable[[], Any], Any, Any]:
    """A function that takes one step of the row, its model, and its token groups."""
    data = os.environ.get("SIMPO_TEST_DATA")
    file = scratch / "pairs.jsonl"
    write_for_shuffle(batches_of(pick_pairs(row.length, Path(data) if data else None).pairs, pairs, 1), file)
    job = Job(str(model), str(file), str(scratch), row.weights, row.precision, pairs, 1, Setting(0))
    recipe = recipe_of(job, scratch / "run")
    prepared = prepare(recipe)
    attach_adapter(recipe, prepared.policy, scratch)
    policy = prepared.policy.model
    accelerator = make_accelerator(recipe, prepared.policy.device)
    choice = run_scorer(recipe, accelerator, policy, prepared.train, gradients=False)
    make_lean(policy)
    policy.train()
    optimizer = make_optimizer(policy, recipe.train)
    budget = find_budget(policy, optimizer, choice, prepared.train, free_bytes(prepared.policy.device))
    batches = list(micro_batches_of_tokens(prepared.train, budget.tokens, choice.tokens))

    def step() -> None:
        with matmul_precision(recipe.train.precision):
            train_step(
                accelerator, policy, optimizer, batches, objective=prepared.objective, scorer=choice.scorer,
                reference=None, max_grad_norm=1.0,
            )  # fmt: skip

    return step, policy, prepared.train


def shares(step: Callable[[], Any]) -> dict[str, float]:
    """Of the time that one step's operations take, the share of each kind."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    spent: dict[str, float] = {}
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::").strip("_")
        kind = next(
            (kind for kind, words in KINDS if any(word.strip("_") in name for word in words)), "the rest"
        )
        spent[kind] = spent.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: time / total for kind, time in sorted(spent.items(), key=lambda item: -item[1])}


def measure(row: BenchRow, model: Path, pairs: int, repeats: int) -> dict[str, Any]:
    """One row: seconds of a step, the work in it, the fraction of the peak, and the shares."""
    with tempfile.TemporaryDirectory(prefix="simpo-roofline-") as folder, keeping_freed_memory():
        step, policy, groups = step_of(row, model, pairs, Path(folder))
        step()
        step()
        dtype = torch.float32 if row.precision == "float32" else torch.bfloat16
        seconds, peaks = [], []
        for _ in range(repeats):  # in turn: a machine that slows down slows both
            peaks.append(matmul_peak(dtype, torch.device("cpu"), repeats=4))
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        work = work_of(policy, groups)
        fractions = sorted(work.total / s / p for s, p in zip(seconds, peaks, strict=True))
        return {
            "row": row.name,
            "seconds_per_pair": median(seconds) / pairs,
            "tokens_per_pair": work.tokens / pairs,
            "gflop_per_pair": {part: getattr(work, part) / pairs / 1e9 for part in PARTS},
            "peak_gflops": median(peaks) / 1e9,
            "fraction_of_peak": median(fractions),
            "fraction_low": fractions[0],
            "fraction_high": fractions[-1],
            "shares": shares(step),
        }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each row's fraction and where the rest goes; `--save` keeps it."""

    from simpo.model.fetch import find_quickstart_model

    parser = argparse.ArgumentParser(prog="benchmarks.roofline", description=__doc__)
    parser.add_argument("--rows", default="short/full/autocast")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    model = find_quickstart_model(given.model, report=lambda text: print(text, file=sys.stderr)).resolve()
    rows = []
    for row in choose_rows(given.rows):
        found = measure(row, model, given.pairs, given.repeats)
        rows.append(found)
        gflop = found["gflop_per_pair"]
        print(
            f"{found['row']}: {found['seconds_per_pair']:.2f} s a pair, {found['tokens_per_pair']:.0f} tokens, "
            f"{sum(gflop.values()):.0f} GFLOP (body {gflop['body']:.0f}, head {gflop['head']:.0f}, attention "
            f"{gflop['attention']:.0f}); peak {found['peak_gflops']:.0f} GFLOP/s, {found['fraction_of_peak']:.0%} "
            f"({found['fraction_low']:.0%} to {found['fraction_high']:.0%})"
        )
        print("  " + ", ".join(f"{kind} {share:.0%}" for kind, share in found["shares"].items()), flush=True)
    if given.save:
        save_result("roofline", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
