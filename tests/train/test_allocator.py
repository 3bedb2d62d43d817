"""Memory that a step frees stays in the process, where the C library is told so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# 8 buffers of 64 MiB, one after the other, and how many pages were faulted in for them.
PROGRAM = """
import resource
from simpo.train.allocator import keep_freed_memory
import torch
torch.set_num_threads(1)
if {keep}:
    assert keep_freed_memory()
for _ in range(16):  # until the heap has grown to hold them
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_buffer_that_is_asked_for_again_is_not_faulted_in_again() -> None:
    assert faults(keep=True) < 64 < faults(keep=False)
