"""What a run ran on: machine, libraries, code version, and how much memory it took at most."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import simpo
from simpo.runs.memory import peak_resident_bytes

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")


def machine() -> dict[str, Any]:
    """Platform, Python, processor, cores, memory and GPU of this machine."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def libraries() -> dict[str, str]:
    """Versions of the libraries that decide a run's numbers."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a library that was vendored or is run from a checkout
            found[name] = "unknown"
    return found


def code_version() -> str:
    """The package's version, with the commit and a mark for local changes when it runs from a git checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return simpo.__version__
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return simpo.__version__
    return f"{simpo.__version__}+{result.stdout.strip()}"


def reset_peak_memory() -> None:
    """Start measuring the peak anew (on Linux for this process, on CUDA for every device)."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not permitted: the peak then covers the whole process
        return


def peak_memory_bytes() -> int:
    """Peak since the last reset: allocated on the GPU where there is one, else resident memory of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
