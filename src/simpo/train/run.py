"""`train` and `resume`: from a recipe, or from what an interrupted run left behind, to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from simpo.data.render import rendering_json
from simpo.errors import Interrupted, RecipeError, RunFailed
from simpo.recipe import LoadedRecipe, Recipe
from simpo.runs.checkpoint import Checkpoint, is_tidy, latest_checkpoint, recover, tidy_finished
from simpo.runs.folder import RunFolder, write_json
from simpo.runs.lineage import first_lineage
from simpo.runs.ranks import Ranks, current, join, peers
from simpo.train.accelerator import matmul_precision, require_machine
from simpo.train.allocator import keeping_freed_memory
from simpo.train.loop import Listener, Loop
from simpo.train.parallel import require_one_type_for_zero
from simpo.train.prepare import Prepared, Progress, prepare, seed_everything
from simpo.train.signals import stop_on_signals
from simpo.train.tracker import Tracker, tracking

Before = Callable[[RunFolder, Prepared], None]


def train(
    loaded: LoadedRecipe,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    before: Before | None = None,
    prepared: Prepared | None = None,
) -> RunFolder:
    """Train a new run from a recipe and return its folder.

    listen: called with every event as it is written. progress: called with (what, done, total) during preparation and
    evaluation. before: called once with the run and the starting policy, before the first step. prepared: what
    `prepare` made for a recipe of the same model and data, its policy as it was loaded; the run takes it over. Raises
    RecipeError and DataError with nothing written; RunFailed for a non-finite step or a full disk; Interrupted after
    SIGINT or SIGTERM, with the state saved; KeyboardInterrupt after a second one, or where there was no step to wait
    for.
    """
    recipe = loaded.recipe
    ranks = join(recipe.train.device)
    ranks.on_main(RunFolder(recipe.output).require_free)
    require_machine(recipe)
    seed_everything(recipe.train.seed)
    prepared = prepared or prepare(recipe, progress)
    lineage = first_lineage(
        recipe, prepared.policy, prepared.datasets, prepared.hashes, prepared.token_hashes
    )
    require_one_type_for_zero(recipe, prepared.policy, ranks.size)
    ranks.require_same("data or weights", (prepared.token_hashes, prepared.policy.hash))
    with tracking(recipe, Path(recipe.output), ranks) as tracker:
        run = ranks.on_main(RunFolder.create, loaded, lineage)
        with _locked(run, ranks):
            _run(run, recipe, prepared, None, (), tracker, listen, progress, before)
    return run


def resume(
    path: Path | str,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    before: Before | None = None,
    prepared: Prepared | None = None,
) -> RunFolder:
    """Go on with an interrupted or killed run from its newest whole checkpoint, as if it had never stopped.

    A finished run is left as it is; a run without a checkpoint begins anew in its folder. Arguments and errors as of
    `train`; `before` is called again, with the starting policy, whatever step the run is at. Raises RecipeError when
    the data, what it renders to, or the starting model are no longer the ones the run began with, and when another
    process is at work on the run.
    """
    run = RunFolder.open(path)
    recipe = run.load_recipe().recipe
    ranks = join(recipe.train.device)
    if ranks.on_main(run.lineage).get("status") == "done":
        ranks.on_main(_finish_tidying, run)
        return run
    with _locked(run, ranks):
        lineage = ranks.on_main(run.lineage)
        if lineage.get("status") == "done":  # another process has just finished it
            return run
        require_machine(recipe)
        seed_everything(recipe.train.seed)
        prepared = prepared or prepare(recipe, progress)
        _require_same_start(run, lineage, prepared)
        checkpoint, notes = ranks.on_main(_newest_whole, run)
        with tracking(recipe, run.path, ranks) as tracker:
            _run(run, recipe, prepared, checkpoint, notes, tracker, listen, progress, before)
    return run


def _finish_tidying(run: RunFolder) -> None:
    """Do what a finished run was killed before it had done; where that cannot be, the run is no less finished."""
    if not is_tidy(run.path):
        with suppress(RecipeError, RunFailed), run.locked():
            tidy_finished(run.path)


def _newest_whole(run: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and what is to be said of newer ones."""
    recover(run.path)
    notes: list[str] = []
    return latest_checkpoint(run.checkpoints, notes.append), notes


@contextmanager
def _locked(run: RunFolder, ranks: Ranks) -> Iterator[None]:
    """Hold the folder against other runs: the main rank holds it for all."""
    with ExitStack() as held:
        ranks.on_main(held.enter_context, run.locked())
        yield


def _require_same_start(run: RunFolder, lineage: dict[str, Any], prepared: Prepared) -> None:
    began, now = {"model": lineage["model"]["hash"]}, {"model": prepared.policy.hash}
    for name, data in lineage["data"].items():
        began |= {f"{name} data": data["hash"], f"rendering of the {name} data": data["tokens_hash"]}
        now |= {
            f"{name} data": prepared.hashes.get(name, "none"),
            f"rendering of the {name} data": prepared.token_hashes.get(name, "none"),
        }
    for what, digest in began.items():
        if now[what] != digest:
            raise RecipeError(
                f"the {what} is no longer what this run began with (hash {digest[:12]}, now {now[what][:12]})",
                where=str(run.path),
                fix="put it back, or start a new run",
            )


def _run(
    run: RunFolder,
    recipe: Recipe,
    prepared: Prepared,
    checkpoint: Checkpoint | None,
    notes: list[str] | tuple[()],
    tracker: Tracker,
    listen: Listener | None,
    progress: Progress | None,
    before: Before | None,
) -> None:
    ranks = current()
    with _end_told(run, ranks), stop_on_signals() as stop, matmul_precision(recipe.train.precision):
        ranks.on_main(run.update_lineage, status="running")
        ranks.on_main(write_json, run.rendering_path, rendering_json(prepared.train[:4], prepared.renderer))
        if before is not None:
            before(run, prepared)
        loop = Loop(run, recipe, prepared, stop, tracker, listen, progress)
        stop.patient = True  # from here on there is a step to wait for and a state to save
        on_cpu = prepared.policy.device.type == "cpu"
        try:
            with peers(), keeping_freed_memory() if on_cpu else nullcontext():
                loop.begin(checkpoint, notes)
                loop.run_to_end()
        except RunFailed as failure:
            with suppress(RunFailed):  # where the disk is full, the first error is the one to tell
                loop.emit("failed", message=str(failure))
            raise
        finally:
            if ranks.size == 1:  # several have their measurements before them, and part in the end
                loop.accelerator.end_training()


@contextmanager
def _end_told(run: RunFolder, ranks: Ranks) -> Iterator[None]:
    """Write into run.json how a run ended that did not come to its end."""
    if not ranks.main:
        yield
        return
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        with suppress(RunFailed):
            run.update_lineage(status="interrupted")
        raise
    except BaseException:
        with suppress(RunFailed):
            run.update_lineage(status="failed")
        raise
