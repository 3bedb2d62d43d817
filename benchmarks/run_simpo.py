"""Our side: the public `train` of a recipe, stopped after the last step; prints one JSON line."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.child import (
    ADAPTER_ALPHA,
    ADAPTER_R,
    DPO_BETA,
    MAX_LENGTH,
    Job,
    Measured,
    Meter,
    claim_stdout,
)
from simpo.errors import RunFailed
from simpo.model import attention, head, pack
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.folder import RunFolder
from simpo.train.allocator import SWITCH
from simpo.train.prepare import Prepared
from simpo.train.run import train

# What a job may leave out, to see what each idea is worth, and what it does instead.
IDEAS = {
    "sharing": "the plain scorer: chosen and rejected padded, each with its own copy of the prompt",
    "tiles": "attention over whole blocks at once, weights kept for the backward",
    "kept logits": "logits of the head computed again in the backward, chunk by chunk",
    "few shapes": "rows and tiles as long as they are: a compiled product for each length",
    "strips": "logits of a whole chunk go through each operation of the head in turn",
    "lean layers": "norms and gated layers as the model has them, which keep more for the backward",
    "fused adapter": "an adapted layer as peft works it out, pass by pass",
    "kept memory": "glibc's own settings: large buffers go back to the system after each use",
}

# Those of them that are settings of the recipe.
BY_RECIPE = ("sharing", "lean layers", "fused adapter")


def leave_out(ideas: tuple[str, ...]) -> None:
    """Switch ideas off in this process, those that are no settings of the recipe."""
    if "tiles" in ideas:
        attention.DENSE_TOKENS = 2**62
    if "kept logits" in ideas:
        head.KEPT_CHUNKS = 1
    if "strips" in ideas:
        head.STRIP_LOGITS = 2**62
    if "few shapes" in ideas:
        pack.SHAPE_STEP = 1
    if "kept memory" in ideas:
        os.environ[SWITCH] = "0"


class Enough(Exception):
    """The last step was measured: what follows, a save, is no part of the comparison."""


# Ways to hold weights and states that the other side has no part in: what each sets beside `lora` or `full`.
WAYS: dict[str, dict[str, dict[str, object]]] = {
    "qlora": {"model": {"quantize": "nf4"}},
    "full-8bit": {"train": {"optimizer": "adamw_8bit"}},
    "full-offload": {"train": {"offload_optimizer": True, "rounding": None}},
}


def recipe_of(job: Job, output: Path) -> Recipe:
    """The job as a recipe: constant learning rate, no validation, one pass over the pairs."""
    way = WAYS.get(job.weights, {})
    return Recipe.model_validate(
        {
            "output": str(output),
            "model": {
                "name": job.model,
                "dtype": "bfloat16" if job.precision == "pure" else "float32",
                **way.get("model", {}),
            },
            "adapter": {
                "type": "lora",
                "r": ADAPTER_R,
                "alpha": ADAPTER_ALPHA,
                "fused": "fused adapter" not in job.without,
            }
            if job.weights in ("lora", "qlora")
            else {},
            "data": {"train": job.pairs, "validation_fraction": 0, "max_length": MAX_LENGTH},
            "method": {"name": "simpo", "beta": job.beta, "gamma": job.gamma}
            if job.method == "simpo"
            else {"name": "dpo", "beta": DPO_BETA, "reference": job.method.removeprefix("dpo_")},
            "guard": {"prompts": 0},  # the peers have none
            "train": {
                "lr": job.lr,
                "max_steps": job.steps,
                "batch_size": job.batch_size,
                "micro_batch_size": job.setting.micro_batch_size or None,
                "gradient_checkpointing": job.setting.checkpointing,
                "schedule": "constant",
                "warmup": 0,
                "precision": {"autocast": "bf16", "bf16_matmul": "bf16_matmul"}.get(job.precision, "float32"),
                "rounding": job.rounding,
                "lean_layers": "lean layers" not in job.without,
                "scorer": "plain" if "sharing" in job.without else "shared",
                "device": job.device,
                **way.get("train", {}),
            },
        }
    )


def measure(job: Job) -> Measured:
    """Train one fresh run of `job.steps` steps and measure each."""
    meter = Meter()
    steps: list[dict[str, Any]] = []

    def before(run: RunFolder, prepared: Prepared) -> None:
        if len(prepared.train) != job.steps * job.batch_size:
            raise RunFailed(f"{len(prepared.train)} pairs were rendered, not {job.steps * job.batch_size}")
        meter.watch(prepared.policy.model)

    def listen(event: dict[str, Any]) -> None:
        if event["event"] in ("scorer", "budget"):  # the last before the first step
            meter.start()
        elif event["event"] == "step":
            meter.step_ended()
            steps.append(event)
            if len(steps) == job.steps:
                raise Enough

    with tempfile.TemporaryDirectory(dir=job.scratch) as folder:
        recipe = recipe_of(job, Path(folder) / "run")
        with contextlib.suppress(Enough):
            train(LoadedRecipe(recipe, {}), listen=listen, before=before)
    return meter.measured(
        "simpo",
        job.setting,
        pairs_per_step=steps[0]["pairs"],
        tokens_scored=[event["tokens"] for event in steps],
        first_loss=steps[0]["loss"],
    )


def main(path: str) -> None:
    """Measure the job in `path`."""
    out = claim_stdout()
    job = Job.read(path)
    leave_out(job.without)
    print(measure(job).line(), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
