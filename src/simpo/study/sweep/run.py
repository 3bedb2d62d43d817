"""`simpo sweep`: settings tried one after another by any number of workers, and the choice among them."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simpo.errors import Interrupted, RecipeError, RunFailed
from simpo.evaluate.files import Evaluation, read_evaluation
from simpo.recipe import EvaluateRecipe, LoadedRecipe, Recipe
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, is_run_folder, storage_errors, write_atomic, write_json
from simpo.study.align import AFTER, measure_after, require_measures
from simpo.study.sweep.rows import Row, choose
from simpo.study.sweep.shared import Shared
from simpo.study.sweep.space import Sweep
from simpo.study.sweep.store import Claim, Lost, Store, storage_failures
from simpo.study.sweep.strategy import Plan, make_plan
from simpo.study.sweep.table import clusters_of, table
from simpo.study.sweep.trial import Trial, run_trial, start_figures
from simpo.train.loop import Listener
from simpo.train.prepare import Progress

POLL_S = 2.0
MARK = ".sweep"  # held by the one worker that plans or finishes; its being there says whose folder this is
_INFO = ("created", "data", "start", "test", "shared_seconds", "clusters", "held_out")

Note = Callable[[str], None]


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    storage: str | None = None,
    study: str | None = None,
    listen: Listener | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> dict[str, Any]:
    """Try what has not been tried, choose, and return the contents of `out`/sweep.json.

    storage: where the trials are written down, a URL as SQLAlchemy takes it; by default a SQLite file in `out`. Several
    processes that are given the same storage and study share the work; each trial is run by one of them. A sweep that
    was killed is gone on with by the same call: finished trials stay, a half-trained one is resumed.

    Raises RecipeError where `out` or the storage holds another sweep, RecipeError or DataError, before any trial, for a
    judge or test pairs that the last look could not use, Interrupted when the user stops it, RunFailed where no trial
    came to its end or the disk or the storage fails; whatever befalls one setting alone is in its row.
    """
    _require_own(out)
    base = sweep.base.recipe
    require_measures(base.model_copy(update={"evaluate": _last_look(base)}))
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with storage_failures(str(out)):
        with _one_at_a_time(out):
            store = Store(storage or f"sqlite:///{(out / 'study.db').absolute()}", study or "sweep")
            store.begin(sweep)
            if store.info("created") is None:
                store.tell("created", datetime.now(UTC).isoformat(timespec="seconds"))
        return _Work(sweep, out, store, listen, progress, note).to_the_end()


def _require_own(out: Path) -> None:
    """RecipeError for a path that is no folder, or one that holds something else than a sweep."""
    if not out.exists():
        return
    if not out.is_dir():
        raise RecipeError("not a folder", where=str(out), fix="choose another --out")
    if any(out.iterdir()) and not (out / MARK).exists():
        raise RecipeError(
            "the folder holds something else than a sweep; nothing was changed",
            where=str(out),
            fix="choose another --out",
        )


def _last_look(recipe: Recipe) -> EvaluateRecipe:
    """How the chosen run is measured: where a sweep asks for no replies, the recipe's judge has nothing to do."""
    settings = recipe.evaluate
    return settings if settings.generate else settings.model_copy(update={"judge": None})


