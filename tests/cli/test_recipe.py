"""`simpo recipe`: list, show, copy, fields and check, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.cli import app
from simpo.cli.recipe import about, fields, shipped_recipes
from simpo.recipe import known_keys, load_recipe

RECIPE = """output: runs/a
model: {name: base}
data: {train: pairs.jsonl}
"""


def run_json(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    assert app.main([*words, "--json"]) == status
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_list_names_every_shipped_recipe_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_json(capsys, "recipe", "list")["recipes"]
    assert {row["name"] for row in rows} == set(shipped_recipes())
    assert all(row["about"] for row in rows)
    assert app.main(["recipe", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in shipped_recipes())


def test_show_prints_the_file_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["recipe", "show", "dpo"]) == 0
    assert capsys.readouterr().out == shipped_recipes()["dpo"].read_text(encoding="utf-8")
    assert run_json(capsys, "recipe", "show", "dpo.yaml")["name"] == "dpo"


def test_an_unknown_recipe_is_answered_with_the_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["recipe", "show", "ppo"]) == 2
    assert "quickstart-simpo" in capsys.readouterr().err


def test_copy_writes_the_recipe_and_never_over_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["recipe", "copy", "dpo", str(tmp_path)]) == 0
    copied = tmp_path / "dpo.yaml"
    assert copied.read_bytes() == shipped_recipes()["dpo"].read_bytes()
    copied.write_text("mine")
    assert app.main(["recipe", "copy", "dpo", str(copied)]) == 2
    assert copied.read_text() == "mine"
    assert str(copied) in capsys.readouterr().err


def test_copy_into_a_folder_that_does_not_exist_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = run_json(capsys, "recipe", "copy", "dpo", str(tmp_path / "no" / "x.yaml"), status=2)["error"]
    assert "No such file or directory" in error["message"]


def test_fields_describes_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "recipe", "fields")["fields"]
    assert [field["key"] for field in found] == list(known_keys())
    assert all(field["description"] and field["type"] and field["default"] for field in found)


def test_fields_of_one_section_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["recipe", "fields", "adapter."]) == 0
    text = capsys.readouterr().out
    assert "adapter.alpha" in text
    assert "train.lr" not in text
    assert app.main(["recipe", "fields", "nothing"]) == 2


def test_a_field_says_what_it_holds_and_what_stands_there_by_default() -> None:
    shown = {field.key: field for field in fields()}
    assert (shown["output"].type, shown["output"].default) == ("text", "required")
    assert (shown["train.lr"].type, shown["train.lr"].default) == ("number", "1e-06")
    assert (shown["data.train"].type, shown["data.train"].default) == ("text or list of text", "required")
    assert (shown["train.max_steps"].type, shown["train.max_steps"].default) == ("whole number", "none")
    assert (shown["adapter.type"].type, shown["adapter.type"].default) == ("none, lora", "none")
    assert (shown["data.trim_turns"].type, shown["data.trim_turns"].default) == ("true, false", "false")


def test_check_prints_a_recipe_that_reads_back_and_warns_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(RECIPE)
    assert app.main(["recipe", "check", str(file), "--set", "train.lr=1e-5"]) == 0
    captured = capsys.readouterr()
    assert "  lr: 1.0e-05  # --set\n" in captured.out
    assert "  gamma: 0.5  # default of simpo; reward margin 1\n" in captured.out
    assert "warning: train.lr 1e-05 is high" in captured.err
    printed = tmp_path / "b.yaml"
    printed.write_text(captured.out)
    assert load_recipe(printed).recipe.train.lr == 1e-5


def test_check_with_json_gives_values_origins_and_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(RECIPE)
    result = run_json(capsys, "recipe", "check", str(file), "--set", "method.beta=0.1")
    assert result["values"]["method.beta"] == 0.1
    assert result["origins"]["method.beta"] == "--set"
    assert result["origins"]["output"] == str(file)
    assert len(result["warnings"]) == 1
    assert "reward margin 0.05" in result["method"]


def test_check_of_a_bad_recipe_ends_with_2_and_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(RECIPE + "train:\n  learning_rate: 1e-6\n")
    assert app.main(["recipe", "check", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"{file}:5: unknown key 'train.learning_rate'\n  fix: did you mean train.lr?\n"
    )


def test_the_purpose_of_a_recipe_is_the_first_sentence_of_its_comment() -> None:
    assert about("# What it\n# is. And more.\noutput: x\n") == "What it is"
