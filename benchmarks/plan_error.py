"""What `simpo plan` predicts of memory against what training takes: peaks measured on a CPU, a process each.

python -m benchmarks.plan_error                  # SmolLM2-135M and two random models, some minutes on two cores
python -m benchmarks.plan_error --shapes toy     # does it work here?
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.child import Job, Setting
from benchmarks.gpu import SHAPES, make_model, write_pairs
from benchmarks.processes import Processes
from benchmarks.run_simpo import recipe_of

REAL = "smollm2"
ROWS = (
    ("full", "autocast", Setting(0)),
    ("full", "autocast", Setting(0, True)),
    ("full", "pure", Setting(0)),
    ("lora", "autocast", Setting(0)),
    ("lora", "pure", Setting(0, True)),
)
BATCH, STEPS = 8, 2


def jobs(shape: str, model: Path, scratch: Path) -> Iterator[Job]:
    """The settings to measure of one model: float32 weights, bfloat16 ones with masters, LoRA, with checkpointing."""
    pairs = scratch / f"{shape}.jsonl"
    # A real tokenizer makes several tokens of a word; of the random models one is given long prompts.
    lengths = {REAL: "few", "deep-60m": "long"}
    write_pairs(lengths.get(shape, "short"), BATCH * STEPS, pairs)
    for weights, precision, setting in ROWS:
        yield Job(
            str(model), str(pairs), str(scratch), weights, precision, BATCH, STEPS, setting, rounding=None,
        )  # fmt: skip


def row_of(shape: str, job: Job, scratch: Path) -> dict[str, Any]:
    """Predicted and measured peak of one job."""
    from simpo.sizing.plan import make_plan

    plan = make_plan(recipe_of(job, scratch / "unused"), gpu=None)
    measured = Processes(Path(sys.executable), {}).measure("simpo", job, scratch).measured
    peak = plan.footprint.peak
    return {
        "shape": shape,
        "weights": job.weights,
        "precision": job.precision,
        "checkpointing": job.setting.checkpointing,
        "parts": plan.footprint.parts,
        "predicted_bytes": peak,
        "measured_bytes": measured.peak_rss_bytes,
        "error": peak / measured.peak_rss_bytes - 1,
        "predicted_seconds": plan.seconds_per_step,
        "measured_seconds": min(measured.seconds[1:]),
    }


def told(row: dict[str, Any]) -> str:
    """A row in a line."""
    name = f"{row['shape']} {row['weights']} {row['precision']}{' checkpointing' if row['checkpointing'] else ''}"
    predicted, measured = (row[f"{which}_bytes"] / 2**30 for which in ("predicted", "measured"))
    seconds = f"a step {row['predicted_seconds']:.1f} s, {row['measured_seconds']:.1f}"
    return f"{name}: predicted {predicted:.2f} GiB, measured {measured:.2f}, error {row['error']:+.0%}; {seconds}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; `--save` keeps the figures in results/."""
    from simpo.model.fetch import find_quickstart_model
    from simpo.runs.folder import write_json
    from simpo.runs.machine import code_version, machine

    parser = argparse.ArgumentParser(
        prog="benchmarks.plan_error", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--shapes", default=f"{REAL},deep-60m,wide-110m", help=f"{REAL} or of benchmarks/gpu")
    parser.add_argument("--model", help=f"the folder of {REAL}; else it is fetched")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="simpo-plan-") as folder:
        scratch = Path(folder)
        for shape in given.shapes.split(","):
            model = find_quickstart_model(given.model) if shape == REAL else scratch / shape
            if shape in SHAPES:
                make_model(shape, model)
            for job in jobs(shape, model, scratch):
                row = row_of(shape, job, scratch)
                rows.append(row)
                print(told(row), flush=True)
    errors = sorted(abs(row["error"]) for row in rows)
    print(
        f"error of the peak: median {errors[len(errors) // 2]:.0%}, largest {errors[-1]:.0%}, of {len(rows)} runs"
    )
    if given.save:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        result = {
            "schema": 1,
            "created": created,
            "machine": machine(),
            "code_version": code_version(),
            "rows": rows,
        }
        write_json(Path(__file__).parent / "results" / f"{created[:10]}-plan.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
