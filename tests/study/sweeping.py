"""Sweeps of the tiny model, in this process and in processes that may be killed.

`python -m tests.study.sweeping` forks the workers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.forks import Parent, answer, fork, questions
from tests.train.made_up import pair_rows, write_rows

# What two sweeps of the same differ in.
_ITS_OWN = ("created", "updated", "seconds", "cost", "commands")
_OF_A_TRIAL = ("seconds", "worker")


@dataclass(frozen=True)
class Toy:
    """A folder with pairs, and a sweep of the tiny model over them: 5 steps a trial, evaluated 3 times on the way."""

    folder: Path
    model: Path

    def recipe(self, section: dict[str, Any] | None = None, name: str = "sweep", **sections: Any) -> Path:
        """A recipe file; sections over the toy's own."""
        rows = {
            "train": pair_rows(20),
            "validation": pair_rows(12, first=100),
            "test": pair_rows(8, first=200),
            "paraphrases": pair_rows(8, first=100),
        }
        files = {key: write_rows(self.folder / f"{key}.jsonl", value) for key, value in rows.items()}
        paraphrases = files.pop("paraphrases")
        values: dict[str, Any] = {
            "output": "unused",
            "model": {"name": str(self.model)},
            "data": {**files, "max_length": 256},
            "method": {"name": "simpo"},
            "train": {"lr": 1e-3, "batch_size": 4, "micro_batch_size": 4, "device": "cpu"},
            "evaluate": {"batch_size": 12},
            "guard": {"prompts": 2, "max_new_tokens": 6},
        }
        for key, value in sections.items():
            values[key] = {**values.get(key, {}), **value}
        usual = {"train.lr": [3e-4, 3e-3, 1.0], "method.gamma": [0.0, 0.5], "method.beta": [2.0, 10.0]}
        values["sweep"] = {
            "evaluations": 3,
            "paraphrases": paraphrases,
            **(usual if section is None else section),
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def out(self, name: str) -> Path:
        """The folder of a sweep."""
        return self.folder / name


def results(out: Path) -> dict[str, Any]:
    """What a sweep has come to, without the times and places that no two sweeps share."""
    table: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    trials = [{k: v for k, v in trial.items() if k not in _OF_A_TRIAL} for trial in table["trials"]]
    return {**{k: v for k, v in table.items() if k not in _ITS_OWN}, "trials": trials}


def bytes_told(out: Path) -> int:
    """How much all trials of a sweep have told so far: a clock that stands still while nothing is done."""
    return sum(path.stat().st_size for path in out.glob("trials/*/events.jsonl"))


class Workers(Parent):
    """Processes that work on sweeps."""

    def __init__(self) -> None:
        super().__init__("tests.study.sweeping")

    def start(self, recipe: Path, out: Path) -> int:
        """Begin to work on a sweep; returns the process id."""
        return int(self.ask({"recipe": str(recipe), "out": str(out)})["pid"])

    def wait(self, pid: int) -> int:
        """The exit status of a worker, negative for a signal that ended it."""
        return int(self.ask({"wait": pid})["status"])

    def alive(self, pid: int) -> bool:
        """Whether a worker is still at work."""
        return bool(self.ask({"alive": pid})["alive"])


def _serve() -> None:
    import simpo.study.sweep.run

    assert simpo
    ended: dict[int, int] = {}
    for job in questions():
        if "wait" in job:
            if job["wait"] not in ended:
                ended[job["wait"]] = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
            answer({"status": ended[job["wait"]]})
        elif "alive" in job:
            if job["alive"] not in ended:
                pid, status = os.waitpid(job["alive"], os.WNOHANG)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer({"alive": job["alive"] not in ended})
        else:
            answer({"pid": fork(partial(_work, job))})


def _work(job: dict[str, Any]) -> int:
    from simpo.errors import SimpoError
    from simpo.study.sweep import run as sweep
    from simpo.study.sweep.space import load_sweep

    sweep.POLL_S = 0.05
    try:
        sweep.run_sweep(load_sweep(job["recipe"]), Path(job["out"]))
    except SimpoError as error:
        print(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    _serve()
