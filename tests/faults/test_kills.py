"""`kill -9` at random moments, inside a checkpoint's writing too: resumed, the run is the run without interruption.

Nothing finished is lost or computed twice: a resumed process stands at the newest whole checkpoint, never before it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.equivalence.test_resume import KINDS, assert_same_run
from tests.faults.common import LONG, newest_whole
from tests.train.driver import Driver, wait_until
from tests.train.made_up import Trained, Workshop

NUM_STEPS = 6  # of a run in the workshop
NUM_KILLS = 50 if LONG else 6


@dataclass
class Killer:
    """Kills trainings: before a random change to a file, before one inside a save, and at a random moment.

    changes: what an undisturbed run makes in all, and inside saves. seconds: how long it takes.
    """

    driver: Driver
    chance: random.Random
    changes: tuple[int, int]
    seconds: float
    kills: dict[str, int] = field(default_factory=lambda: {"change": 0, "save": 0, "moment": 0})
    inside_saves: int = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def strike(self, recipe: Path, run: Path, done: float) -> int:
        """Start a run, or go on with one of which a share is done, and kill it; returns the exit status."""
        kind = min(self.kills, key=lambda way: self.kills[way])
        if kind == "moment":
            pid = self.driver.go_on(recipe, run)
            deadline = time.monotonic() + self.chance.uniform(0, self.seconds * (1 - done))
            wait_until(lambda: not _alive(pid) or time.monotonic() > deadline)
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
        else:
            left = self.changes[kind == "save"] * (1 - done)
            number = self.chance.randint(1, max(1, int(left)))
            fault = {"kind": "kill", "folder": str(run), "number": number, "saving": kind == "save"}
            self.driver.go_on(recipe, run, fault=fault)
        status = self.driver.wait()
        if status == -signal.SIGKILL:
            self.kills[kind] += 1
            self.inside_saves += any((run / "checkpoints").glob(".writing-*"))
        return status


def _alive(pid: int) -> bool:
    """Whether the process runs: its parent asks for it as soon as it has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def written(workshop: Workshop, name: str, sections: dict[str, Any]) -> Path:
    """The recipe of a run as a file, for another process."""
    path = workshop.folder / f"{name}.yaml"
    path.write_text(workshop.recipe(name, **sections).to_yaml(), encoding="utf-8")
    return path


def changes_of(driver: Driver, workshop: Workshop, sections: dict[str, Any]) -> tuple[tuple[int, int], float]:
    """How many changes to files an undisturbed run makes, in all and inside saves, and how many seconds it takes."""
    counted = workshop.folder / "count"
    started = time.monotonic()
    driver.start(
        written(workshop, "counted", sections),
        fault={"kind": "count", "folder": str(workshop.folder / "counted"), "file": str(counted)},
    )
    assert driver.wait() == 0
    total, saves = json.loads(counted.read_text())
    return (total, saves), time.monotonic() - started


def resumed_at(run: Path, earlier: int) -> list[int]:
    """The steps at which processes took the run up, as far as the story says so from that byte on."""
    events = run / "events.jsonl"
    lines = events.read_bytes()[earlier:].split(b"\n") if events.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith(b"}") and b'"resume"' in line]


def saved_steps(run: Path) -> list[int]:
    """The steps of which the story says that they were saved."""
    events = run / "events.jsonl"
    lines = events.read_bytes().split(b"\n") if events.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith(b"}") and b'"checkpoint"' in line]


@pytest.mark.parametrize("kind", KINDS if LONG else ["lora"])
def test_a_run_killed_again_and_again_is_the_run_without_interruption(
    kind: str, workshop: Workshop, driver: Driver, record_property: Callable[[str, object], None]
) -> None:
    straight = workshop.train("straight", **KINDS[kind])
    changes, seconds = changes_of(driver, workshop, KINDS[kind])
    killer = Killer(driver, random.Random(f"kills {kind}"), changes, seconds)
    runs = 0
    while killer.total < NUM_KILLS:
        runs += 1
        run = workshop.folder / f"run-{runs}"
        recipe, status = written(workshop, run.name, KINDS[kind]), -signal.SIGKILL
        while status == -signal.SIGKILL:
            stands = newest_whole(run)
            assert all(step <= stands for step in saved_steps(run)), "a checkpoint that was finished is lost"
            size = (run / "events.jsonl").stat().st_size if (run / "events.jsonl").exists() else 0
            if killer.total >= NUM_KILLS and run.exists():
                driver.start(resume=run)
                status = driver.wait()
            else:
                status = killer.strike(recipe, run, stands / NUM_STEPS)
            assert resumed_at(run, size) in ([], [stands]), "what was finished is computed again"
        assert status == 0, driver.message()
        assert_same_run(straight, Trained(run))
    record_property("kills", {**killer.kills, "inside saves": killer.inside_saves, "runs": runs})
    print(f"{kind}: {killer.kills} kills in {runs} runs, {killer.inside_saves} of them inside a save")
    assert killer.inside_saves > 0


@pytest.mark.skipif(not LONG, reason="the long form alone (SIMPO_FAULTS=long)")
def test_a_run_killed_before_each_of_its_changes_to_files_is_the_run_without_interruption(
    workshop: Workshop, driver: Driver
) -> None:
    straight = workshop.train("straight")
    (changes, _), _ = changes_of(driver, workshop, {})
    for number in range(1, changes + 1):
        run = workshop.folder / f"run-{number}"
        recipe = written(workshop, run.name, {})
        driver.start(recipe, fault={"kind": "kill", "folder": str(run), "number": number, "saving": False})
        assert driver.wait() == -signal.SIGKILL, number
        driver.go_on(recipe, run)
        assert driver.wait() == 0, (number, driver.message())
        assert_same_run(straight, Trained(run))


def test_a_finished_run_is_left_as_it_is_however_often_it_is_resumed(
    workshop: Workshop, driver: Driver
) -> None:
    run = workshop.train("run").path
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    driver.start(resume=run)
    assert driver.wait() == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
