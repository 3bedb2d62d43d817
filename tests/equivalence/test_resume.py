"""{straight, interrupted and resumed} are one trajectory, bit for bit on a CPU; kills are in tests/faults."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch

from simpo.errors import Interrupted
from simpo.train.run import resume
from tests.runs.schema import check_run
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
