"""SIGINT and SIGTERM in processes of their own: the state is saved, the status is 130, and nothing is half-written."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import Interrupted
from simpo.runs.folder import RunFolder
from simpo.train.run import resume, train
from simpo.train.signals import stop_on_signals
from tests.equivalence.test_resume import assert_same_run, at
from tests.runs.schema import check_run
from tests.train.driver import Driver
from tests.train.made_up import Trained, Workshop


def written(workshop: Workshop, name: str, **sections: Any) -> Path:
    """The recipe of a run as a file, for another process."""
    path = workshop.folder / f"{name}.yaml"
    path.write_text(workshop.recipe(name, **sections).to_yaml(), encoding="utf-8")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_with_the_state_saved(
    number: signal.Signals, workshop: Workshop, driver: Driver
) -> None:
    straight = workshop.train("straight")
    driver.start(written(workshop, "run"), signals=[("step", 5, [number])])
    assert driver.wait() == 130
    run = Trained(workshop.folder / "run")
    assert "interrupted at step 5 of 6; the state is saved" in driver.message()
    assert f"simpo train --resume {run.path}" in driver.message()
    assert run.folder.lineage()["status"] == "interrupted"
    assert "step-000005" in run.checkpoints()
    check_run(run.path)
    driver.start(resume=run.path)
    assert driver.wait() == 0
    assert_same_run(straight, run)


def test_a_second_signal_ends_the_run_at_once_and_the_checkpoint_before_it_serves(
    workshop: Workshop, driver: Driver
) -> None:
    straight = workshop.train("straight")
    driver.start(written(workshop, "run"), signals=[("step", 5, [signal.SIGINT, signal.SIGINT])])
    assert driver.wait() == 130
    run = Trained(workshop.folder / "run")
    assert "step-000005" not in run.checkpoints()
    assert run.folder.lineage()["status"] == "interrupted"
    driver.start(resume=run.path)
    assert driver.wait() == 0
    assert_same_run(straight, run)


def test_a_run_in_another_process_is_refused_with_status_2(workshop: Workshop, driver: Driver) -> None:
    statuses = []

    def intrude(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 1):
            driver.start(resume=workshop.folder / "run")
            statuses.append(driver.wait())

    workshop.train("run", intrude, train={"max_steps": 2})
    assert statuses == [2]
    assert "another process is writing to this run folder" in driver.message()


def test_a_signal_where_there_is_no_step_to_wait_for_ends_at_once(workshop: Workshop) -> None:
    def press(run: RunFolder, prepared: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the run went on")

    with pytest.raises(KeyboardInterrupt):
        train(workshop.recipe("run"), before=press)
    run = Trained(workshop.folder / "run")
    assert run.folder.lineage()["status"] == "interrupted"
    resume(run.path)
    check_run(run.path)


def test_scoring_a_reference_can_be_interrupted_and_keeps_every_checkpoint(workshop: Workshop) -> None:
    """On resuming, the policy still has the starting weights while the reference is scored: they are not saved."""
    sections: dict[str, Any] = {"method": {"name": "dpo"}, "evaluate": {"batch_size": 1}}
    straight = workshop.train("straight", **sections)

    def press(what: str, done: int, total: int) -> None:
        if what == "scoring with the reference" and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        workshop.train("run", at("step", 4), **sections)
    run = Trained(workshop.folder / "run")
    saved = run.checkpoints()
    for entry in (Path(os.environ["SIMPO_CACHE"]) / "reference").iterdir():
        entry.unlink()
    with pytest.raises(Interrupted, match="at step 4 of 6"):
        resume(run.path, progress=press)
    assert run.checkpoints() == saved
    resume(run.path)
    assert_same_run(straight, run)


def test_handlers_are_put_back_as_they_were() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with stop_on_signals() as stop:
        installed: list[Any] = [signal.getsignal(number) for number in before]
        assert installed == [stop, stop]
        stop.patient = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before
