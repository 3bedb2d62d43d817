"""{straight, interrupted and resumed, killed and resumed} are one trajectory, bit for bit on a CPU."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.errors import Interrupted
from simpo.train.run import resume
from tests.runs.schema import check_run
from tests.train.driver import Driver, wait_until
from tests.train.made_up import Trained, Workshop

KINDS: dict[str, dict[str, Any]] = {
    "full": {"train": {"save_every": 1}},
    # Dropout draws from the random state at every step: it must go on where it stood.
    "lora": {"train": {"save_every": 1}, "adapter": {"type": "lora", "r": 4, "dropout": 0.3}},
    "dpo": {
        "train": {"save_every": 1},
        "adapter": {"type": "lora", "r": 4, "dropout": 0.3},
        "method": {"name": "dpo", "reference": "adapter_off"},
    },
    "sft": {"train": {"save_every": 1, "weight_decay": 0.1}, "method": {"name": "sft"}},
}


def assert_same_run(one: Trained, other: Trained) -> None:
    """Every figure of every step and evaluation, and every bit of the final weights."""
    assert one.trajectory() == other.trajectory()
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    check_run(other.path)


def at(kind: str, step: int) -> Any:
    """A listener that presses Ctrl-C at an event."""

    def listen(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == (kind, step):
            os.kill(os.getpid(), signal.SIGINT)

    return listen


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_interrupted_between_steps_and_resumed_is_the_run_without_interruption(
    kind: str, workshop: Workshop
) -> None:
    straight = workshop.train("straight", **KINDS[kind])
    for step in (1, 3, 5) if kind in ("full", "lora") else (3,):
        name = f"interrupted-{step}"
        with pytest.raises(Interrupted, match=f"at step {step} of 6") as stopped:
            workshop.train(name, at("step", step), **KINDS[kind])
        assert stopped.value.exit_status == 130
        interrupted = Trained(workshop.folder / name)
        assert interrupted.folder.lineage()["status"] == "interrupted"
        check_run(interrupted.path)
        resume(interrupted.path)
        assert_same_run(straight, interrupted)


def test_a_run_interrupted_at_every_step_in_turn_is_the_run_without_interruption(workshop: Workshop) -> None:
    straight = workshop.train("straight", **KINDS["lora"])
    with pytest.raises(Interrupted):
        workshop.train("torn", at("step", 1), **KINDS["lora"])
    torn = Trained(workshop.folder / "torn")
    for step in range(2, 7):
        with pytest.raises(Interrupted):
            resume(torn.path, listen=at("step", step))
    resume(torn.path)
    assert_same_run(straight, torn)


def test_a_run_interrupted_before_its_first_step_begins_anew_in_its_folder(workshop: Workshop) -> None:
    straight = workshop.train("straight")
    with pytest.raises(Interrupted, match="at step 0 of 6"):
        workshop.train("early", at("start", 0))
    early = Trained(workshop.folder / "early")
    assert early.checkpoints() == []
    resume(early.path)
    assert_same_run(straight, early)
    assert [event["event"] for event in early.events()].count("start") == 1


def test_an_evaluation_that_was_interrupted_is_taken_again(workshop: Workshop) -> None:
    straight = workshop.train("straight", evaluate={"batch_size": 1})
    seen: list[int] = []

    def press_in_the_third_evaluation(what: str, done: int, total: int) -> None:
        seen.append(done)
        if what == "evaluating" and done == 3 and seen.count(3) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    from simpo.train.run import train

    recipe = workshop.recipe("cut", evaluate={"batch_size": 1})
    with pytest.raises(Interrupted, match="at step 3 of 6"):
        train(recipe, progress=press_in_the_third_evaluation)
    cut = Trained(workshop.folder / "cut")
    assert [event["step"] for event in cut.events("evaluate")] == [0, 2]
    assert cut.checkpoints()[-1] == "step-000003"
    resume(cut.path)
    assert_same_run(straight, cut)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_run_killed_at_random_moments_and_resumed_is_the_run_without_interruption(
    kind: str, workshop: Workshop, driver: Driver
) -> None:
    straight = workshop.train("straight", **KINDS[kind])
    recipe = workshop.folder / "killed.yaml"
    recipe.write_text(workshop.recipe("killed", **KINDS[kind]).to_yaml(), encoding="utf-8")
    killed = workshop.folder / "killed"
    chance = random.Random(kind)
    # Four kills at some byte of the story, which is written between the saves, and four in the middle of a save.
    size = straight.folder.events_path.stat().st_size
    moments = [chance.randrange(200, size // 2) for _ in range(4)] + [None] * 4
    chance.shuffle(moments)
    statuses = []
    for moment in moments:
        statuses.append(kill_once(driver, recipe, killed, moment))
    driver.start(resume=killed)
    assert driver.wait() == 0
    assert -signal.SIGKILL in statuses  # a quick run may have come to its end before the later ones
    assert_same_run(straight, Trained(killed))


def kill_once(driver: Driver, recipe: Path, run: Path, moment: int | None) -> int:
    """Start or resume, and kill -9 when the story has `moment` bytes, or (None) while a checkpoint is being written."""
    events, start = run / "events.jsonl", 0
    if run.exists():
        start = events.stat().st_size if events.exists() else 0
        pid = driver.start(resume=run)
    else:
        pid = driver.start(recipe)

    def is_time() -> bool:
        if not _alive(pid):
            return True
        if moment is None:
            return any((run / "checkpoints").glob(".writing-*"))
        return events.exists() and events.stat().st_size > max(moment, start)

    wait_until(is_time)
    if _alive(pid):
        os.kill(pid, signal.SIGKILL)
    return driver.wait()


def _alive(pid: int) -> bool:
    """Whether the process runs: its parent asks for it as soon as it has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
