"""Memory that a step frees stays in the process, where the C library is told so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# 2.2 GiB in buffers of 64 MiB: how many pages were faulted in for them, and what the block's end gives back.
PROGRAM = """
import resource
from contextlib import nullcontext
from simpo.train.allocator import keeping_freed_memory
import torch
torch.set_num_threads(1)

def faults(make):
    for _ in range(2):  # until the heap has grown to hold them
        make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    make()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

with {context} as kept:
    assert kept is not False
    print(faults(lambda: [torch.ones(2**24) for _ in range(35)]))
    held = resident()
print(held - resident())
"""


def measure(context: str) -> tuple[int, int]:
    """Page faults of buffers that were there before, and bytes given back at the end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(context=context)], capture_output=True, text=True, check=True
    )
    faults, given_back = done.stdout.split()
    return int(faults), int(given_back)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_buffer_that_is_asked_for_again_is_not_faulted_in_again() -> None:
    kept, given_back = measure("keeping_freed_memory()")
    usual, _ = measure("nullcontext()")
    assert kept < usual / 10
    assert given_back > 2**31  # and when the block ends, the system has it back
