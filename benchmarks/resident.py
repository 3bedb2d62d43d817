"""What a CPU process holds from step to step of a run: in use, resident, and the peak of each step.

    python -m benchmarks.resident RECIPE [--set KEY=VALUE ...] [--without IDEA ...]

Trains the recipe in this process and prints one line a step. In use is what the program asked for and has not given
back, resident what the system holds for it; where the second leaves the first behind, freed memory lies in holes.
IDEA is one of `benchmarks.run_simpo.IDEAS` that a switch turns off, such as "few shapes".
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.run_simpo import BY_RECIPE, IDEAS, leave_out
from simpo.recipe import load_recipe
from simpo.runs.machine import reset_peak_memory
from simpo.runs.memory import peak_resident_bytes
from simpo.train.run import train

MIB = 2**20
_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2` (malloc.h, since 2.33)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def bytes_in_use() -> int:
    """What malloc has handed out and not got back, in its arenas and in buffers of their own."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return int(info.uordblks + info.hblkhd)


def resident_bytes() -> int:
    """What the system holds for this process now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


@dataclass(slots=True)
class Watch:
    """Listens to a run: a line a step, and the highest peak of anything between two events."""

    peak: int = 0
    seconds: list[float] = field(default_factory=list)

    def __call__(self, event: dict[str, Any]) -> None:
        """Print a step; count the peak since the event before."""
        since = peak_resident_bytes()
        self.peak = max(self.peak, since)
        if event["event"] == "step":
            self.seconds.append(event["seconds"])
            held = f"in use {bytes_in_use() // MIB:5} MiB  resident {resident_bytes() // MIB:5} MiB"
            end = f"peak {since // MIB:5} MiB  {event['seconds']:6.2f} s"
            print(f"step {event['step']:4}  {held}  {end}", flush=True)
        reset_peak_memory()


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--without", action="append", default=[], choices=sorted(set(IDEAS) - set(BY_RECIPE)))
    given = parser.parse_args(arguments)
    if platform.libc_ver()[0] != "glibc":
        parser.error("what is in use is asked of glibc; this C library is another one")
    leave_out(tuple(given.without))
    watch = Watch()
    train(load_recipe(given.recipe, overrides=given.overrides), listen=watch)
    later = watch.seconds[len(watch.seconds) // 3 :]
    print(f"peak of the run {watch.peak // MIB} MiB, evaluations and looks of the guard included")
    print(f"median of the last two thirds of the steps {median(later):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
