"""A disk that fills up, at any write: told in words, nothing half-written, and the run goes on once there is room."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import RunFailed
from simpo.runs.checkpoint import verify
from simpo.runs.events import EventLog
from simpo.train.run import resume, train
from tests.equivalence.test_resume import assert_same_run
from tests.faults.common import LONG, newest_whole
from tests.runs.limits import file_limit
from tests.runs.schema import check_run
from tests.train.driver import Driver
from tests.train.made_up import Trained, Workshop


def test_a_disk_that_fills_up_while_saving_leaves_the_checkpoint_before_it(workshop: Workshop) -> None:
    """model.safetensors (126 kB) still fits, the optimizer's tensors (252 kB) do not."""
    straight = workshop.train("straight")
    limits = []

    def fill_up(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 3):
            limit = file_limit(200_000)
            limit.__enter__()
            limits.append(limit)

    with pytest.raises(RunFailed, match="the file is larger than is allowed here") as failure:
        try:
            workshop.train("full", fill_up)
        finally:
            limits[0].__exit__(None, None, None)
    assert failure.value.exit_status == 5 and "simpo train --resume" in str(failure.value.fix)
    full = Trained(workshop.folder / "full")
    assert full.checkpoints() == ["best.json", "step-000002"]
    verify(full.folder.checkpoints / "step-000002")
    assert full.folder.lineage()["status"] == "failed"
    assert "larger than is allowed" in full.events("failed")[0]["message"]
    check_run(full.path)
    resume(full.path)
    assert_same_run(straight, full)


def test_a_disk_that_is_full_is_told_and_the_run_goes_on_once_there_is_space(
    workshop: Workshop, small_disk: Callable[[int], Path]
) -> None:
    """A checkpoint has 404 kB: the first fits on a disk of 700 kB, the second beside it does not."""
    straight = workshop.train("straight")
    output = str(small_disk(700_000) / "full")
    recipe = workshop.recipe("any")
    moved = type(recipe)(recipe.recipe.model_copy(update={"output": output}), recipe.origins)
    with pytest.raises(RunFailed, match="the disk is full") as failure:
        train(moved)
    assert failure.value.exit_status == 5
    full = Trained(Path(output))
    assert full.checkpoints() == ["best.json", "step-000002"]
    assert full.folder.lineage()["status"] == "failed"
    small_disk(4_000_000)
    resume(full.path)
    assert_same_run(straight, full)


def test_a_disk_without_room_for_one_more_line_keeps_the_story_whole(
    workshop: Workshop, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64_000)
    log = EventLog(disk / "events.jsonl")
    with pytest.raises(RunFailed, match="the disk is full"):
        for number in range(10_000):
            log.append("note", step=number, message="x" * 500)
    text = (disk / "events.jsonl").read_text(encoding="utf-8")
    assert text.endswith("}\n") and len(text) > 30_000


def _written(workshop: Workshop, name: str, output: Path | None = None) -> tuple[Path, Path]:
    """A recipe as a file and the run folder it names."""
    loaded = workshop.recipe(name)
    run = output or workshop.folder / name
    moved = type(loaded)(loaded.recipe.model_copy(update={"output": str(run)}), loaded.origins)
    path = workshop.folder / f"{name}.yaml"
    path.write_text(moved.to_yaml(), encoding="utf-8")
    return path, run


def test_a_disk_that_is_full_from_any_change_to_a_file_on_ends_with_status_5_and_nothing_is_lost(
    workshop: Workshop, driver: Driver
) -> None:
    """From each change on in turn in the long form; else from four of them. A refusal may last or be for once."""
    straight = workshop.train("straight")
    recipe, run = _written(workshop, "counted")
    count = workshop.folder / "count"
    driver.start(recipe, fault={"kind": "count", "folder": str(run), "file": str(count)})
    assert driver.wait() == 0
    changes, chance = json.loads(count.read_text())[0], random.Random("full disks")
    told = 0
    for number in range(1, changes + 1) if LONG else chance.sample(range(1, changes + 1), 4):
        recipe, run = _written(workshop, f"full-{number}")
        lasting = chance.random() < 0.5
        fault = {"kind": "full", "folder": str(run), "number": number, "lasting": lasting}
        driver.start(recipe, fault=fault)
        status = driver.wait()
        # A removal that is refused, or a folder that is only swept, may be passed over; nothing else may.
        assert status in (0, 5), (number, lasting, status, driver.message())
        if status == 5:
            told += 1
            assert "the disk is full" in driver.message()
            leftovers = [path.name for path in workshop.folder.glob(f".{run.name}.*")]
            assert run.exists() or leftovers == []
            saved = [event["step"] for event in Trained(run).events("checkpoint")] if run.exists() else []
            assert newest_whole(run) >= max(saved, default=0)
            driver.go_on(recipe, run)
            assert driver.wait() == 0, driver.message()
        assert_same_run(straight, Trained(run))
    assert told > 0
    print(f"{told} refusals told, of {changes} changes in a run")


def test_a_disk_of_any_size_takes_what_it_can_and_the_run_goes_on_on_a_larger_one(
    workshop: Workshop, driver: Driver, small_disk: Callable[[int], Path]
) -> None:
    """Bytes that run out within a file of weights too: at every 16 KiB up to what a run takes, or at four sizes."""
    straight = workshop.train("straight")
    sizes = range(16_384, 1_000_000, 16_384)
    told = 0
    for size in sizes if LONG else random.Random("sizes").sample(sizes, 4):
        recipe, run = _written(workshop, f"size-{size}", small_disk(4_000_000) / f"run-{size}")
        small_disk(size)
        driver.start(recipe)
        status = driver.wait()
        assert status in (0, 5), (size, driver.message())
        if status == 5:
            told += 1
            assert "the disk is full" in driver.message()
        small_disk(4_000_000)
        if status == 5:
            driver.go_on(recipe, run)
            assert driver.wait() == 0, driver.message()
        assert_same_run(straight, Trained(run))
        shutil.rmtree(run)
    assert told > 0
    print(f"{told} of the sizes were too small")