class _Work:
    """One worker of a sweep: what it holds, and its way from trial to trial."""

    def __init__(
        self,
        sweep: Sweep,
        out: Path,
        store: Store,
        listen: Listener | None,
        progress: Progress | None,
        note: Note | None,
    ) -> None:
        self.sweep, self.out, self.store = sweep, out, store
        self.listen, self.progress, self.note = listen, progress, note
        self.shared = Shared(sweep.settings, out, progress)

    def to_the_end(self) -> dict[str, Any]:
        """Trial after trial, waiting for other workers where the next ones depend on theirs."""
        try:
            while True:
                for name in self.store.reap():
                    self._say(f"{name}: its worker is gone; taken up again")
                claim = self._next()
                if claim is not None:
                    self._run(claim)
                elif not self._others_at_work():
                    return self._finish()
                else:
                    time.sleep(POLL_S)
        except (Interrupted, KeyboardInterrupt) as stop:
            self._write("interrupted")
            said = f": {stop.message}" if isinstance(stop, Interrupted) else ""
            raise Interrupted(
                f"the sweep was interrupted{said}",
                where=str(self.out),
                fix="run the same command again to go on",
            ) from None

    def _next(self) -> Claim | None:
        if self.sweep.settings.strategy == "tpe":
            return self.store.claim() or self.store.propose(self.sweep)
        with _one_at_a_time(self.out):  # a look and an entry, so that workers of one folder do not plan twice
            plan, _ = self._plan()
            self.store.ensure(plan.settings)
        return self.store.claim(list(plan.settings))

    def _plan(self) -> tuple[Plan, list[Row]]:
        """The plan as far as it is known, and the rows of all its trials in its order."""
        rows = self.store.rows()
        if self.sweep.settings.strategy == "tpe":
            return Plan({row.name: dict(row.settings) for row in rows}, (), True), rows
        plan = make_plan(self.sweep, rows, self._clusters())
        found = {row.name: row for row in rows}
        return plan, [found.get(name) or Row(name, each, "waiting") for name, each in plan.settings.items()]

    def _clusters(self) -> Sequence[Any]:
        return clusters_of({"clusters": self.store.info("clusters")})

    def _others_at_work(self) -> bool:
        return any(not row.finished for row in self._plan()[1])

    def _run(self, claim: Claim) -> None:
        folder = self.out / "trials" / claim.name
        self._say(f"\n{claim.name}")
        trial = Trial(
            claim.name, claim.settings, folder, lambda at, accuracy: self._report(claim, at, accuracy)
        )
        try:
            with self.store.held(claim):
                self._begin(trial)
                row = run_trial(self.sweep, self.shared, trial, listen=self.listen, progress=self.progress)
            self.store.finish(claim, row)
        except Lost:
            self._say(f"{claim.name}: another worker has taken it")
            return
        except BaseException:
            self.store.give_back(claim)
            raise
        self._tell_start(folder)
        self._say(_in_a_line(row))
        self._write("running")

    def _report(self, claim: Claim, progress: int, accuracy: float) -> Sequence[float]:
        return self.store.report(claim, progress, accuracy)

    def _begin(self, trial: Trial) -> None:
        """Load what is shared, and see that this trial is measured on the pairs that the others were."""
        self.shared.take(self.sweep.recipe(trial.settings, trial.folder).recipe)
        there = self.store.info("held_out")
        if there is None:
            measured = self.shared.measured
            figures = start_figures(self.sweep, self.shared)
            self.store.tell("clusters", measured.clusters)
            self.store.tell(
                "data",
                {
                    "num_train": len(self.shared.prepared.train),
                    "num_validation": len(measured.validation),
                    "num_prompts": figures.num_prompts,
                    "train_sample": len(measured.train_sample),
                    "num_paraphrases": len(measured.paraphrases) or None,
                    "test": _one_line(self.sweep.base.recipe.data.test),
                },
            )
            start = {"accuracy": figures.reward.to_json(), "chosen_logps": figures.chosen_logps}
            self.store.tell("start", start)
            self.store.tell("shared_seconds", self.shared.seconds)
            self.store.tell("held_out", self.shared.held_out)
        elif there != self.shared.held_out:
            raise RecipeError(
                f"{trial.name} would be measured on other pairs than the other trials",
                where=self.sweep.name,
                fix="name a data.validation file, and do not sweep what changes how its rows are read",
            )

    def _tell_start(self, folder: Path) -> None:
        """What the guard of a trial saw before its first step is what the untrained model writes."""
        start = self.store.info("start")
        if start is None or "stopped" in start:
            return
        events = read_events(RunFolder(folder).events_path)
        look = next((event for event in events if event["event"] == "guard" and event["step"] == 0), None)
        figures = look["figures"] if look else {}
        self.store.tell("start", {**start, **{key: figures.get(key) for key in ("median_chars", "stopped")}})

    def _finish(self) -> dict[str, Any]:
        with _one_at_a_time(self.out):
            _, rows = self._plan()
            choice = choose(rows, self._clusters())
            if choice is None:
                self._write("done")
                first = next((row.message for row in rows if row.message), "no trial was made")
                raise RunFailed(
                    f"none of {len(rows)} trials came to its end; the first: {first}",
                    where=str(self.out),
                    fix="try lower learning rates",
                )
            self._write_recipe(choice.chosen)
            if self.sweep.base.recipe.data.test is not None and self.store.info("test") is None:
                self._test(choice.chosen)
            return self._write("done")

    def _test(self, chosen: Row) -> None:
        """Measure the chosen run on the test pairs: the only look at them, after everything is chosen."""
        folder = self.out / "trials" / chosen.name
        if not is_run_folder(folder):  # it lies on the machine of another worker, which will do it
            return
        run = RunFolder(folder)
        path = run.evaluation_path(AFTER)
        if path.exists():
            evaluation: Evaluation | None = read_evaluation(path)
        else:
            evaluation = measure_after(run, self.progress, _last_look(run.load_recipe().recipe))
        if evaluation is not None:
            self.store.tell("test", evaluation.report["preference"]["accuracy"]["reward"])

    def _write_recipe(self, chosen: Row) -> None:
        """The chosen setting as a recipe, for a run of another seed in a folder of its own."""
        loaded = self.sweep.recipe(chosen.settings, self.out / "chosen")
        seed = loaded.recipe.train.seed + 1
        train = loaded.recipe.train.model_copy(update={"seed": seed})
        recipe = loaded.recipe.model_copy(update={"train": train})
        write_atomic(
            self.out / "chosen.yaml",
            LoadedRecipe(recipe, {**loaded.origins, "train.seed": "simpo sweep"}).to_yaml(),
        )

    def _write(self, status: str) -> dict[str, Any]:
        known = {key: self.store.info(key) for key in _INFO}
        plan, rows = self._plan()
        choice = choose(rows, self._clusters())
        content = table(self.sweep, self.out, status, rows, plan, choice, known)
        write_json(self.out / "sweep.json", content)
        return content

    def _say(self, text: str) -> None:
        if self.note is not None:
            self.note(text)


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Let one process at a time plan or finish in this folder."""
    with storage_errors(out), (out / MARK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _in_a_line(row: Row) -> str:
    if row.status != "done" or row.accuracy is None:
        return f"{row.name}: {row.status}" + (f" ({row.message})" if row.message else "")
    low, high = row.accuracy["low"], row.accuracy["high"]
    gap = "" if row.gap is None else f", gap {row.gap:+.1%}"
    drift = "" if row.drift is None else f", drift {row.drift:.3f}"
    return f"{row.name}: accuracy {row.accuracy['value']:.1%} ({low:.1%} to {high:.1%}){gap}{drift}"


def _one_line(files: str | list[str] | None) -> str | None:
    return ", ".join(files) if isinstance(files, list) else files
