"""How the C library hands out memory while a CPU trains: what is freed is kept for the next step."""

from __future__ import annotations

import ctypes
import os
import platform

# Parameters of glibc's mallopt (malloc.h), and of how much of the heap's end is never given back.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER, _PAD_BYTES = 2**31 - 1, 2**26


# Set to 0, it leaves the C library as it is.
SWITCH = "SIMPO_KEEP_MEMORY"


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory in the process instead of giving each large buffer back to the system.

    A training step asks for the same large buffers again and again. By default each comes from the system as fresh
    pages, which fault one by one and are filled with zeros: a third of a step's time on two cores. Returns whether the
    C library took the settings: another one (musl, macOS) or a replaced malloc goes on as it does.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.get(SWITCH) == "0":
        return False
    library = ctypes.CDLL(None)
    library.malloc_trim(0)  # what loading and checking have left goes back once
    mallopt = library.mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _PAD_BYTES))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
