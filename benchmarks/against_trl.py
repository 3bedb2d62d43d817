"""Seconds per pair and peak memory of SimPO training steps, ours against TRL's, process after process in turn."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# As a script, Python looks for modules beside this file and not where the package stands.
if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.child import Job, Measured, Setting
from benchmarks.figures import Alternation, fastest
from benchmarks.processes import ENVIRONMENT, Outcome, Processes, parse_environment
from benchmarks.report import RowResult, file_name, notes, tables
from benchmarks.rows import (
    DEFAULT_ROWS,
    QUICK_ROWS,
    ROWS,
    BenchRow,
    Picked,
    batches_of,
    choose_rows,
    pick_pairs,
    write_for_shuffle,
    write_in_step_order,
)
from benchmarks.same_job import SameJob, require_log_2, require_same_job
from benchmarks.trl_env import find_trl_python
from simpo.cli.output import Failure, duration, note, print_error, print_json, print_table, print_text
from simpo.errors import RecipeError, SimpoError

BATCH_SIZE, SEARCH_BATCH_SIZE = 8, 4
MICRO_BATCH_SIZES = (1, 2, 4)
RESULTS = Path(__file__).parent / "results"
DEFAULTS = {False: (DEFAULT_ROWS, 3, 3), True: (QUICK_ROWS, 1, 2)}  # by --quick: rows, alternations, steps


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked. choices: settings of an earlier result, by row and side."""

    rows: tuple[BenchRow, ...]
    alternations: int
    steps: int
    quick: bool
    as_json: bool
    save: bool
    model: Path | None
    trl_python: Path | None
    environment: Mapping[str, str]
    choices: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)


def parse(arguments: Sequence[str] | None) -> Options:
    """The options. Raises RecipeError for values that argparse cannot judge."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.against_trl",
        description=__doc__,
        epilog=f"rows: {', '.join(row.name for row in ROWS)}. Real pairs are read from the folder SIMPO_TEST_DATA.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one row, one alternation, checkpointing left out of the search: under 5 minutes, rough",
    )
    parser.add_argument("--rows", help=f"names or patterns, comma-separated (default {DEFAULT_ROWS})")
    parser.add_argument("--alternations", type=int, help="how often the sides take turns (3, quick 1)")
    parser.add_argument("--steps", type=int, help="steps of a process; the first does not count (3, quick 2)")
    parser.add_argument(
        "--choices", type=Path, help="take the settings of this earlier result, search nothing"
    )
    parser.add_argument("--model", type=Path, help="folder of SmolLM2-135M-Instruct, if you have one")
    parser.add_argument("--trl-python", type=Path, help="a Python with TRL, instead of benchmarks/.venv-trl")
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="set for both sides")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/<date>-<machine>.json")
    given = parser.parse_args(arguments)
    rows, alternations, steps = DEFAULTS[given.quick]
    alternations, steps = given.alternations or alternations, given.steps or steps
    if alternations < 1 or steps < 2:
        raise RecipeError("at least 1 alternation of 2 steps is needed: the first step does not count")
    return Options(
        tuple(choose_rows(given.rows or rows)),
        alternations,
        steps,
        given.quick,
        given.json,
        given.save,
        given.model,
        given.trl_python,
        parse_environment(given.env),
        read_choices(given.choices) if given.choices else {},
    )


def read_choices(path: Path) -> dict[str, dict[str, Setting]]:
    """The settings of an earlier result, by row and side. Raises RecipeError for a file that holds none."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {
            row["row"]: {side: Setting(**setting) for side, setting in row["choices"].items()} for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"holds no choices: {error}", where=str(path), fix="give a result of this script"
        ) from None


