"""Wall clocks that jump by years: nothing that a run does or reports of durations rests on one."""

from __future__ import annotations

from tests.equivalence.test_resume import assert_same_run
from tests.train.driver import Driver
from tests.train.made_up import Trained, Workshop


def test_a_run_whose_clock_jumps_is_the_run_without(workshop: Workshop, driver: Driver) -> None:
    """Interrupted at step 3 and gone on with, the clock set anew at every look."""
    straight = workshop.train("straight")
    recipe = workshop.folder / "jumps.yaml"
    recipe.write_text(workshop.recipe("jumps").to_yaml(), encoding="utf-8")
    driver.start(recipe, signals=[("step", 3, [2])], fault={"kind": "clock", "seed": 1})
    assert driver.wait() == 130
    run = workshop.folder / "jumps"
    driver.start(resume=run, fault={"kind": "clock", "seed": 2})
    assert driver.wait() == 0
    jumped = Trained(run)
    assert_same_run(straight, jumped)
    times = [event["time"] for event in jumped.events()]
    assert max(times) - min(times) > 365 * 86400, "the clock has not jumped"
    told = [event["seconds"] for event in jumped.events() if "seconds" in event]
    assert told and all(0 <= seconds < 60 for seconds in told)
    prepared = [event["prepare_seconds"] for event in jumped.events("ready")]
    assert len(prepared) == 2 and all(0 < seconds < 60 for seconds in prepared)
