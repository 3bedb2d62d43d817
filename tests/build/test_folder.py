"""A version is whole under its name, or there is nothing under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simpo.build.recipe import load_build
from simpo.build.run import build
from simpo.data.version import check_version
from simpo.errors import DataError, RecipeError, RunFailed
from tests.build.made import built, pair, pairs, write_rows
from tests.runs.limits import file_limit


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("many") / "pairs.jsonl", pairs(400))


def test_nothing_is_written_over_and_nothing_is_left_where_a_build_fails(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    built(out, many)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(RecipeError, match="exists already"):
        built(out, many)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    bad = write_rows(tmp_path / "bad.jsonl", ["not json", {"prompt": "p", "chosen": "a", "rejected": "a"}])
    with pytest.raises(DataError, match="no row gives a pair"):
        built(tmp_path / "w", bad)
    with pytest.raises(DataError, match="no pair is left to train on"):
        built(tmp_path / "w", write_rows(tmp_path / "one.jsonl", [pair(1)]), split__test=0.94)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "one.jsonl", "v"]
    (tmp_path / "empty").mkdir()
    assert built(tmp_path / "empty", many).manifest.splits["train"].rows > 0


KILLED = """
import os, signal, sys
import simpo.build.run as run
from simpo.build.recipe import load_build
stage, out, file = sys.argv[1:]
inner = getattr(run, stage)
def killed(*args, **kwargs):
    inner(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(run, stage, killed)
run.build(load_build(None, {"output": out, "data.files": [file]}).recipe)
"""


@pytest.mark.parametrize("stage", ["_make", "_write", "write_papers"])
def test_a_build_killed_on_the_way_leaves_nothing_under_the_name_and_the_next_one_sweeps(
    stage: str, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v"
    done = subprocess.run([sys.executable, "-c", KILLED, stage, str(out), str(many)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = os.listdir(tmp_path)
    assert len(left) == 1 and left[0].startswith(".v.")
    (tmp_path / ".v.77-notes").mkdir()  # without a lock it is somebody else's
    version = built(out, many)
    assert sorted(os.listdir(tmp_path)) == [".v.77-notes", "v"] and check_version(version) == []


@pytest.mark.parametrize(("num_bytes", "fix"), [(20_000, "TMPDIR"), (120_000, "build again")])
def test_a_full_disk_leaves_nothing_and_says_what_to_do(
    num_bytes: int, fix: str, many: Path, tmp_path: Path
) -> None:
    """Where the audit sets texts aside, and beside the version."""
    with file_limit(num_bytes), pytest.raises(RunFailed, match="nothing half-written was kept") as caught:
        built(tmp_path / "v", many)
    assert fix in str(caught.value.fix)
    assert os.listdir(tmp_path) == []


def test_a_file_that_changes_between_the_two_readings_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", pairs(30))
    recipe = load_build(None, {"output": str(tmp_path / "v"), "data.files": [str(path)]}).recipe

    def change(stage: str) -> None:
        if stage.startswith("repairing"):
            path.write_text(path.read_text().replace("on its way", "on the way"))

    with pytest.raises(DataError, match="changed while it was read") as caught:
        build(recipe, change)
    assert caught.value.where == str(path) and os.listdir(tmp_path) == ["rows.jsonl"]
