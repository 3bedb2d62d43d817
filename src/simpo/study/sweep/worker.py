"""Who works on a trial: names of processes that tell whether one is still alive, and a lease that is renewed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LEASE_S = 180.0  # without a sign of life for so long a worker on another machine counts as gone
UNSIGNED_S = 15.0  # a trial without a lease for so long was taken by a worker that died before it signed
RENEW_S = 20.0

Lease = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """A process: where it runs, its number there, and when that number was given out (numbers come again)."""

    place: str
    pid: int
    began: str

    @classmethod
    def here(cls) -> Worker:
        """This process."""
        return cls(_place(), os.getpid(), _began(os.getpid()))

    def __str__(self) -> str:
        return f"{self.place.partition(' ')[0]}:{self.pid}"


def lease(worker: Worker) -> dict[str, Any]:
    """What is written down when a worker takes a trial, and again while it works: each time another."""
    return {**asdict(worker), "sign": time.monotonic_ns()}


class Silence:
    """For how long trials have stood without a sign of life, as far as this process has looked.

    Only its own clock counts, and only one that nobody sets: those of several machines differ, and any can jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, tuple[Lease | None, float]] = {}

    def seconds(self, trial_id: int, held: Lease | None) -> float:
        """Since this process first saw the trial held as it is now; 0 at the first look."""
        now = self._clock()
        before, since = self._seen.get(trial_id, (None, now))
        if before != held:
            since = now
        self._seen[trial_id] = (None if held is None else dict(held), since)
        return now - since


def is_gone(held: Lease | None, here: Worker, silent_s: float) -> bool:
    """Whether nobody works on a trial any more: known at once of a process of this place, else by its silence."""
    if held is None:
        return silent_s > UNSIGNED_S
    if held["place"] == here.place:
        return _began(int(held["pid"])) != str(held["began"])
    return silent_s > LEASE_S


@contextmanager
def renewed(renew: Callable[[], None]) -> Iterator[None]:
    """Call `renew` every `RENEW_S` in a thread of its own while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(RENEW_S):
            renew()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _place() -> str:
    """This machine since it was started, and the name space of its process numbers."""
    name = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{name} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return name


def _began(pid: int) -> str:
    """When a process of this place began, in the kernel's words; empty where there is none."""
    try:
        # The name, in parentheses, may hold spaces; the 22nd field is the 20th after it. A zombie has ended.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
