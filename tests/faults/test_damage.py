"""Checkpoints with a changed byte, a missing file or half a file are refused, and the one before serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from simpo.errors import CheckFailed, RecipeError
from simpo.runs.checkpoint import best_model_folder, latest_checkpoint, save_checkpoint, verify
from simpo.train.run import resume
from tests.equivalence.test_resume import assert_same_run
from tests.faults.common import damage, interrupted
from tests.train.made_up import Workshop, pair_rows, write_rows

ADAPTER = {"type": "lora", "r": 4, "dropout": 0.2}


def test_a_run_whose_newest_checkpoint_is_damaged_goes_back_to_the_one_before_and_says_so(
    workshop: Workshop,
) -> None:
    keep = {"keep_checkpoints": 2, "save_every": 1}
    straight = workshop.train("straight", train=keep, adapter=ADAPTER)
    run = interrupted(workshop, "run", 5, train=keep, adapter=ADAPTER)
    damage(run.folder.checkpoints / "step-000005" / "model" / "adapter_model.safetensors")
    told: list[dict[str, Any]] = []
    resume(run.path, listen=told.append)
    assert [event["step"] for event in told if event["event"] == "resume"] == [4]
    (note,) = (event["message"] for event in told if event["event"] == "note")
    assert "adapter_model.safetensors" in note and "damaged-step-000005" in note
    shutil.rmtree(run.folder.checkpoints / "damaged-step-000005")
    assert_same_run(straight, run)


def test_a_run_all_of_whose_checkpoints_are_damaged_begins_anew(workshop: Workshop) -> None:
    straight = workshop.train("straight")
    run = interrupted(workshop, "run", 4)
    for path in run.folder.checkpoints.glob("step-*"):
        (path / "manifest.json").write_text('{"files": [1, 2]}')
    told: list[dict[str, Any]] = []
    resume(run.path, listen=told.append)
    assert [event["step"] for event in told if event["event"] == "resume"] == [0]
    for path in run.folder.checkpoints.glob("damaged-*"):
        shutil.rmtree(path)
    assert_same_run(straight, run)


def test_a_damaged_best_checkpoint_makes_way_for_a_new_best(workshop: Workshop) -> None:
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pair_rows(5)]
    sections = {
        "data": {"validation": write_rows(workshop.folder / "contrary.jsonl", rows)},
        "train": {"lr": 1e-2, "warmup": 0.0},
    }
    run = interrupted(workshop, "run", 5, **sections)
    best = run.events("evaluate")[-1]["step"]
    best = max(event["step"] for event in run.events("evaluate") if event["best"])
    assert best < 5 and f"step-{best:06d}" in run.checkpoints()
    damage(run.folder.checkpoints / f"step-{best:06d}" / "model" / "model.safetensors")
    resume(run.path)
    assert run.events("stop")[0]["best_step"] == 6
    assert run.weights()


def test_a_checkpoint_of_another_version_is_refused_in_words(workshop: Workshop) -> None:
    run = interrupted(workshop, "run", 4)
    folder = run.folder.checkpoints / "step-000004"
    (folder / "state.json").write_text('{"step": 4, "mood": "good"}')
    manifest = folder / "manifest.json"
    manifest.write_text(_without(manifest.read_text(), "state.json"))
    with pytest.raises(RecipeError, match="another version of simpo"):
        resume(run.path)


def _without(manifest: str, name: str) -> str:
    lines = [line for line in manifest.splitlines() if f'"{name}"' not in line]
    return "\n".join(lines).replace(",\n }", "\n }")


def _sharded(folder: Path) -> None:
    """A model in two shards with their index, and the files beside it."""
    torch.manual_seed(0)
    (folder / "model").mkdir()
    for number in (1, 2):
        tensors: dict[str, Tensor] = {f"layer.{number}": torch.randn(8, 8)}
        save_file(tensors, folder / "model" / f"model-0000{number}-of-00002.safetensors")
    names = {f"layer.{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "state.json").write_text('{"step": 2}')


@pytest.mark.parametrize("harm", ["changed byte", "missing", "half of it"])
def test_every_file_of_a_checkpoint_is_missed_or_found_changed_and_the_one_before_serves(
    harm: str, tmp_path: Path
) -> None:
    newer, _ = save_checkpoint(tmp_path, 2, _sharded)
    names = [str(path.relative_to(newer.path)) for path in newer.path.rglob("*") if path.is_file()]
    assert len(names) == 5
    shutil.rmtree(newer.path)
    for name in names:
        save_checkpoint(tmp_path, 1, _sharded)
        save_checkpoint(tmp_path, 2, _sharded)
        file = tmp_path / "step-000002" / name
        if harm == "changed byte":
            damage(file)
        elif harm == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        told: list[str] = []
        found = latest_checkpoint(tmp_path, told.append)
        assert found is not None and found.step == 1, name
        (note,) = told
        assert "the one before it is used" in note and "damaged-step-000002" in note
        if name != "manifest.json":
            assert name in note
        shutil.rmtree(tmp_path / "damaged-step-000002")


def test_no_changed_byte_of_a_manifest_makes_it_vouch_for_other_files(tmp_path: Path) -> None:
    """Each byte in turn, each of its bits: what is still read as a manifest names the same hashes."""
    saved, _ = save_checkpoint(tmp_path, 1, _sharded)
    manifest = saved.path / "manifest.json"
    content = manifest.read_bytes()
    vouched = json.loads(content)["files"]
    for place in range(len(content)):
        harmed = bytearray(content)
        harmed[place] ^= 1 << (place % 8)
        manifest.write_bytes(harmed)
        try:
            verify(saved.path)
        except CheckFailed:
            continue
        assert json.loads(harmed)["files"] == vouched, place


def test_a_damaged_checkpoint_is_neither_measured_nor_trained_from(workshop: Workshop) -> None:
    run = workshop.train("run")
    weights = best_model_folder(run.path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckFailed, match=r"model.safetensors of the checkpoint is not what was written"):
        best_model_folder(run.path)
    with pytest.raises(CheckFailed, match="is not what was written") as refusal:
        workshop.train("child", model={"name": str(run.path)})
    assert refusal.value.exit_status == 4
    assert not (workshop.folder / "child").exists()
