"""When a run evaluates, saves and ends, asked of the plan alone: twelve rows, four a step, three steps an epoch."""

from __future__ import annotations

from typing import Any

import pytest

from simpo.data.batches import BatchOrder
from simpo.recipe import TrainRecipe
from simpo.train.schedule import Schedule
from simpo.train.state import LoopState


def plan(**settings: Any) -> Schedule:
    return Schedule(TrainRecipe(batch_size=4, **settings), BatchOrder(12, 4, seed=0))


def at(step: int, **fields: Any) -> LoopState:
    return LoopState(step=step, **{"evaluated_step": step, **fields})


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 2.0}, [0, 3, 6]),
        ({"epochs": 2.0, "evaluate_every": 2}, [0, 2, 3, 4, 6]),
        ({"epochs": 1.5}, [0, 3, 4]),
        ({"epochs": 2.0, "max_steps": 5}, [0, 3, 5]),
    ],
    ids=["epochs", "every second step", "half an epoch", "max_steps"],
)
def test_a_plan_evaluates_at_both_ends_at_epochs_and_every_k_steps(
    settings: dict[str, Any], steps: list[int]
) -> None:
    schedule = plan(**settings)
    assert [step for step in range(schedule.num_steps + 1) if schedule.evaluates_at(step)] == steps


def test_an_evaluation_that_was_done_before_the_process_died_is_not_done_again() -> None:
    schedule = plan()
    assert schedule.evaluation_due(at(3, evaluated_step=0))
    assert not schedule.evaluation_due(at(3))


def test_a_save_comes_every_k_steps_but_where_an_evaluation_saves() -> None:
    schedule = plan(epochs=2.0, save_every=2, evaluate_every=4)
    assert [step for step in range(7) if schedule.save_due(at(step))] == [2]
    assert not any(plan().save_due(at(step)) for step in range(4))


def test_a_run_is_finished_once_its_last_step_is_evaluated() -> None:
    schedule = plan()
    assert [schedule.finished(at(step)) for step in range(4)] == [False, False, False, True]
    assert not schedule.finished(at(3, evaluated_step=2)), "the last step is taken, its evaluation to come"


def test_a_run_is_finished_when_patience_is_at_its_end() -> None:
    schedule = plan(epochs=2.0, patience=2)
    assert not schedule.finished(at(3, evaluations_without_gain=1))
    assert schedule.finished(at(3, evaluations_without_gain=2))


@pytest.mark.parametrize(
    ("settings", "step", "reason"),
    [
        ({}, 3, "done"),
        ({"max_steps": 2}, 2, "max_steps"),
        ({"max_steps": 9}, 3, "done"),
        ({"patience": 1}, 2, "early_stop"),
    ],
)
def test_the_reason_names_what_ended_the_run(settings: dict[str, Any], step: int, reason: str) -> None:
    assert plan(**settings).reason(at(step)) == reason


def test_an_epoch_is_whole_where_one_ends_though_a_third_is_no_binary_fraction() -> None:
    assert [plan().epoch(step) for step in (0, 1, 3, 6)] == [0.0, 0.3333, 1.0, 2.0]
