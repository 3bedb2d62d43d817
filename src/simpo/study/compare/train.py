"""The trainings of a comparison: each run in a process of its own, once; what failed is told and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simpo.errors import RecipeError, RunFailed, SimpoError
from simpo.recipe import LoadedRecipe
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, is_run_folder, write_atomic
from simpo.study.child import Listener, Progress, train_in_child
from simpo.study.compare.plan import Plan, PlannedRun, settings_of

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """How a run ended, and what it took, from its folder. error: why it is of no use; None for a finished run.

    pairs, tokens: trained on, repeats counted; tokens are those scored. seconds: of the steps alone;
    step_costs: seconds per pair of each.
    """

    status: str
    error: str | None
    steps: int | None = None
    best_step: int | None = None
    pairs: int = 0
    tokens: int = 0
    seconds: float = 0.0
    step_costs: tuple[float, ...] = ()
    peak_memory_bytes: int | None = None
    parameters: dict[str, int] | None = None
    train_hash: str | None = None


def train_all(
    plan: Plan,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> dict[str, RunFacts]:
    """Train every run that is not done and return the facts of all, by the run's name.

    A finished run is never trained again; an interrupted or killed one is gone on with. Raises RecipeError where a
    folder holds a run of another recipe, Interrupted where the user stopped, RunFailed where no run at all is left.
    """
    planned = [run for contender in plan.contenders for run in contender.runs]
    for run in planned:
        _require_own(run)
    facts: dict[str, RunFacts] = {}
    for place, run in enumerate(planned, 1):
        if run.loaded is not None and not _done(run):
            if note is not None:
                note(f"\n[{place}/{len(planned)}] {run.name}")
            facts[run.name] = _train(plan, run, run.loaded, listen, progress)
        else:
            facts[run.name] = run_facts(run)
        if facts[run.name].error is not None and note is not None:
            note(f"{run.name} failed: {facts[run.name].error}")
    if all(fact.error is not None for fact in facts.values()):
        first = next(iter(facts.values()))
        raise RunFailed(f"every run failed; the first: {first.error}", where=str(plan.out))
    return facts


def run_facts(run: PlannedRun, error: str | None = None) -> RunFacts:
    """What a run's folder says of it."""
    if not is_run_folder(run.folder):
        return RunFacts("missing", error or "was never begun")
    folder = RunFolder(run.folder)
    lineage, events = folder.lineage(), read_events(folder.events_path)
    status = str(lineage.get("status"))
    if status != "done" and error is None:
        error = _last_words(events) or f"is not finished (status {status})"
    steps = [event for event in events if event["event"] == "step"]
    start = next((event for event in events if event["event"] == "start"), None)
    stop = next((event for event in reversed(events) if event["event"] == "stop"), None)
    return RunFacts(
        status,
        None if status == "done" else error,
        steps[-1]["step"] if steps else None,
        stop["best_step"] if stop else None,
        sum(event["pairs"] for event in steps),
        sum(event["tokens"] for event in steps),
        sum(event["seconds"] for event in steps),
        tuple(event["seconds"] / event["pairs"] for event in steps),
        stop["peak_memory_bytes"] if stop else None,
        start["parameters"] if start else None,
        lineage["data"]["train"]["hash"],
    )


def _train(
    plan: Plan, run: PlannedRun, loaded: LoadedRecipe, listen: Listener | None, progress: Progress | None
) -> RunFacts:
    recipe = plan.out / "recipes" / f"{run.name}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(recipe, loaded.to_yaml())
    try:
        train_in_child(recipe, listen=listen, progress=progress)
    except RunFailed as failure:
        return run_facts(run, _one_line(failure))
    return run_facts(run)


def _one_line(failure: SimpoError) -> str:
    return f"{failure.message}; {failure.fix}" if failure.fix else failure.message


def _last_words(events: list[dict[str, Any]]) -> str | None:
    failed = [event for event in events if event["event"] == "failed"]
    return str(failed[-1]["message"]).replace("\n  fix: ", "; ") if failed else None


def _done(run: PlannedRun) -> bool:
    return is_run_folder(run.folder) and RunFolder(run.folder).lineage().get("status") == "done"


def _require_own(run: PlannedRun) -> None:
    """RecipeError where the folder holds a run of other settings than are asked for now."""
    if run.loaded is None or not is_run_folder(run.folder):
        return
    there, asked = settings_of(RunFolder(run.folder).load_recipe().recipe), settings_of(run.recipe)
    for key in {**there, **asked}:
        if there.get(key) != asked.get(key):
            raise RecipeError(
                f"the run was trained with {key} {there.get(key)}, asked for is {asked.get(key)}",
                where=str(run.folder),
                fix="give another --out, or the recipe as it was",
            )
