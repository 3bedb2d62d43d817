"""Several ranks on one machine: `python -m tests.train.team` forks them.

A job names a function of `tests.train.team_jobs`; each rank calls it with the arguments given, in an environment such
as torchrun makes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.forks import Parent, answer, fork, questions

DEADLINE_S = float(os.environ.get("SIMPO_TEST_DEADLINE_S", "150"))  # more, where other work has the machine


class Team(Parent):
    """The parent process as a test sees it; one job at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__("tests.train.team")

    def run(self, size: int, job: str, **arguments: Any) -> list[Any]:
        """What each rank returned; fails where one did not end well, with what it said."""
        statuses = self.statuses(size, job, **arguments)
        said = [self.said(rank) for rank in range(size)]
        assert statuses == [0] * size, (statuses, said)
        return [json.loads((self.folder / f"result-{rank}.json").read_text()) for rank in range(size)]

    def statuses(self, size: int, job: str, **arguments: Any) -> list[int]:
        """The exit status of each rank, negative for a signal that ended it. What runs at the deadline is killed."""
        for rank in range(size):
            (self.folder / f"said-{rank}.txt").unlink(missing_ok=True)
        question = {"size": size, "job": job, "arguments": arguments, "folder": str(self.folder)}
        statuses: list[int] = self.ask(question)
        return statuses

    def said(self, rank: int) -> str:
        """The error that ended a rank's last job."""
        file = self.folder / f"said-{rank}.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""


def serve() -> None:
    """Answer each line of stdin, a job, with the exit statuses of its ranks."""
    import torch.distributed.fsdp

    import simpo.study.align
    import tests.train.team_jobs

    assert all((torch, simpo, tests))
    for job in questions():
        port = _free_port()
        answer(_statuses([fork(partial(_work, job, rank, port)) for rank in range(job["size"])]))


def _statuses(pids: list[int]) -> list[int]:
    """Wait for all; what still runs at the deadline is killed."""
    deadline, found = time.monotonic() + DEADLINE_S, dict.fromkeys(pids, -999)
    while -999 in found.values():
        for pid in [pid for pid, status in found.items() if status == -999]:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                found[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return list(found.values())


def _work(job: dict[str, Any], rank: int, port: int) -> int:
    import faulthandler
    import traceback

    from simpo.errors import SimpoError
    from tests.train import team_jobs

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["size"], "LOCAL_WORLD_SIZE": job["size"]}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **job["arguments"].pop("env", {})}
    )
    folder = Path(job["folder"])
    stacks = (folder / f"said-{rank}.txt").open("w")
    faulthandler.dump_traceback_later(DEADLINE_S - 5, file=stacks)  # where it hangs, should it hang
    try:
        result = getattr(team_jobs, job["job"])(**job["arguments"])
        (folder / f"result-{rank}.json").write_text(json.dumps(result))
    except SimpoError as error:
        (folder / f"said-{rank}.txt").write_text(str(error), encoding="utf-8")
        return error.exit_status
    except BaseException:
        (folder / f"said-{rank}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return 1
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    serve()
