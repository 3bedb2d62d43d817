"""`train` and `resume`: from a recipe, or from what an interrupted run left behind, to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from simpo.data.render import rendering_json
from simpo.errors import Interrupted, RecipeError, RunFailed
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.checkpoint import Checkpoint, latest_checkpoint
from simpo.runs.folder import RunFolder, write_json
from simpo.runs.lineage import first_lineage
from simpo.train.guard import stop_on_signals
from simpo.train.loop import Listener, Loop
from simpo.train.prepare import Prepared, Progress, prepare, seed_everything


def train(
    loaded: LoadedRecipe,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    before: Callable[[RunFolder, Prepared], None] | None = None,
) -> RunFolder:
    """Train a new run from a recipe and return its folder.

    listen: called with every event as it is written. progress: called with (what, done, total) during preparation and
    evaluation. before: called once with the run and the starting policy, before the first step. Raises RecipeError and
    DataError with nothing written; RunFailed for a non-finite step or a full disk; Interrupted after SIGINT or SIGTERM,
    with the state saved.
    """
    recipe = loaded.recipe
    RunFolder(recipe.output).require_free()
    seed_everything(recipe.train.seed)
    prepared = prepare(recipe, progress)
    lineage = first_lineage(recipe, prepared.policy, prepared.datasets, prepared.hashes)
    run = RunFolder.create(loaded, lineage)
    write_json(run.rendering_path, rendering_json(prepared.train[:4], prepared.renderer))
    return _run(run, recipe, prepared, None, listen, progress, before)


def resume(
    path: Path | str,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    before: Callable[[RunFolder, Prepared], None] | None = None,
) -> RunFolder:
    """Go on with an interrupted or killed run from its newest whole checkpoint, as if it had never stopped.

    A finished run is left as it is. Arguments as in `train`. Raises RecipeError when the data or the starting model are
    no longer the ones the run began with.
    """
    run = RunFolder.open(path)
    lineage = run.lineage()
    if lineage.get("status") == "done":
        return run
    recipe = run.load_recipe().recipe
    seed_everything(recipe.train.seed)
    prepared = prepare(recipe, progress)
    _require_same_start(run, lineage, prepared)
    notes: list[str] = []
    checkpoint = latest_checkpoint(run.checkpoints, notes.append)
    return _run(run, recipe, prepared, checkpoint, listen, progress, before, notes)


def _require_same_start(run: RunFolder, lineage: dict[str, Any], prepared: Prepared) -> None:
    began = {"model": lineage["model"]["hash"]} | {f"{k} data": v["hash"] for k, v in lineage["data"].items()}
    now = {"model": prepared.policy.hash} | {
        f"{name} data": digest for name, digest in prepared.hashes.items()
    }
    for what, digest in began.items():
        if now.get(what) != digest:
            raise RecipeError(
                f"the {what} is no longer what this run began with (hash {digest[:12]}, now {str(now.get(what))[:12]})",
                where=str(run.path),
                fix="put it back, or start a new run",
            )


def _run(
    run: RunFolder,
    recipe: Recipe,
    prepared: Prepared,
    checkpoint: Checkpoint | None,
    listen: Listener | None,
    progress: Progress | None,
    before: Callable[[RunFolder, Prepared], None] | None,
    notes: list[str] | None = None,
) -> RunFolder:
    with run.locked(), matmul_precision(recipe.train.precision):
        if before is not None:
            before(run, prepared)
        with stop_on_signals() as stop:
            _run_loop(Loop(run, recipe, prepared, stop, listen, progress), checkpoint, notes or [])
    return run


def _run_loop(loop: Loop, checkpoint: Checkpoint | None, notes: list[str]) -> None:
    try:
        for note in notes:
            loop.emit("note", message=note)
        loop.begin(checkpoint)
        loop.run_to_end()
    except Interrupted:
        loop.run.update_lineage(status="interrupted")
        raise
    except RunFailed as failure:
        loop.emit("failed", message=str(failure))
        loop.run.update_lineage(status="failed")
        raise
    finally:
        loop.accelerator.end_training()


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """For `bf16_matmul`, let oneDNN multiply float32 matrices in bfloat16 while the block runs; else change nothing."""
    if precision != "bf16_matmul":
        yield
        return
    mkldnn: Any = torch.backends.mkldnn
    matmul = mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before
