"""Checkpoints: whole or not there, found again, and never taken away by one that is worth less."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.errors import CheckFailed, RecipeError, RunFailed
from simpo.runs.checkpoint import (
    best_model_folder,
    is_tidy,
    latest_checkpoint,
    prune,
    recover,
    save_checkpoint,
    set_best,
    tidy_finished,
    verify,
    whole_checkpoint,
)
from simpo.runs.folder import read_json
from tests.runs.limits import file_limit


def contents(mark: str = "a", size: int = 40) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_text(mark * size)
        (folder / "optimizer.safetensors").write_text(mark * 2 * size)
        (folder / "state.json").write_text('{"step": 1}\n')

    return write


def never(message: str) -> None:
    raise AssertionError(message)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_saved_checkpoint_is_whole_and_has_the_size_it_says(tmp_path: Path) -> None:
    checkpoint, size = save_checkpoint(tmp_path, 120, contents())
    assert checkpoint.path.name == "step-000120" and checkpoint.state() == {"step": 1}
    assert size == 40 + 80 + 12
    verify(checkpoint.path)
    assert latest_checkpoint(tmp_path, never) == checkpoint == whole_checkpoint(tmp_path, 120)
    assert names_in(tmp_path) == ["step-000120"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.sampled_from(["model/model.safetensors", "optimizer.safetensors", "state.json"]), st.data())
def test_one_changed_bit_of_any_file_shows(tmp_path: Path, name: str, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "step-000001", ignore_errors=True)
    checkpoint, _ = save_checkpoint(tmp_path, 1, contents())
    path = checkpoint.path / name
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(CheckFailed, match=f"{name} of the checkpoint is not what was written") as failure:
        verify(checkpoint.path)
    assert failure.value.exit_status == 4
    path.unlink()
    with pytest.raises(CheckFailed, match=f"lacks {name}"):
        verify(checkpoint.path)
    assert whole_checkpoint(tmp_path, 1) is None


@pytest.mark.parametrize("manifest", ["", "{}", '{"files": 3}', '{"files": [1]}', "\x00"])
def test_a_manifest_that_cannot_be_read_verifies_nothing(tmp_path: Path, manifest: str) -> None:
    checkpoint, _ = save_checkpoint(tmp_path, 1, contents())
    (checkpoint.path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckFailed, match="no readable manifest"):
        verify(checkpoint.path)


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, contents("a"))
    with file_limit(60), pytest.raises(RunFailed, match="nothing half-written was kept"):
        save_checkpoint(tmp_path, 2, contents("b"))
    with file_limit(60), pytest.raises(RunFailed):
        save_checkpoint(tmp_path, 1, contents("b"))  # nor is one of the same step harmed

    def press(folder: Path) -> None:
        contents("c")(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 1, press)
    assert names_in(tmp_path) == ["step-000001"]
    verify(tmp_path / "step-000001")
    assert (tmp_path / "step-000001" / "model" / "model.safetensors").read_text() == "a" * 40


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    for mark in "ab":
        checkpoint, _ = save_checkpoint(tmp_path, 1, contents(mark))
    assert (checkpoint.model / "model.safetensors").read_text() == "b" * 40
    assert names_in(tmp_path) == ["step-000001"]


def test_what_a_kill_left_moved_aside_is_put_back_and_what_it_left_half_written_is_swept(
    tmp_path: Path,
) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoint, _ = save_checkpoint(checkpoints, 7, contents())
    checkpoint.path.rename(checkpoints / ".replaced-step-000007")  # between the two renames of a replacement
    (checkpoints / ".writing-step-000007").mkdir()
    (checkpoints / ".removing-step-000003").mkdir()
    (checkpoints / ".best.json.2299-08331c92").write_text("{")
    (tmp_path / ".run.json.2299-08331c92").write_text("{")
    (tmp_path / ".report.html.2299-08331c92").write_text("another process may be writing this")
    recover(tmp_path)
    assert names_in(checkpoints) == ["step-000007"]
    assert names_in(tmp_path) == [".report.html.2299-08331c92", "checkpoints"]
    verify(checkpoint.path)
    shutil.copytree(checkpoint.path, checkpoints / ".replaced-step-000007")  # and here, after both
    recover(tmp_path)
    assert names_in(checkpoints) == ["step-000007"]


def test_damaged_checkpoints_are_set_aside_and_take_nothing_with_them(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, contents())
    (tmp_path / "step-000100" / "state.json").write_text("{}")
    (tmp_path / "step-000010" / "manifest.json").unlink()
    notes: list[str] = []
    found = latest_checkpoint(tmp_path, notes.append)
    assert found is not None and found.step == 9
    assert len(notes) == 2 and "state.json" in notes[0] and "manifest" in notes[1]
    assert names_in(tmp_path) == ["damaged-step-000010", "damaged-step-000100", "step-000009"]
    prune(tmp_path, keep=1)
    assert "step-000009" in names_in(tmp_path)
    assert latest_checkpoint(tmp_path / "none", never) is None


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9, 100):
        save_checkpoint(tmp_path, step, contents())
    set_best(tmp_path, 2)
    prune(tmp_path, keep=2)
    assert names_in(tmp_path) == ["best.json", "step-000002", "step-000010", "step-000100"]
    set_best(tmp_path, None)
    prune(tmp_path, keep=1)
    assert names_in(tmp_path) == ["step-000100"]
    set_best(tmp_path, None)


def test_the_best_model_of_a_run_is_the_one_named_else_the_newest(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    with pytest.raises(RecipeError, match="no checkpoint yet"):
        best_model_folder(tmp_path)
    for step in (3, 6):
        save_checkpoint(checkpoints, step, contents(str(step)))
    assert best_model_folder(tmp_path) == checkpoints / "step-000006" / "model"
    set_best(checkpoints, 3)
    assert best_model_folder(tmp_path) == checkpoints / "step-000003" / "model"
    (checkpoints / "step-000003" / "optimizer.safetensors").write_text("not looked at")
    assert best_model_folder(tmp_path) == checkpoints / "step-000003" / "model"
    (checkpoints / "step-000003" / "model" / "model.safetensors").write_text("damaged")
    with pytest.raises(CheckFailed, match=r"model\.safetensors"):
        best_model_folder(tmp_path)
    shutil.rmtree(checkpoints / "step-000003")
    with pytest.raises(CheckFailed, match="step-000003"):
        best_model_folder(tmp_path)


def test_a_finished_run_keeps_its_best_and_its_newest_without_optimizer_states(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for step in (3, 6, 9):
        save_checkpoint(checkpoints, step, contents())
    set_best(checkpoints, 3)
    for leftover in ("step-000009/.manifest.json.1-0a", ".best.json.1-0a"):
        (checkpoints / leftover).write_text("killed on the way")
    assert not is_tidy(tmp_path)
    tidy_finished(tmp_path)
    assert is_tidy(tmp_path)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.json", "step-000003", "step-000009"]
    for step in (3, 9):
        path = checkpoints / f"step-{step:06d}"
        verify(path)
        assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "model", "state.json"]
        assert "optimizer.safetensors" not in read_json(path / "manifest.json")["files"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    tidy_finished(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_every_file_of_a_checkpoint_reaches_the_disk_before_its_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def record(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc to name an open file by")
    monkeypatch.setattr(os, "fsync", record)
    save_checkpoint(tmp_path, 1, contents())
    files = {"model.safetensors", "optimizer.safetensors", "state.json", "model", ".writing-step-000001"}
    assert files <= set(synced)
    assert any(name.startswith(".manifest.json") for name in synced)
    assert synced[-1] == tmp_path.name, "last of all the folder that names the checkpoint"
