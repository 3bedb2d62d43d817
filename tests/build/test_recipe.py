"""A build's recipe: what options mean, and what is wrong with a file, by line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from simpo.build.recipe import load_build
from simpo.build.run import build
from simpo.errors import RecipeError
from tests.build.made import pairs, write_rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("many") / "pairs.jsonl", pairs(400))


def test_a_recipe_gives_the_same_build_as_options(many: Path, tmp_path: Path) -> None:
    options = load_build(
        None,
        {"output": str(tmp_path / "a"), "data.files": [str(many)], "split.test": 0.2, "repair": ["none"]},
    )
    path = tmp_path / "build.yaml"
    path.write_text(options.to_yaml())
    again = load_build(path, {"output": str(tmp_path / "b")})
    assert again.recipe == options.recipe.model_copy(update={"output": str(tmp_path / "b")})
    assert build(again.recipe).hash == build(options.recipe).hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data: {files: a}\nsplit: {tset: 0.1}",
            ":2: unknown key 'split.tset'\n  fix: did you mean split.test?",
        ),
        ("split: {seed: 1}", "build.yaml: data is missing"),
        (
            "data: {files: a}\nrepair: secrets",
            ":2: repair: there is no repair of 'secrets'; did you mean secret?",
        ),
        ("data: {files: a}\nsplit: {test: 0.6, validation: 0.5}", "leave nothing to train on"),
        ("data: a", "data is a section (received 'a')"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_line_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "build.yaml"
    path.write_text(f"{text}\noutput: v\n")
    with pytest.raises(RecipeError) as caught:
        load_build(path)
    assert message in str(caught.value)
