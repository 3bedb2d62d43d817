"""Curves in the trackers: each tracker's own store is read back and holds what events.jsonl holds."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import RecipeError
from simpo.runs.events import read_events
from tests.train.made_up import Workshop

Curve = list[tuple[int, Any]]
SHORT = {"max_steps": 3, "evaluate_every": 2}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a tracker writes at home or here goes to the test's own folder, and nothing to a server."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(home / "trackio"))
    return home


def trained(workshop: Workshop, tracker: str) -> tuple[Path, str]:
    """A run of three steps in a process of its own, as trackers keep state a process, and its standard output."""
    path = workshop.folder / "recipe.yaml"
    loaded = workshop.recipe("tracked", tracking={"tracker": tracker, "project": "harbor"}, train=SHORT)
    path.write_text(loaded.to_yaml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "simpo.cli.app", "train", str(path), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return workshop.folder / "tracked", done.stdout


def told(run: Path, event: str = "step") -> Curve:
    """The loss curve of the run's own events."""
    return [
        (each["step"], pytest.approx(each["loss"], rel=1e-6))
        for each in read_events(run / "events.jsonl")
        if each["event"] == event
    ]


def test_tensorboard_holds_the_curves_in_the_run_folder(workshop: Workshop) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-not-found,unused-ignore]
        EventAccumulator,
    )

    run, printed = trained(workshop, "tensorboard")
    store = EventAccumulator(str(run / "tracker" / "harbor"))
    store.Reload()
    for event in ("step", "evaluate"):
        curve = [(each.step, each.value) for each in store.Scalars(f"{event}/loss")]
        assert curve == told(run, event) and len(curve) >= 2
    assert "evaluate/best" not in store.Tags()["scalars"]
    assert json.loads(printed)["run"] == str(run)


def test_mlflow_holds_the_curves_the_recipe_and_the_name_of_the_run(
    workshop: Workshop, own_home: Path
) -> None:
    pytest.importorskip("mlflow")
    run, printed = trained(workshop, "mlflow")
    with closing(sqlite3.connect(own_home / "mlflow.db")) as store:
        query = "select step, value from metrics where key = ? order by step"
        for event in ("step", "evaluate"):
            curve = store.execute(query, (f"{event}/loss",)).fetchall()
            assert curve == told(run, event) and len(curve) >= 2
        assert store.execute("select name, status from runs").fetchall() == [("tracked", "FINISHED")]
        assert ("harbor",) in store.execute("select name from experiments").fetchall()
        params = dict(store.execute("select key, value from params").fetchall())
    assert float(params["method.gamma"]) == 0.5
    assert json.loads(printed)["run"] == str(run)


def test_trackio_holds_the_curves_and_prints_nothing_into_the_answer(
    workshop: Workshop, own_home: Path
) -> None:
    pytest.importorskip("trackio")
    run, printed = trained(workshop, "trackio")
    (file,) = (own_home / "trackio").glob("*.db")
    with closing(sqlite3.connect(file)) as store:
        rows = store.execute("select run_name, step, metrics from metrics order by id").fetchall()
    for event in ("step", "evaluate"):
        curve = [
            (step, values[f"{event}/loss"])
            for _, step, text in rows
            if f"{event}/loss" in (values := json.loads(text))
        ]
        assert curve == told(run, event) and len(curve) >= 2
    assert {name for name, _, _ in rows} == {"tracked"}
    assert json.loads(printed)["run"] == str(run)


def test_wandb_holds_the_curves_while_offline(workshop: Workshop, own_home: Path) -> None:
    pytest.importorskip("wandb")
    run, printed = trained(workshop, "wandb")
    (file,) = own_home.rglob("*.wandb")
    history = list(_wandb_history(file))
    for event in ("step", "evaluate"):
        curve = [
            (int(row["_step"]), float(row[f"{event}/loss"])) for row in history if f"{event}/loss" in row
        ]
        assert curve == told(run, event) and len(curve) >= 2
    assert json.loads(printed)["run"] == str(run)


def _wandb_history(file: Path) -> Iterator[dict[str, str]]:
    """The history rows of W&B's file: 32 KiB blocks, each record behind crc, length and part, as in LevelDB."""
    from wandb.proto import wandb_internal_pb2  # type: ignore[import-not-found,unused-ignore]

    data, at, begun = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + 7])
        begun = (begun if part in (3, 4) else b"") + data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):
            record: Any = wandb_internal_pb2.Record()
            record.ParseFromString(begun)
            if record.WhichOneof("record_type") == "history":
                yield {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}


def test_wandb_without_a_key_is_refused_before_anything_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(RecipeError, match=r"tracking\.tracker wandb does not start") as error:
        workshop.train("refused", tracking={"tracker": "wandb"}, train=SHORT)
    assert "WANDB_MODE=offline" in str(error.value.fix)
    assert not (workshop.folder / "refused").exists()


def test_a_server_that_does_not_answer_is_refused_before_anything_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RecipeError, match=r"tracking\.tracker mlflow does not start") as error:
        workshop.train("refused", tracking={"tracker": "mlflow"}, train=SHORT)
    assert "MLFLOW_TRACKING_URI" in str(error.value.fix)
    assert not (workshop.folder / "refused").exists()


def test_a_tracker_that_fails_on_the_way_is_left_behind_with_one_note(workshop: Workshop) -> None:
    pytest.importorskip("tensorboard")

    def block(event: dict[str, Any]) -> None:
        if event["event"] == "start":  # a file where TensorBoard wants its folder
            (workshop.folder / "run" / "tracker").write_text("in the way", encoding="utf-8")

    run = workshop.train("run", block, tracking={"tracker": "tensorboard"}, train=SHORT)
    notes = [event["message"] for event in run.events() if event["event"] == "note"]
    assert len(notes) == 1 and "tensorboard takes no more figures" in notes[0]
    assert run.events()[-1]["event"] == "stop"
