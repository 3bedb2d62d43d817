"""A comparison on the tiny model: two recipes, their data, and runs trained in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import RunFailed, SimpoError
from simpo.recipe import LoadedRecipe, load_recipe, resolve_recipe
from simpo.runs.folder import is_run_folder
from simpo.study.child import Listener, Progress
from simpo.study.compare.plan import Given, Plan, make_plan
from simpo.train.run import train

WORDS = ("parcel", "refund", "invoice", "plan", "code", "order", "late", "lost")


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reference of another test is found."""
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "cache"))


class Bench:
    """A folder with 16 training and 12 test pairs over 8 prompts, a judge, and recipes on the tiny model."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        for name, count in (("train", 16), ("test", 12)):
            rows = [
                {
                    "prompt": f"{name} {index % 8}: where is my {WORDS[index % 8]}",
                    "chosen": f"your {WORDS[index % 8]} is here" + " now" * (index % 4),
                    "rejected": "no idea" + ", sorry" * (index % 5),
                    "category": WORDS[index % 2],
                }
                for index in range(count)
            ]
            self.write(f"{name}.jsonl", rows)

    def write(self, name: str, rows: list[dict[str, Any]]) -> str:
        """A file of rows, by its path."""
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    def recipe(self, **sections: Any) -> LoadedRecipe:
        """SimPO in 4 steps of 4 pairs on the tiny model, 4 replies; sections over that."""
        values: dict[str, Any] = {
            "output": str(self.folder / "unused"),
            "model": {"name": str(self.model)},
            "data": {
                "train": str(self.folder / "train.jsonl"),
                "validation_fraction": 0.0,
                "test": str(self.folder / "test.jsonl"),
            },
            "method": {"name": "simpo"},
            "train": {"lr": 1e-2, "batch_size": 4},
            "evaluate": {"generate": 4, "max_new_tokens": 4},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return resolve_recipe(values, where="a test's recipe")

    def plan(self, *recipes: tuple[str, LoadedRecipe], out: str = "out", **options: Any) -> Plan:
        """A plan of recipes, by default SimPO and DPO with one seed."""
        given = recipes or (("simpo.yaml", self.recipe()), ("dpo.yaml", self.recipe(method={"name": "dpo"})))
        return make_plan(
            [Given(name, recipe=recipe) for name, recipe in given],
            self.folder / out,
            **{"seeds": (0,), **options},
        )

    def train(self, plan: Plan) -> None:
        """Train here what a comparison would train in processes of their own."""
        for contender in plan.contenders:
            for run in contender.runs:
                if run.loaded is not None and not is_run_folder(run.folder):
                    train(run.loaded)


def train_here(
    recipe: Path,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """What `train_in_child` does, in this process; failures reach it as a child's reach us."""
    before = dict(os.environ)
    os.environ.update(environment or {})
    try:
        train(load_recipe(recipe), listen=listen, progress=progress)
    except SimpoError as error:
        raise RunFailed(error.message, where=error.where, fix=error.fix) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def bench(tmp_path: Path, tiny_model_dir: Path) -> Bench:
    return Bench(tmp_path, tiny_model_dir)
