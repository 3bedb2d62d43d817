"""Trainings in processes of their own, to be signalled and killed: `python -m tests.train.driver` forks one a job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.forks import Parent, answer, fork, questions

DEADLINE_S = 120.0


class Driver(Parent):
    """The parent process as a test sees it; one job at a time."""

    def __init__(self, folder: Path) -> None:
        self.messages = folder / "messages.txt"
        self.pid = 0  # of the latest job
        super().__init__("tests.train.driver")

    def start(
        self,
        recipe: Path | None = None,
        *,
        resume: Path | None = None,
        signals: Any = (),
        fault: dict[str, Any] | None = None,
    ) -> int:
        """Begin a training or go on with one; returns the process id.

        signals: (event kind, step, signal numbers) at which the process signals itself. fault: what else befalls it
        (`tests.faults.injected.arrange`).
        """
        job = {
            "recipe": None if recipe is None else str(recipe),
            "resume": None if resume is None else str(resume),
            "signals": list(signals),
            "fault": fault,
            "messages": str(self.messages),
        }
        self.pid = int(self.ask(job)["pid"])
        return self.pid

    def go_on(self, recipe: Path, run: Path, *, fault: dict[str, Any] | None = None) -> int:
        """Go on with the run, or begin it where its folder never came to be; returns the process id."""
        if run.exists():
            return self.start(resume=run, fault=fault)
        return self.start(recipe, fault=fault)

    def wait(self) -> int:
        """The exit status of the job, negative for a signal that ended it."""
        return int(self.hear()["status"])

    def message(self) -> str:
        """What the last job that ended in an error said."""
        return self.messages.read_text(encoding="utf-8")


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.0005)


def serve() -> None:
    """Answer each line of stdin, a job, with the id of a process that does it, and then with its exit status."""
    import simpo.train.run

    assert simpo
    for job in questions():
        pid = fork(partial(_work, job))
        answer({"pid": pid})
        answer({"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def _work(job: dict[str, Any]) -> int:
    from simpo.errors import SimpoError
    from simpo.recipe import load_recipe
    from simpo.train.run import resume, train
    from tests.faults.injected import arrange

    def listen(event: dict[str, Any]) -> None:
        for kind, step, numbers in job["signals"]:
            if (event["event"], event["step"]) == (kind, step):
                for number in numbers:
                    os.kill(os.getpid(), number)

    if job["fault"] is not None:
        arrange(job["fault"])
    try:
        if job["resume"] is None:
            train(load_recipe(job["recipe"]), listen=listen)
        else:
            resume(job["resume"], listen=listen)
    except SimpoError as error:
        Path(job["messages"]).write_text(str(error), encoding="utf-8")
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    serve()
