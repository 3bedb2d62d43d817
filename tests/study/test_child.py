"""A training in a process of its own: what it says, how it ends, and that it does not outlive who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from simpo.errors import Interrupted, RunFailed
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder
from simpo.study.child import train_in_child
from tests.study.conftest import Bench


@pytest.fixture
def recipe(bench: Bench) -> Path:
    """A recipe of many steps, as a file."""
    path = bench.folder / "long.yaml"
    loaded = bench.recipe(output=str(bench.folder / "run"), train={"epochs": 2000.0, "save_every": 50})
    path.write_text(loaded.to_yaml(), encoding="utf-8")
    return path


def test_its_own_words_come_back_where_it_fails(bench: Bench) -> None:
    path = bench.folder / "bad.yaml"
    path.write_text("output: x\nmodel: {name: nowhere}\ndata: {train: gone.jsonl}\n", encoding="utf-8")
    with pytest.raises(RunFailed, match="no such file") as error:
        train_in_child(path)
    assert error.value.where == "gone.jsonl"


def test_a_signal_to_us_lets_it_save_its_state(bench: Bench, recipe: Path) -> None:
    asked = threading.Event()

    def stop_once(event: dict[str, object]) -> None:
        if event["event"] == "step" and not asked.is_set():
            asked.set()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="what was trained is saved"):
        train_in_child(recipe, listen=stop_once)
    run = RunFolder(bench.folder / "run")
    assert run.lineage()["status"] == "interrupted"
    assert list(run.checkpoints.glob("step-*"))


def test_a_killed_one_is_told_by_its_signal(bench: Bench, recipe: Path) -> None:
    def kill(event: dict[str, object]) -> None:
        if event["event"] == "step":
            children = psutil.Process().children()
            (trainer,) = [child for child in children if "simpo.study.child" in child.cmdline()]
            trainer.kill()

    with pytest.raises(RunFailed, match=r"killed by SIGKILL \(out of memory\?\)"):
        train_in_child(recipe, listen=kill)


def test_it_saves_and_stops_when_its_starter_is_killed(bench: Bench, recipe: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom simpo.study.child import train_in_child\n"
            "train_in_child(Path(sys.argv[1]), listen=lambda e: print(e['event'], flush=True))",
            str(recipe),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        for line in starter.stdout:
            if line.strip() == "step":
                break
        starter.kill()
    # A second training of the run waits for the first to save and let go, and goes on from there.
    seen: list[int] = []

    def until_resumed(event: dict[str, int]) -> None:
        if event["event"] == "step":
            seen.append(event["step"])
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_in_child(recipe, listen=until_resumed)
    steps = [
        event["step"]
        for event in read_events(bench.folder / "run" / "events.jsonl")
        if event["event"] == "step"
    ]
    assert steps == list(range(1, steps[-1] + 1))
    assert seen[0] > 1
