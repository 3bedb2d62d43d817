"""A run with its evidence: both measurements are there, on the same pairs, and a reference is fair to its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import DataError, RecipeError
from simpo.recipe import LoadedRecipe, resolve_recipe
from simpo.runs.folder import read_json
from simpo.study.align import align, align_on
from simpo.study.measure import Settings, measure

WORDS = ("parcel", "refund", "invoice", "plan", "code", "order", "late", "lost")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    """Twelve training pairs and eight test pairs, as files."""
    files = {}
    for name, count in (("train", 12), ("test", 8)):
        rows = [
            {
                "prompt": f"{name} {index}: where is my {WORDS[index % 8]}",
                "chosen": f"your {WORDS[index % 8]} is here",
                "rejected": "no idea" + "!" * (index % 3),
                "category": WORDS[index % 2],
            }
            for index in range(count)
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files[name] = str(path)
    return files


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reference of another test is found."""
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "cache"))


def recipe(tmp_path: Path, model: Path, data: dict[str, Any], **method: Any) -> LoadedRecipe:
    return resolve_recipe(
        {
            "output": str(tmp_path / "run"),
            "model": {"name": str(model)},
            "data": {**data, "validation_fraction": 0.2},
            "method": method,
            "train": {"lr": 1e-2, "batch_size": 4, "epochs": 2},
            "evaluate": {"generate": 3, "max_new_tokens": 4},
        }
    )


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"evaluate": {"judge": "no_such_module:score"}}, "there is no module no_such_module"),
        ({"data": {"test": "gone.jsonl"}}, "no such file"),
    ],
)
def test_what_the_measurements_miss_is_told_before_anything_is_written(
    sections: dict[str, dict[str, str]],
    words: str,
    tmp_path: Path,
    tiny_model_dir: Path,
    data: dict[str, str],
) -> None:
    values = {
        "output": str(tmp_path / "run"),
        "model": {"name": str(tiny_model_dir)},
        "data": {**data, **sections.get("data", {})},
        "method": {"name": "simpo"},
        "evaluate": {"generate": 3, **sections.get("evaluate", {})},
    }
    before = set(tmp_path.iterdir())
    with pytest.raises((RecipeError, DataError), match=words):
        align(resolve_recipe(values))
    assert set(tmp_path.iterdir()) == before


def test_a_run_is_measured_before_and_after_on_the_same_test_pairs(
    tmp_path: Path, tiny_model_dir: Path, data: dict[str, str]
) -> None:
    run = align(recipe(tmp_path, tiny_model_dir, data, name="simpo"))
    before, after = (read_json(run.evaluation_path(label)) for label in ("before", "after"))
    assert before["data"] == after["data"] and before["preference"]["num_pairs"] == 8
    assert before["model"]["hash"] != after["model"]["hash"]
    assert after["preference"]["margin"] > before["preference"]["margin"] + 0.1
    assert before["generation"]["num_prompts"] == after["generation"]["num_prompts"] == 3
    assert align_on(run.path).path == run.path  # a finished run is left as it is


def test_before_training_every_pair_is_an_exact_tie_under_a_reference_that_is_the_start(
    tmp_path: Path, tiny_model_dir: Path, data: dict[str, str]
) -> None:
    run = align(recipe(tmp_path, tiny_model_dir, data, name="dpo"))
    before, after = (read_json(run.evaluation_path(label)) for label in ("before", "after"))
    assert (
        before["preference"]["accuracy"]["reward"]["value"] == 0.5 and before["preference"]["margin"] == 0.0
    )
    assert after["preference"]["accuracy"]["reward"]["value"] > 0.5


def test_eval_of_a_run_gives_the_figures_of_its_own_measurement(
    tmp_path: Path, tiny_model_dir: Path, data: dict[str, str]
) -> None:
    run = align(recipe(tmp_path, tiny_model_dir, data, name="dpo"))
    path, report = measure(str(run.path), Settings(data=(data["test"],), label="again"))
    assert path == run.evaluation_path("again")
    after = read_json(run.evaluation_path("after"))
    assert report["preference"] == after["preference"]


COLUMNS = {"prompt": "ask", "chosen": "best"}


def renamed(path: str) -> str:
    """The same pairs under other names of columns, in a file beside."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    theirs = [{COLUMNS.get(key, key): value for key, value in row.items()} for row in rows]
    target = Path(path).with_suffix(".theirs.jsonl")
    target.write_text("".join(json.dumps(row) + "\n" for row in theirs), encoding="utf-8")
    return str(target)


def test_eval_reads_files_as_it_is_told(tmp_path: Path, tiny_model_dir: Path, data: dict[str, str]) -> None:
    def accuracy(file: str, **options: Any) -> object:
        settings = Settings(data=(file,), **options)
        return measure(str(tiny_model_dir), settings, out=tmp_path)[1]["preference"]["accuracy"]

    theirs = renamed(data["test"])
    plain = accuracy(data["test"])
    assert accuracy(theirs, columns=COLUMNS) == plain
    assert accuracy(theirs, columns=COLUMNS, format="trl_standard", pairing="all") == plain
    with pytest.raises(DataError, match="no known format of pairs"):
        accuracy(theirs)
    with pytest.raises(RecipeError, match="pairing"):
        accuracy(data["test"], pairing="bset")


def test_eval_of_a_run_reads_files_as_the_run_did_unless_it_is_told(
    tmp_path: Path, tiny_model_dir: Path, data: dict[str, str]
) -> None:
    theirs = {name: renamed(path) for name, path in data.items()}
    run = str(align(recipe(tmp_path, tiny_model_dir, {**theirs, "columns": COLUMNS}, name="simpo")).path)
    after = read_json(Path(run) / "evaluation" / "after.json")
    assert measure(run, Settings(data=(theirs["test"],)))[1]["preference"] == after["preference"]
    again = measure(run, Settings(data=(data["test"],), label="auto", format="auto"))
    assert again[1]["preference"] == after["preference"]