class Bench:
    """One comparison in progress: where things lie, and how its processes are started."""

    def __init__(self, options: Options, model: Path, processes: Processes, scratch: Path) -> None:
        self.options, self.model, self.processes, self.scratch = options, model, processes, scratch

    def measure_row(self, row: BenchRow) -> RowResult:
        """Search settings, let both sides take turns, and check that they did the same job."""
        data = os.environ.get("SIMPO_TEST_DATA")
        picked = pick_pairs(row.length, Path(data) if data else None)
        chosen = self.options.choices.get(row.name)
        searched: list[Outcome] = []
        if chosen is None:
            searched = self._search("trl", row, picked)
            chosen = {"simpo": Setting(0), "trl": fastest([outcome.measured for outcome in searched])}
        alternations: list[Alternation] = []
        same: SameJob | None = None
        outcomes = list(searched)
        for number in range(self.options.alternations):
            pair: list[Measured] = []
            for side in ("simpo", "trl"):
                job = self._job(side, row, picked, BATCH_SIZE, self.options.steps, chosen[side])
                outcomes.append(
                    self._run(side, job, f"{row.name} {side} {number + 1}/{self.options.alternations}")
                )
                pair.append(outcomes[-1].measured)
            alternations.append((pair[0], pair[1]))
            if number == 0 and row.method != "simpo":
                require_log_2(pair[0].first_loss, pair[1].first_loss)
            elif number == 0:
                same = self.processes.compare(
                    self._job("trl", row, picked, BATCH_SIZE, 1, chosen["trl"]), self.scratch
                )
                require_same_job(same, pair[0].first_loss, pair[1].first_loss, row.precision)
        others = [outcome.others_cores for outcome in outcomes if outcome.others_cores is not None]
        return RowResult(
            row,
            picked.source,
            dict(chosen),
            tuple(outcome.measured for outcome in searched),
            tuple(alternations),
            same,
            max(others, default=None),
        )

    def _search(self, side: str, row: BenchRow, picked: Picked) -> list[Outcome]:
        """Two steps of each setting, each in a fresh process: what one leaves in memory would serve the next."""
        settings = [
            Setting(size, checkpointing)
            for checkpointing in ((False,) if self.options.quick else (False, True))
            for size in MICRO_BATCH_SIZES
        ]
        return [
            self._run(
                side,
                self._job(side, row, picked, SEARCH_BATCH_SIZE, 2, setting),
                f"{row.name} {side}: setting {number} of {len(settings)}",
            )
            for number, setting in enumerate(settings, start=1)
        ]

    def _job(
        self,
        side: str,
        row: BenchRow,
        picked: Picked,
        batch_size: int,
        steps: int,
        setting: Setting,
    ) -> Job:
        pairs = self.scratch / f"{side}.jsonl"
        write = write_for_shuffle if side == "simpo" else write_in_step_order
        write(batches_of(picked.pairs, batch_size, steps), pairs)
        return Job(
            str(self.model),
            str(pairs),
            str(self.scratch),
            row.weights,
            row.precision,
            batch_size,
            steps,
            setting,
            tokens=str(self.scratch / "trl-tokens.json"),
            method=row.method,
            rounding="stochastic" if side == "simpo" and row.precision == "pure" else None,
        )

    def _run(self, side: str, job: Job, what: str) -> Outcome:
        started = time.perf_counter()
        outcome = self.processes.measure(side, job, self.scratch)
        pace = min(outcome.measured.seconds[1:]) / outcome.measured.pairs_per_step
        note(f"{what}: {pace:.2f} s a pair, {job.setting} ({duration(time.perf_counter() - started)})")
        return outcome


def result_of(options: Options, results: Sequence[RowResult], model: Path, created: str) -> dict[str, Any]:
    """The whole comparison as one JSON object."""
    from simpo.runs.machine import code_version, machine

    ours, theirs = results[0].alternations[0]
    return {
        "schema": 1,
        "created": created,
        "machine": machine(),
        "code_version": code_version(),
        "versions": {"simpo": ours.versions, "trl": theirs.versions},
        "model": model.name,
        "environment": {**ENVIRONMENT, **_threads(), **options.environment},
        "settings": {
            "quick": options.quick,
            "alternations": options.alternations,
            "steps": options.steps,
            "batch_size": BATCH_SIZE,
            **{name: getattr(_DEFAULT_JOB, name) for name in ("beta", "gamma", "lr")},
            "trl_simpo_gamma": _DEFAULT_JOB.beta * _DEFAULT_JOB.gamma,
        },
        "rows": [result.as_json() for result in results],
    }


_DEFAULT_JOB = Job("", "", "", "", "", 0, 0, Setting(0))


def _threads() -> dict[str, str]:
    """What the user's own shell says of threads and allocation, which both sides inherit."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD")
    return {name: os.environ[name] for name in names if name in os.environ}


def compare(options: Options) -> dict[str, Any]:
    """Measure every row, print, and save after each row where that was asked for."""
    from simpo.model.fetch import find_quickstart_model
    from simpo.runs.folder import write_json

    if options.quick and not options.as_json:
        note(
            "quick: one alternation of few steps, to see that it works; for figures run benchmarks/against_trl.py"
        )
    model = find_quickstart_model(options.model, report=note).resolve()
    trl_python = find_trl_python(options.trl_python, note)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    # A plain kill ends this process like Ctrl-C does, which takes the child along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[RowResult] = []
    with tempfile.TemporaryDirectory(prefix="simpo-bench-") as folder:
        bench = Bench(options, model, Processes(trl_python, options.environment), Path(folder))
        for row in options.rows:
            results.append(bench.measure_row(row))
            result = result_of(options, results, model, created)
            if options.save:
                RESULTS.mkdir(exist_ok=True)
                write_json(RESULTS / file_name(created, result["machine"]), result)
    print_result(options, results, result)
    return result


def print_result(options: Options, results: Sequence[RowResult], result: Mapping[str, Any]) -> None:
    """The JSON object, or the tables with what a reader must know of them."""
    if options.as_json:
        print_json(result)
        return
    for title, columns, lines in tables(results):
        print_table(columns, lines, title=title)
    machine, versions = result["machine"], result["versions"]
    print_text(
        f"{machine['cpu']}, {machine['cores']} cores; " + _versions(versions["simpo"], versions["trl"])
    )
    for line in notes(results):
        print_text(line)


def _versions(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    own = f"simpo {ours['simpo']}, TRL {theirs['trl']}"
    shared = ", ".join(
        f"{name} {ours[name]}" for name in ("torch", "transformers") if ours[name] == theirs[name]
    )
    apart = ", ".join(
        f"{name} {ours[name]} (TRL's side {theirs[name]})"
        for name in ours
        if name in theirs and ours[name] != theirs[name]
    )
    return "; ".join(part for part in (own, shared, apart) if part)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; the exit status is the command line's."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        compare(parse(arguments))
    except SimpoError as error:
        failure = Failure(error.message, error.where, error.fix, error.exit_status, type(error).__name__)
        print_error(failure, as_json)
        return error.exit_status
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
