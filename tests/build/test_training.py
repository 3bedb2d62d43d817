"""Training on a dataset version: its splits serve, its hash is on record, and one that was touched is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.data.version import Version
from simpo.errors import DataError
from simpo.recipe import LoadedRecipe, load_recipe, resolve_recipe
from simpo.release.export import export_run
from simpo.report.build import build_report
from simpo.runs.folder import read_json
from simpo.study.align import align
from tests.build.made import built, file_of, rows_of, write_rows

WORDS = ("parcel", "invoice", "refund", "account", "voucher", "delivery", "plan", "code", "address", "order")


@pytest.fixture
def version(tmp_path: Path) -> Version:
    rows = [
        {
            "prompt": f"where is my {WORDS[number % 10]} {WORDS[number // 10]} of day {number * 37 % 101}",
            "chosen": f"your {WORDS[number % 10]} is here",
            "rejected": "no idea" + "!" * (number % 4),
        }
        for number in range(60)
    ]
    return built(
        tmp_path / "v", write_rows(tmp_path / "rows.jsonl", rows), split__test=0.2, split__group="exact"
    )


def recipe(tmp_path: Path, model: Path, data: dict[str, Any]) -> LoadedRecipe:
    return resolve_recipe(
        {
            "output": str(tmp_path / "run"),
            "model": {"name": str(model)},
            "data": data,
            "train": {"lr": 1e-3, "batch_size": 8, "max_steps": 1},
            "guard": {"prompts": 0},
        }
    )


def test_the_splits_of_a_version_serve_as_validation_and_test(version: Version, tmp_path: Path) -> None:
    loaded = recipe(tmp_path, tmp_path, {"train": str(version.path)})
    data = loaded.recipe.data
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    assert named == {name: str(version.file(name)) for name in version.manifest.splits}
    assert loaded.origins["data.test"] == "recipe, a dataset version"
    again = resolve_recipe(
        {"output": "o", "model": {"name": "m"}, "data": {"train": str(version.path), "test": "mine.jsonl"}}
    ).recipe.data
    assert (again.test, again.validation) == ("mine.jsonl", str(version.file("validation")))
    path = tmp_path / "written.yaml"
    path.write_text(loaded.to_yaml())
    assert load_recipe(path).recipe.data == loaded.recipe.data


def test_a_run_on_a_version_records_its_hash_and_the_report_shows_it(
    version: Version, tmp_path: Path, tiny_model_dir: Path
) -> None:
    run = align(recipe(tmp_path, tiny_model_dir, {"train": str(version.path)}))
    data = run.lineage()["data"]
    assert data["train"]["version"] == data["validation"]["version"] == version.hash
    assert data["train"]["hash"] == version.manifest.splits["train"].hash
    assert data["train"]["rows"] == version.manifest.splits["train"].rows
    measured = read_json(run.evaluation_path("after"))
    assert measured["preference"]["num_pairs"] == version.manifest.splits["test"].rows > 0
    assert version.hash in build_report(run.path).read_text(encoding="utf-8")
    export = export_run(run.path).path
    data = read_json(export / "simpo.json")["lineage"][-2]["data"]
    assert data["train"]["dataset_version"] == version.hash
    card = (export / "README.md").read_text(encoding="utf-8")
    assert f"dataset_version: {version.hash}" in card
    assert f"train.parquet of version {version.hash[:12]}" in card


def test_a_version_that_was_touched_is_not_trained_on(
    version: Version, tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = rows_of(version, "test")
    rows[1]["chosen"], rows[1]["rejected"] = rows[1]["rejected"], rows[1]["chosen"]
    spoilt = built(
        tmp_path / "w", tmp_path / "rows.jsonl", write="jsonl", split__test=0.2, split__group="exact"
    )
    path = file_of(spoilt, "test")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="chosen and rejected were swapped") as caught:
        align(recipe(tmp_path, tiny_model_dir, {"train": str(spoilt.path)}))
    assert caught.value.where == f"{path}:2"


def test_a_version_whose_manifest_cannot_be_read_is_refused_by_it(version: Version, tmp_path: Path) -> None:
    (version.path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="the manifest cannot be read") as caught:
        align(recipe(tmp_path, tmp_path, {"train": str(version.path)}))
    assert caught.value.where == str(version.path / "manifest.json")
