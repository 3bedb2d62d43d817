"""How the C library hands out memory while a CPU trains: what a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of glibc's mallopt (malloc.h): how much of the heap's end is never given back, how much more than asked for
# the heap grows by, from which size on and how often at most a buffer comes from the system itself.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4

# -1 is glibc's word for never; the largest number that fits the parameter, 2 GiB, is less than a step may free.
_KEEPING = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 2**26))

# Where glibc's own rules, which adapt until they are first overruled, end up in a process of large buffers.
_USUAL = ((_M_MMAP_MAX, 2**16), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**26), (_M_TOP_PAD, 2**17))

# Set to 0, it leaves the C library as it is.
SWITCH = "SIMPO_KEEP_MEMORY"


@contextmanager
def keeping_freed_memory() -> Iterator[bool]:
    """While the block runs, let glibc keep freed memory in the process instead of giving it back to the system.

    A training step asks for the same large buffers again and again. By default each comes from the system as fresh
    pages, which fault one by one and are filled with zeros: a third of a step's time on two cores. Yields whether the
    C library took the settings: another one (musl, macOS) or a replaced malloc goes on as it does.
    """
    kept = _settable() and _set(_KEEPING)
    try:
        yield kept
    finally:
        if kept:
            _set(_USUAL)
            give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Give the system what is free now: for when what comes next asks for buffers of other sizes."""
    if _settable():
        ctypes.CDLL(None).malloc_trim(0)


def _settable() -> bool:
    return platform.libc_ver()[0] == "glibc" and os.environ.get(SWITCH) != "0"


def _set(settings: tuple[tuple[int, int], ...]) -> bool:
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
