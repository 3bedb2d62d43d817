"""What tests of faults share: runs that were stopped on the way, damage, and how long the suite may take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import CheckFailed, Interrupted
from simpo.runs.checkpoint import verify
from tests.equivalence.test_resume import at
from tests.train.made_up import Trained, Workshop

# The long form takes some minutes and is meant for who changes what is written, and in which order.
LONG = os.environ.get("SIMPO_FAULTS") == "long"


def files_of(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def interrupted(workshop: Workshop, name: str, step: int, **sections: Any) -> Trained:
    with pytest.raises(Interrupted):
        workshop.train(name, at("step", step), **sections)
    return Trained(workshop.folder / name)


def damage(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest_whole(run: Path) -> int:
    """The step of the newest checkpoint that verifies, one that was being replaced counted in; 0 without any."""
    steps = [0]
    for path in run.glob("checkpoints/*step-*"):
        prefix, _, step = path.name.rpartition("step-")
        if prefix not in ("", ".replaced-"):
            continue
        try:
            verify(path)
        except CheckFailed:
            continue
        steps.append(int(step))
    return max(steps)
