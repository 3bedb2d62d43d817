"""The generated pages of docs/ say what the code says."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from simpo.cli.app import COMMANDS
from simpo.recipe import known_keys

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    columns = os.environ.get("COLUMNS")
    spec.loader.exec_module(module)
    yield module
    if columns is None:
        os.environ.pop("COLUMNS", None)
    else:
        os.environ["COLUMNS"] = columns


def test_the_generated_pages_are_current(generate: ModuleType) -> None:
    assert generate.stale_pages() == [], "run `make docs`"


def test_a_page_that_differs_is_found(
    generate: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    (tmp_path / "recipe.md").write_text((DOCS / "recipe.md").read_text(encoding="utf-8") + " ")
    assert generate.stale_pages() == ["cli.md", "recipe.md"]
    assert generate.write_pages(["--check"]) == 1
    assert "docs/cli.md is not current" in capsys.readouterr().err
    assert generate.write_pages([]) == 0
    assert generate.stale_pages() == []


def test_the_page_of_the_recipe_has_every_key_and_that_of_the_commands_every_command() -> None:
    recipe = (DOCS / "recipe.md").read_text(encoding="utf-8")
    assert [key for key in known_keys() if f"| `{key}` |" not in recipe] == []
    commands = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert [entry.name for entry in COMMANDS if f"## simpo {entry.name}\n" not in commands] == []
