"""Start the ranks of a run on this machine, watch them, and leave none behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# After one rank has ended in an error, the others get this long to end by themselves, then to follow SIGTERM.
OWN_ACCORD_S, TERMINATION_S = 10.0, 15.0
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # prctl.h


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ranks of this machine stand among all: `nproc` on each of `nnodes` machines, this being `node_rank`.

    address, port: where rank 0 listens; on one machine a free port of it.
    """

    nproc: int
    nnodes: int = 1
    node_rank: int = 0
    address: str = "127.0.0.1"
    port: int | None = None

    def rank(self, local: int) -> int:
        """The rank of the machine's process number `local`."""
        return self.node_rank * self.nproc + local


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: the status of the first rank that did not end well (negative for a signal), else 0."""

    status: int
    rank: int = 0
    pid: int = 0


def launch(command: Sequence[str], place: Place) -> Ended:
    """Run the command once a rank with the environment that torchrun makes, and wait for all of them.

    Where one ends in an error the others are stopped, within half a minute and by force if need be. SIGINT and SIGTERM
    are passed on, as often as they come, and then waited for as long as the ranks take to save. Should this process be
    killed, Linux sends the ranks SIGTERM.
    """
    port = place.port or free_port()
    ranks: list[subprocess.Popen[bytes]] = []
    with _passing_on(ranks) as passed_on:
        try:
            for local in range(place.nproc):
                ranks.append(_start(command, _environment(place, local, port)))
            return _watch(ranks, place, passed_on)
        finally:
            for process in ranks:  # after an error of ours; else none is left
                if process.poll() is None:
                    _signal(process, signal.SIGKILL)
                    process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _watch(ranks: list[subprocess.Popen[bytes]], place: Place, passed_on: Callable[[], bool]) -> Ended:
    failed: Ended | None = None
    since = 0.0
    terminated = False
    while any(process.poll() is None for process in ranks):
        failed = failed or _first_failure(ranks, place)
        if failed is not None and not passed_on():
            since = since or time.monotonic()
            waited = time.monotonic() - since
            if waited > OWN_ACCORD_S and not terminated:
                terminated = True
                _signal_all(ranks, signal.SIGTERM)
            if waited > OWN_ACCORD_S + TERMINATION_S:
                _signal_all(ranks, signal.SIGKILL)
        time.sleep(_POLL_S)
    return failed or _first_failure(ranks, place) or Ended(0)


def _first_failure(ranks: Sequence[subprocess.Popen[bytes]], place: Place) -> Ended | None:
    """Of those that ended badly one that a signal ended, if any: the others may have ended because of it."""
    found = [
        Ended(process.returncode, place.rank(local), process.pid)
        for local, process in enumerate(ranks)
        if process.poll() not in (None, 0)
    ]
    return min(found, key=lambda ended: (ended.status > 0, ended.rank), default=None)


def _environment(place: Place, local: int, port: int) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // place.nproc)
    values = {
        "RANK": place.rank(local),
        "LOCAL_RANK": local,
        "WORLD_SIZE": place.nproc * place.nnodes,
        "LOCAL_WORLD_SIZE": place.nproc,
        "MASTER_ADDR": place.address,
        "MASTER_PORT": port,
    }
    return {"OMP_NUM_THREADS": str(threads), **os.environ} | {
        name: str(value) for name, value in values.items()
    }


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches the ranks through us alone, once.
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_die_with_parent())


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) and None


@contextmanager
def _passing_on(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[Callable[[], bool]]:
    """Pass SIGINT and SIGTERM on while the block runs; what is given says whether any came."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        _signal_all(ranks, number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _signal_all(ranks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in ranks:
        if process.poll() is None:
            _signal(process, number)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the rank; SIGKILL to all that it started too."""
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
