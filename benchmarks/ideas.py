"""What each idea of the engine is worth: the same training step with one of them left out, process after process."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.child import Job, Measured, Setting
from benchmarks.figures import Spread
from benchmarks.processes import Outcome, Processes
from benchmarks.report import GIB
from benchmarks.rows import LENGTHS, batches_of, pick_pairs, write_for_shuffle
from benchmarks.run_simpo import IDEAS
from benchmarks.saved import save_result

BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to take the step: what of the job differs from the first one, and pairs at a time (0: by tokens)."""

    name: str
    changes: dict[str, Any]
    pairs: int = 0
    checkpointing: bool = False


LORA: dict[str, Any] = {"weights": "lora", "precision": "pure", "rounding": "master"}
OF_ADAPTERS = "fused adapter"

VARIANTS = (
    Variant(
        "all ideas: bf16 autocast, shared prefix, tiles, kept logits, lean layers, kept memory, cut by tokens",
        {},
    ),
    *(
        Variant(f"without {idea}: {what}", {"without": (idea,)})
        for idea, what in IDEAS.items()
        if idea != OF_ADAPTERS
    ),
    Variant("without all of them", {"without": tuple(IDEAS)}, 1),
    Variant("one pair at a time instead of a budget of tokens", {}, 1),
    Variant("activations recomputed (gradient checkpointing)", {}, checkpointing=True),
    Variant("bfloat16 weights, float32 masters", {"precision": "pure", "rounding": "master"}),
    Variant("bfloat16 weights, rounded at random", {"precision": "pure", "rounding": "stochastic"}),
    Variant("float32 tensors, bfloat16 products", {"precision": "bf16_matmul"}),
    Variant("float32", {"precision": "float32"}),
    Variant("LoRA 16, bfloat16 weights", LORA),
    *(
        Variant(f"LoRA 16 without {idea}: {IDEAS[idea]}", LORA | {"without": (idea,)})
        for idea in (OF_ADAPTERS, "lean layers", "strips")
    ),
)


def chosen(patterns: Sequence[str]) -> list[Variant]:
    """The variants whose name begins with one of the patterns; all where there is none."""
    return [one for one in VARIANTS if not patterns or one.name.startswith(tuple(patterns))]


def measure(
    variants: Sequence[Variant], length: str, alternations: int, steps: int, model: Path
) -> list[dict[str, Any]]:
    """Every variant in turn, `alternations` times, each in a fresh process; medians and spreads."""
    found: dict[str, list[Outcome]] = {variant.name: [] for variant in variants}
    data = os.environ.get("SIMPO_TEST_DATA")
    picked = pick_pairs(length, Path(data) if data else None)
    with tempfile.TemporaryDirectory(prefix="simpo-ideas-") as folder:
        scratch = Path(folder)
        processes = Processes(Path(sys.executable), {})
        write_for_shuffle(batches_of(picked.pairs, BATCH_SIZE, steps), scratch / "pairs.jsonl")
        for _ in range(alternations):
            for variant in variants:
                values = {"weights": "full", "precision": "autocast"} | variant.changes
                job = Job(
                    str(model), str(scratch / "pairs.jsonl"), str(scratch), batch_size=BATCH_SIZE,
                    steps=steps, setting=Setting(variant.pairs, variant.checkpointing), **values,
                )  # fmt: skip
                found[variant.name].append(processes.measure("simpo", job, scratch))
                print(_line(variant.name, found[variant.name]), file=sys.stderr, flush=True)
    return [_row(name, outcomes) for name, outcomes in found.items()]


def _row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    measured = [outcome.measured for outcome in outcomes]
    seconds = Spread.of([s / one.pairs_per_step for one in measured for s in one.seconds[1:]])
    peak = Spread.of([float(one.peak_rss_bytes) for one in measured])
    return {
        "variant": name,
        "seconds_per_pair": {"median": seconds.median, "low": seconds.low, "high": seconds.high},
        "peak_rss_bytes": peak.median,
        "first_loss": measured[0].first_loss,
        "tokens_forwarded": _tokens(measured[0]),
        "others_cores": max((o.others_cores for o in outcomes if o.others_cores is not None), default=None),
    }


def _tokens(measured: Measured) -> float:
    return sum(measured.tokens_forwarded) / len(measured.tokens_forwarded) / measured.pairs_per_step


def _line(name: str, outcomes: Sequence[Outcome]) -> str:
    row = _row(name, outcomes)
    seconds = row["seconds_per_pair"]
    pace = f"{seconds['median']:.2f} s a pair ({seconds['low']:.2f} to {seconds['high']:.2f})"
    work = f"loss {row['first_loss']:.5f}, {row['tokens_forwarded']:.0f} tokens"
    return f"{pace}, {row['peak_rss_bytes'] / GIB:.2f} GiB, {work}: {name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; `--save` also writes benchmarks/results/<date>-ideas-<length>.json."""
    from simpo.model.fetch import find_quickstart_model

    parser = argparse.ArgumentParser(prog="benchmarks.ideas", description=__doc__)
    parser.add_argument("--length", choices=LENGTHS, default="short")
    parser.add_argument("--alternations", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a process; the first does not count")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="variants that begin so")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    variants = chosen(given.only)
    if not variants:
        parser.error(
            f"no variant begins with {given.only}; there are: " + "; ".join(v.name for v in VARIANTS)
        )
    model = find_quickstart_model(given.model, report=lambda text: print(text, file=sys.stderr)).resolve()
    rows = measure(variants, given.length, given.alternations, given.steps, model)
    for row in rows:
        seconds = row["seconds_per_pair"]
        print(
            f"{seconds['median']:6.2f} ({seconds['low']:.2f} to {seconds['high']:.2f})  "
            f"{row['peak_rss_bytes'] / GIB:5.2f} GiB  {row['variant']}"
        )
    if given.save:
        save_result(f"ideas-{given.length}", {"length": given.length, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
