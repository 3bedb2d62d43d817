"""The processes of one run: how many there are, what they agree on, and which one writes.

Every rank runs the same program and takes the same decisions, because each decision rests on figures that all of them
have. What only one of them knows (a signal, a file, an error) is told to the others here. A process alone is a team of
one, and nothing here then costs or changes anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist

from simpo.errors import RecipeError, RunFailed, SimpoError

T = TypeVar("T")
K = TypeVar("K")
P = ParamSpec("P")

# How long the others wait for one that judges replies or writes a checkpoint; one that dies is noticed at once.
PATIENCE = timedelta(hours=6)
LAST_WORDS_S, GOODBYE_S = 5.0, 2.0
_LAST_WORDS, _HEARD = "simpo/last-words", "simpo/heard"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the `size` that train one model; `control` carries small messages between their CPUs."""

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes the run folder, prints and tracks."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        if self.size == 1:
            return flag
        seen = torch.tensor(int(flag))
        with peers():
            dist.all_reduce(seen, dist.ReduceOp.MAX, group=self.control)
        return bool(seen)

    def gather(self, value: T) -> list[T]:
        """Everybody's value, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with peers():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def merge(self, parts: Mapping[K, T]) -> dict[K, T]:
        """What the ranks made of their shares, as one."""
        return {key: value for part in self.gather(parts) for key, value in part.items()}

    def on_main(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let the main rank do something that all need the result of; what it raises is raised on all of them."""
        if self.size == 1:
            return do(*args, **kwargs)
        told: list[Any] = [None, None]
        if self.main:
            try:
                told[0] = do(*args, **kwargs)
            except SimpoError as error:
                told[1] = error
        with peers():
            dist.broadcast_object_list(told, src=0, group=self.control)
        if told[1] is not None:
            raise told[1]
        result: T = told[0]
        return result

    def require_same(self, what: str, value: object) -> None:
        """RecipeError where a rank has another value: it would train something else."""
        values = self.gather(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise RecipeError(
                    f"rank {rank} has other {what} than rank 0",
                    fix="give every machine the same files and the same version of simpo",
                )


ALONE = Ranks()
_joined: Ranks = ALONE
_apart = False


def current() -> Ranks:
    """The team this process works in: all ranks of the run once it has joined them, else itself alone."""
    return ALONE if _apart else _joined


@contextmanager
def apart() -> Iterator[None]:
    """While the block runs, this rank works on its own share and must not wait for the others."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def join(device: str = "auto") -> Ranks:
    """Meet the other processes that torchrun, accelerate or `simpo launch` started; a process alone goes on alone.

    device: as a recipe says it. On GPUs each rank takes the one of its LOCAL_RANK. Raises RecipeError where the
    environment does not say how to meet, and RunFailed where the others do not come.
    """
    global _joined
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or _joined.size > 1:
        return _joined
    missing = [
        name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if missing:
        raise RecipeError(
            f"WORLD_SIZE is {size} and {', '.join(missing)} is not set",
            fix="start with `simpo launch`, torchrun or accelerate launch, or unset WORLD_SIZE",
        )
    gpus = device != "cpu" and torch.cuda.is_available()
    try:
        if not dist.is_initialized():  # a launcher such as Ray Train has done that
            dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunFailed(
            f"rank {os.environ['RANK']} did not meet the other {size - 1}: {_first_line(error)}",
            where=f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
            fix="see whether every machine was started and can reach this address and port",
        ) from error
    _joined = Ranks(dist.get_rank(), size, control)
    _take_device(device, gpus)  # only now: its error is told once for all
    return _joined


def leave() -> None:
    """Part from the others after a run that came to its end."""
    global _joined
    if _joined.size > 1:
        _joined = ALONE
        dist.destroy_process_group()


def _take_device(device: str, gpus: bool) -> None:
    """Take the GPU of this rank."""
    if device not in ("auto", "cpu", "cuda"):
        raise RecipeError(
            f"train.device {device} names one device, and there are several ranks",
            fix="set train.device: auto, cuda or cpu",
        )
    if not gpus:
        return
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= count:
        raise RecipeError(
            f"this machine has {count} GPUs and no rank {local} among them",
            fix="start as many ranks as there are GPUs, or set train.device: cpu",
        )
    torch.cuda.set_device(local)


@contextmanager
def peers() -> Iterator[None]:
    """RunFailed where another rank has gone while this one waited for it."""
    try:
        yield
    except RuntimeError as error:
        if _joined.size == 1 or not is_lost_peer(error):
            raise
        raise LostRank(
            f"rank {_joined.rank} lost another rank, which has ended or cannot be reached ({_first_line(error)})",
            fix="look for the first error of the others; what was saved before is intact (`simpo train --resume`)",
        ) from error


class LostRank(RunFailed):
    """Another rank has ended, and this one cannot go on without it."""


_LOST = ("connection", "socket", "broken pipe", "timed out", "timeout", "gloo", "nccl", "peer", "aborted")


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error of torch says that another process cannot be reached: it has no class for that."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in _LOST)


def said_by_main(message: str) -> bool:
    """Whether this rank ends with the words of the main one, which prints them; the main one tells them here."""
    if _joined.size == 1:
        return False
    try:
        store = dist.distributed_c10d._get_default_store()
        if _joined.main:
            store.set(_LAST_WORDS, message)
            # The store ends with this process: the others are to hear before that, those that still listen.
            _wait_until(lambda: store.add(_HEARD, 0) >= _joined.size - 1, GOODBYE_S)
            return False
        _wait_until(lambda: store.check([_LAST_WORDS]), LAST_WORDS_S)
        same = store.check([_LAST_WORDS]) and store.get(_LAST_WORDS).decode() == message
        store.add(_HEARD, 1)
        return bool(same)
    except RuntimeError:  # the store went with the process that kept it
        return False


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
