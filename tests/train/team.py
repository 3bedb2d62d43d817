"""Several ranks on one machine: `python -m tests.train.team` forks them, the libraries imported once in the parent.

A job names a function of `tests.train.team_jobs`; each rank calls it with the arguments given, in an environment such
as torchrun makes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE_S = float(os.environ.get("SIMPO_TEST_DEADLINE_S", "150"))  # more, where other work has the machine


class Team:
    """The parent process as a test sees it; one job at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.team"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        )

    def run(self, size: int, job: str, **arguments: Any) -> list[Any]:
        """What each rank returned; fails where one did not end well, with what it said."""
        statuses = self.statuses(size, job, **arguments)
        said = [self.said(rank) for rank in range(size)]
        assert statuses == [0] * size, (statuses, said)
        return [json.loads((self.folder / f"result-{rank}.json").read_text()) for rank in range(size)]

    def statuses(self, size: int, job: str, **arguments: Any) -> list[int]:
        """The exit status of each rank, negative for a signal that ended it. What runs at the deadline is killed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        for rank in range(size):
            (self.folder / f"said-{rank}.txt").unlink(missing_ok=True)
        line = json.dumps({"size": size, "job": job, "arguments": arguments, "folder": str(self.folder)})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the parent of the ranks has died"
        statuses: list[int] = json.loads(answer)
        return statuses

    def said(self, rank: int) -> str:
        """The error that ended a rank's last job."""
        file = self.folder / f"said-{rank}.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def close(self) -> None:
        """End the parent."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdin.close()
        self.process.stdout.close()


def serve() -> None:
    """Answer each line of stdin, a job, with the exit statuses of its ranks."""
    import accelerate
    import peft
    import torch.distributed.fsdp
    import transformers.models.llama.modeling_llama

    import simpo.study.align
    import tests.train.team_jobs

    warm = (accelerate, peft, transformers, torch, simpo, tests)
    assert all(warm)
    os.fsync = lambda fd: None  # no test cuts the power
    while line := sys.stdin.readline():
        job = json.loads(line)
        port = _free_port()
        pids = [_fork(job, rank, port) for rank in range(job["size"])]
        print(json.dumps(_statuses(pids)), flush=True)


def _fork(job: dict[str, Any], rank: int, port: int) -> int:
    pid = os.fork()
    if pid == 0:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["size"], "LOCAL_WORLD_SIZE": job["size"]}
        os.environ.update({name: str(value) for name, value in place.items()})
        os.environ.update(
            {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **job["arguments"].pop("env", {})}
        )
        os._exit(_work(job, rank))
    return pid


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


def _work(job: dict[str, Any], rank: int) -> int:
    import faulthandler
    import traceback

    from simpo.errors import SimpoError
    from tests.train import team_jobs

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = sys.stderr
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
