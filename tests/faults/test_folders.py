"""Run folders that may not be written, that another process holds, or whose data has moved on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import RecipeError, RunFailed
from simpo.runs.folder import RunFolder
from simpo.train.run import resume, train
from tests.equivalence.test_resume import assert_same_run
from tests.faults.common import files_of, interrupted
from tests.runs.schema import check_run
from tests.train.driver import Driver, wait_until
from tests.train.made_up import Trained, Workshop, pair_rows, write_rows


def test_a_run_is_not_gone_on_with_on_other_data_or_another_rendering(workshop: Workshop) -> None:
    run = interrupted(workshop, "run", 2)
    train_file = workshop.folder / "train-pairs-20.jsonl"
    rows = train_file.read_text(encoding="utf-8")
    write_rows(train_file, pair_rows(21))
    before = files_of(run.path)
    with pytest.raises(RecipeError, match="the train data is no longer what this run began with"):
        resume(run.path)
    train_file.write_text(rows, encoding="utf-8")
    assert files_of(run.path) == before, "a refusal changes nothing"

    model = workshop.folder / "model-again"
    shutil.copytree(workshop.model, model)
    other = interrupted(workshop, "other", 2, model={"name": str(model)})
    template = model / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8").replace("\\n", "\\n\\n"), encoding="utf-8")
    with pytest.raises(RecipeError, match="the rendering of the train data"):
        resume(other.path)


def test_a_second_process_is_refused_while_the_first_is_at_work(workshop: Workshop) -> None:
    refusals: list[RecipeError] = []

    def intrude(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 1):
            with pytest.raises(RecipeError, match="another process is writing") as refusal:
                resume(workshop.folder / "run")
            refusals.append(refusal.value)

    run = workshop.train("run", intrude, train={"max_steps": 2})
    assert [refusal.exit_status for refusal in refusals] == [2]
    check_run(run.path)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As nobody in particular: root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_loaded(workshop: Workshop) -> None:
    sealed = workshop.folder / "sealed"
    sealed.mkdir()
    sealed.chmod(0o555)
    for output in (sealed / "run", sealed / "deep" / "run", workshop.folder / "train-pairs-20.jsonl" / "run"):
        recipe = workshop.recipe("any").recipe.model_copy(update={"output": str(output)})
        with without_privileges(), pytest.raises(RecipeError, match="cannot write here") as refusal:
            RunFolder(recipe.output).require_free()
        assert refusal.value.exit_status == 2


def test_a_run_folder_that_may_not_be_written_is_not_gone_on_with(workshop: Workshop) -> None:
    run = interrupted(workshop, "run", 2)
    folder = run.folder
    run.path.chmod(0o555)
    with without_privileges(), pytest.raises(RecipeError, match="cannot write here"), folder.locked():
        pass
    run.path.chmod(0o755)


def test_what_a_run_was_doing_when_it_broke_is_written_down(workshop: Workshop) -> None:
    def fail(run: RunFolder, prepared: Any) -> None:
        raise RunFailed("the judge gave up")

    with pytest.raises(RunFailed, match="the judge gave up"):
        train(workshop.recipe("run"), before=fail)
    run = Trained(workshop.folder / "run")
    assert run.folder.lineage()["status"] == "failed"
    resume(run.path)
    assert run.folder.lineage()["status"] == "done"
    check_run(run.path)


def test_the_lock_of_a_killed_process_is_let_go_and_the_run_goes_on(
    workshop: Workshop, driver: Driver
) -> None:
    """Killed while it held the folder: the operating system drops its lock, and no file has to be removed by hand."""
    straight = workshop.train("straight")
    recipe = workshop.folder / "run.yaml"
    recipe.write_text(workshop.recipe("run").to_yaml(), encoding="utf-8")
    run = workshop.folder / "run"
    driver.start(recipe, signals=[("step", 3, [signal.SIGSTOP])])
    pid = driver.pid
    wait_until(lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text())
    with pytest.raises(RecipeError, match="another process is writing"):
        resume(run)
    os.kill(pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert (run / ".lock").exists() and RunFolder(run).lineage()["status"] == "running"
    resume(run)
    assert_same_run(straight, Trained(run))


@pytest.mark.parametrize("number", [20, 60])
def test_a_folder_that_becomes_read_only_on_the_way_ends_the_run_with_status_5(
    number: int, workshop: Workshop, driver: Driver
) -> None:
    """As a network drive that lost its connection: from some change on, every write is refused."""
    straight = workshop.train("straight")
    recipe = workshop.folder / "run.yaml"
    recipe.write_text(workshop.recipe("run").to_yaml(), encoding="utf-8")
    run = workshop.folder / "run"
    driver.start(recipe, fault={"kind": "read-only", "folder": str(run), "number": number})
    assert driver.wait() == 5
    assert "cannot write: Read-only file system" in driver.message()
    resume(run)
    assert_same_run(straight, Trained(run))
