"""`simpo sweep` as a command: its table, its JSON, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from simpo.cli.app import main
from tests.study.sweeping import Toy


@pytest.fixture
def toy(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Toy(tmp_path, tiny_model_dir)


def test_it_prints_the_trials_the_choice_and_what_to_read_with_care(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = toy.recipe({"method.beta": [2.0, 5.0]}), toy.out("out")
    assert main(["sweep", str(recipe), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    table = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert "beta-2" in printed.out and "beta-5" in printed.out
    assert f"chosen     {table['chosen']['name']}: {table['chosen']['why']}" in printed.out
    assert (
        "The test pairs were used once" in printed.out
        and "note       There are 12 validation prompts" in printed.out
    )
    assert f"simpo export {out / 'trials' / table['chosen']['name']}" in printed.err
    assert (out / "report.html").is_file()
    assert main(["sweep", str(recipe), "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["chosen"] == table["chosen"] and again["path"] == str(out / "sweep.json")


def test_a_recipe_with_a_sweep_section_is_no_run_and_says_so(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toy.recipe({"method.beta": [2.0]})
    assert main(["train", str(recipe)]) == 2
    told = capsys.readouterr().err
    assert f"{recipe}:" in told and "has an effect in `simpo sweep` alone" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "random"], "strategy"),
        (["--set", "train.lr=fast"], "train.lr"),
        (["--ranges", "nowhere.yaml"], "cannot read the recipe"),
        (["--storage", "nonsense"], "storage cannot be opened"),
    ],
)
def test_what_cannot_be_swept_ends_with_status_2(
    options: list[str], message: str, toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toy.recipe({} if "--ranges" in options else {"method.beta": [2.0]})
    if "--ranges" in options:
        recipe.write_text(recipe.read_text(encoding="utf-8").partition("sweep:")[0], encoding="utf-8")
    assert main(["sweep", str(recipe), "--out", str(toy.out("out")), *options]) == 2
    assert message in capsys.readouterr().err
