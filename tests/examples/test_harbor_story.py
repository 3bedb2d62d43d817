"""The commands behind the published figures: each names files that are there and settings that load."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from examples.harbor.story import COMMANDS, RECIPES, command_of, main
from simpo.recipe import load_recipe
from simpo.study.sweep.space import load_sweep

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("step", [step for step in COMMANDS if step.startswith("sweep")])
def test_a_sweep_of_the_story_has_ranges_that_fit_its_recipe(step: str) -> None:
    _, _, recipe, *words = shlex.split(COMMANDS[step])
    options = list(zip(words[::2], words[1::2], strict=True))
    sweep = load_sweep(
        ROOT / recipe,
        [value for key, value in options if key == "--set"],
        ranges=ROOT / next(value for key, value in options if key == "--ranges"),
        settings={},
    )
    assert sweep.start["method.beta"] in next(a.values for a in sweep.axes if a.key == "method.beta")


def test_the_methods_differ_in_nothing_but_the_method() -> None:
    simpo, dpo = (load_recipe(ROOT / RECIPES / f"{name}.yaml").resolved()[0] for name in ("simpo", "dpo"))
    assert {key.split(".")[0] for key in {*simpo, *dpo} if simpo.get(key) != dpo.get(key)} == {
        "output",
        "method",
    }
    assert (simpo["method.beta"], simpo["method.gamma"], dpo["method.beta"]) == (2.0, 0.5, 0.1)


def test_every_recipe_of_the_story_is_used_by_a_command() -> None:
    named = {
        word for command in COMMANDS.values() for word in shlex.split(command) if word.startswith(RECIPES)
    }
    assert named == {f"{RECIPES}/{path.name}" for path in (ROOT / RECIPES).iterdir()}


def test_the_commands_are_printed_as_one_types_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--model", "my model"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS.values())
    assert "--set model.name='my model'" in said
    assert "my model" not in command_of("compare", "my model")


def test_an_unknown_step_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["swep"])
    assert "'swep' is none of data, sft" in capsys.readouterr().err
