"""Names in recipes and folders become file names: none of them leads out of the folder it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from simpo.errors import RecipeError
from simpo.recipe import resolve_recipe
from simpo.runs.folder import RunFolder

ESCAPING = ("../outside", "a/b", "/etc/passwd", "..", "", "a\\b")


@pytest.mark.parametrize("name", ESCAPING)
def test_a_tensorboard_project_is_no_path(name: str) -> None:
    values = {"output": "run", "model": {"name": "m"}, "data": {"train": "t.jsonl"}}
    with pytest.raises(RecipeError, match="must be a plain name"):
        resolve_recipe({**values, "tracking": {"tracker": "tensorboard", "project": name}})
    # MLflow's experiments are named like paths where it is somebody's service.
    assert resolve_recipe({**values, "tracking": {"tracker": "mlflow", "project": "/Shared/simpo"}})


@pytest.mark.parametrize("label", ESCAPING)
def test_an_evaluation_label_is_no_path(label: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="must be letters, digits"):
        RunFolder(tmp_path).evaluation_path(label)
