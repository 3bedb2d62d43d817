"""The order of a sweep by hand: what is tried next, from what is known so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simpo.study.sweep.rows import Row, choose
from simpo.study.sweep.space import Sweep, load_sweep, name_of
from simpo.study.sweep.strategy import make_plan
from tests.study.test_sweep_space import written

PROMPTS = list(range(10))
SECTION = {"train.lr": [1e-7, 1e-6], "method.gamma": [0.0, 0.5, 1.0], "method.beta": [2.0, 10.0]}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """The recipe has lr 1e-6, gamma 0.5, beta 2."""
    return load_sweep(written(tmp_path, SECTION))


def row(lr: float, gamma: float, beta: float, wins: str, drift: float = 0.1, status: Any = "done") -> Row:
    settings = {"train.lr": lr, "method.gamma": gamma, "method.beta": beta}
    share = sum({"1": 1.0, "h": 0.5, "0": 0.0}[letter] for letter in wins) / len(wins)
    accuracy = {"value": share, "low": 0.0, "high": 1.0}
    return Row(name_of(settings), settings, status, accuracy, wins, drift=drift, beta=beta)


def test_a_staged_sweep_tries_learning_rates_first_then_gamma_then_beta(sweep: Sweep) -> None:
    rows: list[Row] = []
    plan = make_plan(sweep, rows, PROMPTS)
    assert list(plan.settings) == ["lr-1e-07_gamma-0.5_beta-2", "lr-1e-06_gamma-0.5_beta-2"]
    assert [stage.key for stage in plan.stages] == ["train.lr"] and not plan.complete

    rows.append(row(1e-7, 0.5, 2.0, "1111111000"))
    assert list(make_plan(sweep, rows, PROMPTS).settings) == list(plan.settings), "the stage is not finished"

    rows.append(row(1e-6, 0.5, 2.0, "0000011000"))
    plan = make_plan(sweep, rows, PROMPTS)
    # The better learning rate goes on; gamma 0.5 with it was tried already.
    assert list(plan.settings)[2:] == ["lr-1e-07_gamma-0_beta-2", "lr-1e-07_gamma-1_beta-2"]
    assert plan.stages[0].choice is not None and plan.stages[0].choice.chosen is rows[0]
    assert plan.stages[1].trials == (
        "lr-1e-07_gamma-0_beta-2",
        "lr-1e-07_gamma-0.5_beta-2",
        "lr-1e-07_gamma-1_beta-2",
    )

    rows += [row(1e-7, 0.0, 2.0, "1100000000"), row(1e-7, 1.0, 2.0, "1111111111")]
    plan = make_plan(sweep, rows, PROMPTS)
    assert list(plan.settings)[4:] == ["lr-1e-07_gamma-1_beta-10"] and not plan.complete

    rows.append(row(1e-7, 1.0, 10.0, "1111111110"))
    plan = make_plan(sweep, rows, PROMPTS)
    assert plan.complete and len(plan.settings) == 5
    # 10 of 10 against 9 of 10: within one standard error (0.1), equal drift, so the larger beta.
    final = choose([each for each in rows if each.name in plan.settings], PROMPTS)
    assert final is not None and final.chosen.settings["method.beta"] == 10.0


def test_a_stage_starts_from_the_best_so_far_even_if_an_earlier_stage_had_it(sweep: Sweep) -> None:
    rows = [row(1e-7, 0.5, 2.0, "1111111111"), row(1e-6, 0.5, 2.0, "0000000000")]
    rows += [row(1e-7, gamma, 2.0, "0000000000") for gamma in (0.0, 1.0)]
    assert list(make_plan(sweep, rows, PROMPTS).settings)[-1] == "lr-1e-07_gamma-0.5_beta-10"


def test_a_collapsed_trial_loses_however_good_it_looked(sweep: Sweep) -> None:
    rows = [
        row(1e-7, 0.5, 2.0, "1000000000"),
        row(1e-6, 0.5, 2.0, "1111111111", status="collapsed"),
    ]
    plan = make_plan(sweep, rows, PROMPTS)
    assert list(plan.settings)[2:] == ["lr-1e-07_gamma-0_beta-2", "lr-1e-07_gamma-1_beta-2"]


def test_where_every_trial_of_the_first_stage_is_lost_the_sweep_ends(sweep: Sweep) -> None:
    rows = [
        row(lr, 0.5, 2.0, "1111111111", status=status)
        for lr, status in ((1e-7, "collapsed"), (1e-6, "pruned"))
    ]
    plan = make_plan(sweep, rows, PROMPTS)
    assert plan.complete and len(plan.settings) == 2 and plan.stages[0].choice is None
    assert choose(rows, PROMPTS) is None


def test_a_grid_is_every_combination_from_the_start(tmp_path: Path) -> None:
    plan = make_plan(load_sweep(written(tmp_path, {**SECTION, "strategy": "grid"})), [], PROMPTS)
    assert plan.complete and len(plan.settings) == 12 and plan.stages == ()
    assert list(plan.settings)[:3] == [
        "lr-1e-07_gamma-0_beta-2",
        "lr-1e-07_gamma-0_beta-10",
        "lr-1e-07_gamma-0.5_beta-2",
    ]


def test_the_choice_says_in_words_why(sweep: Sweep) -> None:
    near, top = row(1e-7, 0.5, 2.0, "1111111110", drift=0.02), row(1e-6, 0.5, 2.0, "1111111111", drift=0.4)
    choice = choose([top, near], PROMPTS)
    assert choice is not None and choice.chosen is near and choice.best_accuracy == top.name
    assert choice.why == (
        "within one standard error of the best accuracy (90.0% against 100.0%), and of the 2 settings that tie the one "
        "that changed the model least (0.020 nats per token)"
    )
    assert choice.runner_up is top and choice.runner_up_why == "it ties with the best (100.0%)"
    assert choice.difference is not None and choice.difference["value"] == pytest.approx(-0.1)
    alone = choose([top, row(1e-7, 0.5, 2.0, "0000000000")], PROMPTS)
    assert alone is not None and alone.why == "the best accuracy, 100.0%, by more than one standard error"
    assert alone.runner_up_why == "the next best accuracy, 0.0%"
