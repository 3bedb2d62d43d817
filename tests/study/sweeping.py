"""Sweeps of the tiny model, in this process and in processes that may be killed.

`python -m tests.study.sweeping` forks one worker a line of its stdin: the libraries are imported once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.train.made_up import pair_rows, write_rows

ROOT = Path(__file__).parents[2]

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


class Workers:
    """Processes that work on sweeps, forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.study.sweeping"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        )

    def start(self, recipe: Path, out: Path) -> int:
        """Begin to work on a sweep; returns the process id."""
        return int(self._ask({"recipe": str(recipe), "out": str(out)})["pid"])

    def wait(self, pid: int) -> int:
        """The exit status of a worker, negative for a signal that ended it."""
        return int(self._ask({"wait": pid})["status"])

    def alive(self, pid: int) -> bool:
        """Whether a worker is still at work."""
        return bool(self._ask({"alive": pid})["alive"])

    def close(self) -> None:
        """End the parent."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the workers' parent has died"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve() -> None:
    import accelerate
    import peft
    import transformers.models.llama.modeling_llama

    import simpo.study.sweep.run

    assert all((accelerate, peft, transformers, simpo))
    os.fsync = lambda fd: None
    ended: dict[int, int] = {}
    while line := sys.stdin.readline():
        job = json.loads(line)
        if "wait" in job:
            if job["wait"] not in ended:
                ended[job["wait"]] = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
            answer: dict[str, Any] = {"status": ended[job["wait"]]}
        elif "alive" in job:
            if job["alive"] not in ended:
                pid, status = os.waitpid(job["alive"], os.WNOHANG)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = {"alive": job["alive"] not in ended}
        else:
            pid = os.fork()
            if pid == 0:
                os._exit(_work(job))
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _work(job: dict[str, Any]) -> int:
    from simpo.errors import SimpoError
    from simpo.study.sweep import run as sweep
    from simpo.study.sweep.space import load_sweep

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = sys.stderr
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
