"""The fixtures of tests of faults."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.train.fixtures import driver, no_waiting_for_disks, own_cache, workshop

__all__ = ["driver", "no_waiting_for_disks", "own_cache", "small_disk", "workshop"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many bytes; asked again, it gets another size. Skips where one may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(num_bytes: int) -> Path:
        options = f"size={num_bytes}" + (",remount" if os.path.ismount(folder) else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system may be mounted here")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)
