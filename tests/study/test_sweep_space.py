"""The `sweep` section: ranges for any key, what is refused and why, and the recipe of each setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from simpo.errors import RecipeError
from simpo.study.sweep.space import Axis, Sweep, load_sweep, name_of


def written(folder: Path, section: Any = None, **sections: Any) -> Path:
    """A recipe file with a sweep section."""
    values: dict[str, Any] = {
        "output": "runs/x",
        "model": {"name": "m"},
        "data": {"train": "t.jsonl", "validation": "v.jsonl"},
        "train": {"lr": 1e-6},
        **sections,
    }
    if section is not None:
        values["sweep"] = section
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def axes_of(sweep: Sweep) -> dict[str, tuple[Any, ...]]:
    return {axis.key: axis.values for axis in sweep.axes}


def test_lists_are_choices_and_mappings_are_ranges(tmp_path: Path) -> None:
    sweep = load_sweep(
        written(
            tmp_path,
            {
                "method.beta": [2, 5, 10],
                "train": {"lr": {"low": 1e-7, "high": 1e-5, "log": True, "points": 3}},
                "method.gamma": {"low": 0, "high": 0.9},
                "train.epochs": [1, 2],
                "adapter.r": {"low": 4, "high": 64, "log": True},
            },
            adapter={"type": "lora"},
        )
    )
    assert axes_of(sweep) == {
        "train.lr": (1e-7, 1e-6, 1e-5),
        "method.gamma": (0, 0.3, 0.6, 0.9),
        "method.beta": (2, 5, 10),
        "train.epochs": (1, 2),
        "adapter.r": (4, 10, 25, 64),
    }
    assert sweep.start == {
        "train.lr": 1e-6,
        "method.gamma": 0.5,
        "method.beta": 2.0,
        "train.epochs": 1.0,
        "adapter.r": 16,
    }
    assert sweep.settings.strategy == "staged"


def test_without_a_section_the_authors_ranges_are_tried(tmp_path: Path) -> None:
    assert axes_of(load_sweep(written(tmp_path))) == {
        "train.lr": (3e-7, 1e-6, 3e-6),
        "method.gamma": (0.0, 0.3, 0.5, 0.8),
        "method.beta": (2.0, 5.0, 10.0),
    }
    dpo = load_sweep(written(tmp_path, method={"name": "dpo"}))
    assert axes_of(dpo) == {"train.lr": (3e-7, 1e-6, 3e-6), "method.beta": (0.02, 0.1, 0.3)}


def test_the_ranges_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    recipe, ranges = written(tmp_path), tmp_path / "ranges.yaml"
    ranges.write_text("strategy: grid\nmethod.beta: [2, 4]\n")
    sweep = load_sweep(recipe, ranges=ranges)
    assert axes_of(sweep) == {"method.beta": (2, 4)} and sweep.settings.strategy == "grid"
    ranges.write_text("sweep:\n  method.beta: [2, 4]\n")
    assert axes_of(load_sweep(recipe, ranges=ranges)) == {"method.beta": (2, 4)}
    with pytest.raises(RecipeError, match="given twice"):
        load_sweep(written(tmp_path, {"method.beta": [1]}), ranges=ranges)


@pytest.mark.parametrize(
    ("section", "sections", "message"),
    [
        ({"train.learning_rate": [1]}, {}, "unknown key 'train.learning_rate'.*did you mean train.lr"),
        ({"strateggy": "grid"}, {}, "unknown key 'strateggy'"),
        ({"strategy": "random"}, {}, "strategy"),
        ({"train.lr": []}, {}, "a list of different values"),
        ({"train.lr": [1e-6, 1e-6]}, {}, "a list of different values"),
        ({"train.lr": 1e-6}, {}, "neither a list nor a range"),
        ({"train.lr": {"low": 1e-6}}, {}, "neither a list nor a range"),
        ({"train.lr": {"low": 1e-6, "high": 1e-7}}, {}, "no range"),
        ({"train.lr": {"low": 0, "high": 1, "log": True}}, {}, "no range of positive numbers"),
        ({"train.lr": {"low": 1e-7, "high": 1e-6, "points": 1}}, {}, "points a whole number from 2"),
        ({"train.lr": [-1.0]}, {}, "lr--1.*greater than 0"),
        ({"method.alpha": [0.5]}, {}, "alpha has no effect with method simpo"),
        ({"method.gamma": [0.5], "method.reward_margin": [1]}, {}, "the same margin"),
        ({"evaluate.seed": [0, 1]}, {}, "cannot be swept"),
        ({"data.validation": ["a", "b"]}, {}, "cannot be swept"),
        ({"output": ["a", "b"]}, {}, "cannot be swept"),
        ("lr", {}, "sweep is a section"),
        ({}, {"method": {"name": "sft"}}, "learns from no pairs"),
        ({}, {"data": {"train": "t.jsonl", "validation_fraction": 0}}, "no validation pairs to choose by"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_words(
    section: Any, sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        load_sweep(written(tmp_path, section, **sections))
    import re

    assert re.search(message, str(error.value), re.DOTALL), str(error.value)


def test_a_trials_recipe_is_the_base_with_its_settings_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, {"method.gamma": [0.1]}, method={"name": "simpo", "reward_margin": 3.0})
    loaded = load_sweep(path, ["train.seed=7"]).recipe({"method.gamma": 0.1, "train.lr": 5e-7}, "out/trial")
    recipe = loaded.recipe
    assert (recipe.method.gamma, recipe.method.reward_margin) == (0.1, None), "they are one margin"
    assert (recipe.train.lr, recipe.train.seed, recipe.output) == (5e-7, 7, "out/trial")
    assert loaded.origins["train.lr"] == loaded.origins["method.gamma"] == "simpo sweep"
    assert loaded.origins["train.seed"] == "--set" and loaded.origins["model.name"] == str(path)


def test_another_recipe_or_range_is_another_sweep_and_another_folder_is_not(tmp_path: Path) -> None:
    one = load_sweep(written(tmp_path, {"method.beta": [2, 5]}))
    assert (
        load_sweep(written(tmp_path, {"method.beta": [2, 5]}, output="elsewhere")).fingerprint()
        == one.fingerprint()
    )
    for section, sections in (
        ({"method.beta": [2, 6]}, {}),
        ({"method.beta": [2, 5], "strategy": "grid"}, {}),
        ({"method.beta": [2, 5]}, {"train": {"lr": 2e-6}}),
    ):
        assert load_sweep(written(tmp_path, section, **sections)).fingerprint() != one.fingerprint()


def test_names_are_read_by_people_and_tell_settings_apart() -> None:
    assert name_of({"train.lr": 3e-7, "method.gamma": 0.5, "method.beta": 2.0}) == "lr-3e-07_gamma-0.5_beta-2"
    assert name_of({"train.schedule": "cosine"}) == "schedule-cosine"
    close = [name_of({"train.lr": lr}) for lr in (1e-7, 1.0000001e-7, 1.0000002e-7)]
    assert len(set(close)) == 3
    assert name_of({"adapter.target": ["q_proj"]}) != name_of({"adapter.target": ["q-proj"]})


@given(st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=2, unique=True), st.integers(2, 9), st.booleans())
def test_a_range_holds_its_ends_and_ascends(ends: list[float], points: int, log: bool) -> None:
    low, high = sorted(ends)
    values = Axis("train.lr", None, low, high, log, False, points).values
    assert values[0] == pytest.approx(low, rel=1e-5) and values[-1] == pytest.approx(high, rel=1e-5)
    assert list(values) == sorted(set(values)) and len(values) <= points
