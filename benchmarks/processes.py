"""One side's work in a fresh process of its own, and how busy the machine was beside it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import Job, Measured
from benchmarks.same_job import SameJob
from simpo.errors import RecipeError, RunFailed

ROOT = Path(__file__).parents[1]

# Both sides get these: no hub, no forked tokenizers, and no banner.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process printed, and how many cores others kept busy meanwhile (None where that cannot be told)."""

    measured: Measured
    others_cores: float | None


class Processes:
    """Starts the children: each in its own Python, all in one environment."""

    def __init__(self, trl_python: Path, extra_environment: Mapping[str, str]) -> None:
        self.pythons = {"simpo": Path(sys.executable), "trl": trl_python}
        self.environment = {**os.environ, **ENVIRONMENT, **extra_environment}

    def measure(self, side: str, job: Job, scratch: Path) -> Outcome:
        """Run one side's job. Raises RunFailed where the process fails or prints something else."""
        path = scratch / "job.json"
        job.write(path)
        started, busy, own = time.perf_counter(), _busy_seconds(), _children_seconds()
        printed = self._run(self.pythons[side], f"benchmarks.run_{side}", path)
        wall = time.perf_counter() - started
        now = _busy_seconds()
        others = None
        if busy is not None and now is not None:
            others = max(0.0, (now - busy - (_children_seconds() - own)) / wall)
        try:
            return Outcome(Measured.parse(printed[-1]), others)
        except (ValueError, TypeError, KeyError) as error:
            raise RunFailed(f"the last line of benchmarks.run_{side} cannot be read: {error}") from None

    def compare(self, job: Job, scratch: Path) -> SameJob:
        """Let a third process compare both sides' first batch."""
        path = scratch / "job.json"
        job.write(path)
        return SameJob.parse(self._run(self.pythons["simpo"], "benchmarks.same_job", path)[-1])

    def _run(self, python: Path, module: str, job: Path) -> list[str]:
        command = [str(python), "-m", module, str(job)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        if done.returncode == 0 and lines:
            return lines
        said = [line for line in done.stderr.splitlines() if line.strip()][-5:]
        reason = f"ended with status {done.returncode}" if done.returncode else "printed nothing"
        raise RunFailed(f"{reason}; its last lines:\n  " + "\n  ".join(said), where=module)


def parse_environment(pairs: list[str]) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping. Raises RecipeError for anything else."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise RecipeError(f"--env {pair!r} is not KEY=VALUE", fix="for example --env OMP_NUM_THREADS=2")
        found[key] = value
    return found


def _busy_seconds() -> float | None:
    """CPU seconds that all processes of the machine have used, or None where there is no /proc."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq = (int(value) for value in fields[:7])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
