"""The cost table: what a trial leaves out, the three prices of a reference, and what failed is told."""

from __future__ import annotations

import itertools
import time

import pytest

from simpo.study.compare.cost import price_methods, run_costs
from simpo.study.compare.train import train_all
from tests.study.conftest import Bench, train_here


def test_a_reference_has_three_prices_and_a_trial_is_made_once(bench: Bench) -> None:
    lora = {"type": "lora", "r": 2}
    plan = bench.plan(
        ("simpo.yaml", bench.recipe(adapter=lora)),
        ("dpo.yaml", bench.recipe(adapter=lora, method={"name": "dpo"})),
    )
    told: list[str] = []
    rows, problems = price_methods(plan, steps=2, train=train_here, note=told.append)
    assert problems == []
    assert [(row["method"], row["reference"]) for row in rows] == [
        ("simpo", None), ("dpo", "precomputed"), ("dpo", "live"), ("dpo", "adapter_off")
    ]  # fmt: skip
    alone, precomputed, live, adapter_off = rows
    trained = alone["parameters_trained"]
    assert trained > 0
    assert alone["parameters_held"] == precomputed["parameters_held"] == adapter_off["parameters_held"]
    assert live["parameters_held"] == 2 * alone["parameters_held"] - trained
    for row in rows:
        assert (row["steps"], row["from"], row["prepare_pairs"]) == (2, "trial", 8)
        assert row["seconds_per_pair_low"] <= row["seconds_per_pair"] <= row["seconds_per_pair_high"]
        assert row["seconds_per_pair"] * row["pairs_per_second"] == pytest.approx(1.0)
        assert row["peak_memory_bytes"] > 0
    assert precomputed["prepare_seconds"] > adapter_off["prepare_seconds"]
    assert not list((plan.out / "cost").glob("*/checkpoints"))  # a few steps make no model
    assert price_methods(plan, steps=2, train=train_here, note=told.append)[0] == rows
    assert len(told) == 8  # twice each, and not again
    order = [line.split()[2].rstrip(",") for line in told]
    assert order[:4] == order[:3:-1]
    price_methods(plan, steps=3, train=train_here, note=told.append)
    assert len(told) == 16  # of other steps, anew


def test_no_price_rests_on_the_wall_clock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back an hour at every look: what lies between two of them would be no time at all."""
    hours = itertools.count()
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() - 3600 * next(hours))
    rows, problems = price_methods(bench.plan(), steps=2, train=train_here)
    assert problems == [] and [row["reference"] for row in rows] == [None, "precomputed", "live"]
    for row in rows:
        assert 0 < row["prepare_seconds"] < 60 and 0 < row["seconds_per_pair"] < 60


def test_a_trial_that_fails_is_told_and_the_rest_is_priced(bench: Bench) -> None:
    plan = bench.plan(
        ("simpo.yaml", bench.recipe(data={"max_length": 5})),  # no row is left
        ("ipo.yaml", bench.recipe(method={"name": "ipo"})),
        equal="as-given",
    )
    rows, problems = price_methods(plan, steps=2, train=train_here)
    assert [(row["method"], row["reference"]) for row in rows] == [("ipo", "precomputed"), ("ipo", "live")]
    (problem,) = problems
    assert problem["where"] == "cost of simpo"
    assert "no row is left" in problem["message"]


def test_runs_tell_their_own_price(bench: Bench) -> None:
    plan = bench.plan(seeds=(0, 1))
    bench.train(plan)
    facts = train_all(plan)
    rows = run_costs(plan.contenders, facts)
    assert [(row["method"], row["reference"], row["from"], row["steps"]) for row in rows] == [
        ("simpo", None, "run", 4), ("dpo", "precomputed", "run", 4)
    ]  # fmt: skip
    own = [facts[f"simpo-seed{seed}"] for seed in (0, 1)]
    assert rows[0]["seconds"] == pytest.approx(sum(fact.seconds for fact in own) / 2)
    assert all(fact.pairs == 16 for fact in own)
