"""What is compared with what: methods, seeds, names and budgets, and the refusals that keep a comparison fair."""

from __future__ import annotations

from typing import Any

import pytest

from simpo.errors import RecipeError
from simpo.runs.folder import RunFolder
from simpo.study.compare.plan import Given, make_plan, read_held_out, settings_of
from tests.study.conftest import Bench


def test_each_recipe_is_a_method_with_a_run_for_each_seed(bench: Bench) -> None:
    plan = bench.plan(seeds=(0, 7))
    assert [(one.id, one.label, one.source) for one in plan.contenders] == [
        ("simpo", "SimPO", "simpo.yaml"), ("dpo", "DPO", "dpo.yaml")
    ]  # fmt: skip
    runs = [run for one in plan.contenders for run in one.runs]
    assert [run.name for run in runs] == ["simpo-seed0", "simpo-seed7", "dpo-seed0", "dpo-seed7"]
    assert [run.recipe.train.seed for run in runs] == [0, 7, 0, 7]
    assert runs[1].folder == bench.folder / "out" / "runs" / "simpo-seed7"
    assert settings_of(runs[0].recipe) == settings_of(runs[1].recipe)
    assert len(read_held_out(plan).rows) == 12


def test_one_method_at_two_settings_is_told_apart_by_its_files(bench: Bench) -> None:
    plan = bench.plan(
        ("a/soft.yaml", bench.recipe(method={"gamma": 0.1})),
        ("hard.yaml", bench.recipe(method={"gamma": 1.0})),
        ("b/soft.yml", bench.recipe(method={"gamma": 0.2})),
    )
    assert [one.id for one in plan.contenders] == ["soft", "hard", "soft-2"]
    assert [one.label for one in plan.contenders] == ["SimPO (soft)", "SimPO (hard)", "SimPO (soft-2)"]
    assert [one.source for one in plan.contenders] == ["a/soft.yaml", "hard.yaml", "b/soft.yml"]


def test_runs_that_differ_in_their_seed_alone_are_one_method(bench: Bench) -> None:
    plan = bench.plan(seeds=(0, 1))
    bench.train(plan)
    folders = [run.folder for one in plan.contenders for run in one.runs]
    again = make_plan([Given(str(path), run=path) for path in folders], bench.folder / "again")
    assert [(one.id, [run.seed for run in one.runs]) for one in again.contenders] == [
        ("simpo", [0, 1]), ("dpo", [0, 1])
    ]  # fmt: skip
    assert all(run.loaded is None for one in again.contenders for run in one.runs)


def test_one_seed_is_told_plainly(bench: Bench) -> None:
    assert any("One seed only (SimPO, DPO)" in warning for warning in bench.plan().warnings)
    assert not any("seed" in warning for warning in bench.plan(seeds=(0, 1)).warnings)


def test_all_are_measured_as_the_first_recipe_says_and_that_is_told(bench: Bench) -> None:
    other = bench.recipe(method={"name": "dpo"}, evaluate={"generate": 2})
    plan = bench.plan(("simpo.yaml", bench.recipe()), ("dpo.yaml", other))
    assert plan.settings.generate == 4
    assert "the evaluate section of DPO differs." in " ".join(plan.warnings)


def test_a_budget_of_pairs_follows_the_first_recipe(bench: Bench) -> None:
    longer = bench.recipe(method={"name": "dpo"}, train={"epochs": 3.0})
    plan = bench.plan(("simpo.yaml", bench.recipe(train={"max_steps": 3})), ("dpo.yaml", longer))
    first, second = (one.recipe for one in plan.contenders)
    assert (first.train.epochs, first.train.max_steps) == (1.0, 3)  # the first is left as it is
    assert second.train.epochs == 12 / 16  # three steps of four pairs, of sixteen
    given = bench.plan(("simpo.yaml", bench.recipe()), ("dpo.yaml", longer), equal="as-given")
    assert given.contenders[1].recipe.train.epochs == 3.0


def test_a_budget_of_tokens_counts_what_is_read(bench: Bench) -> None:
    short = bench.write(
        "short.jsonl", [{"prompt": f"p {n}", "chosen": "yes", "rejected": "no"} for n in range(16)]
    )
    other = bench.recipe(method={"name": "dpo"}, data={"train": short})
    recipes = (("simpo.yaml", bench.recipe()), ("dpo.yaml", other))
    by_pairs, by_tokens = bench.plan(*recipes), bench.plan(*recipes, equal="tokens")
    assert by_pairs.contenders[1].recipe.train.epochs == 1.0
    assert by_tokens.contenders[1].recipe.train.epochs > 2.0  # short pairs: more of them for as many tokens


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"name": "elsewhere"}}, "starts from elsewhere"),
        ({"data": {"test": "other.jsonl"}}, "data.test differs"),
        ({"data": {"limit_test": 3}}, "data.limit_test differs"),
        ({"method": {"name": "sft"}}, "no reward"),
    ],
)
def test_what_cannot_be_compared_is_refused(bench: Bench, sections: dict[str, Any], message: str) -> None:
    other = bench.recipe(**{"method": {"name": "dpo"}, **sections})
    with pytest.raises(RecipeError, match=message):
        bench.plan(("simpo.yaml", bench.recipe()), ("dpo.yaml", other))


def test_one_method_alone_is_no_comparison(bench: Bench) -> None:
    with pytest.raises(RecipeError, match="two methods"):
        bench.plan(("simpo.yaml", bench.recipe()))


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_different_numbers(bench: Bench, seeds: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match="different numbers"):
        bench.plan(seeds=seeds)


def test_several_seeds_may_not_hold_out_different_pairs(bench: Bench) -> None:
    split = {"test": None, "validation_fraction": 0.25}
    recipes = [(f"{name}.yaml", bench.recipe(method={"name": name}, data=split)) for name in ("simpo", "dpo")]
    with pytest.raises(RecipeError, match="each seed would hold out other pairs"):
        bench.plan(*recipes, seeds=(0, 1))
    alone = bench.plan(*recipes)
    assert 0 < len(read_held_out(alone).rows) < 16
    named = bench.plan(*recipes, seeds=(0, 1), data=(str(bench.folder / "test.jsonl"),))
    assert len(read_held_out(named).rows) == 12


def test_without_held_out_pairs_there_is_nothing_to_compare_on(bench: Bench) -> None:
    none = {"test": None, "validation_fraction": 0.0}
    plan = bench.plan(
        *[(f"{name}.yaml", bench.recipe(method={"name": name}, data=none)) for name in ("simpo", "dpo")]
    )
    with pytest.raises(RecipeError, match="no held-out pairs"):
        read_held_out(plan)


def test_runs_from_different_models_are_told_apart_by_what_the_models_are(bench: Bench) -> None:
    plan = bench.plan()
    bench.train(plan)
    folders = [run.folder for one in plan.contenders for run in one.runs]
    given = [Given(str(path), run=path) for path in folders]
    assert len(make_plan(given, bench.folder / "again").contenders) == 2
    run = RunFolder(folders[1])
    run.update_lineage(model={**run.lineage()["model"], "hash": "another"})
    with pytest.raises(RecipeError, match="from another model"):
        make_plan(given, bench.folder / "again")
