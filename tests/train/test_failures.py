"""Full disks, damaged checkpoints, numbers that are not finite, data that moved: a clear error, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simpo.errors import Interrupted, RecipeError, RunFailed
from simpo.recipe import load_recipe
from simpo.runs.checkpoint import best_model_folder, verify
from simpo.runs.events import EventLog
from simpo.runs.folder import RunFolder
from simpo.train.run import resume, train
from tests.equivalence.test_resume import assert_same_run, at
from tests.runs.limits import file_limit
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop, pair_rows, write_rows

ADAPTER = {"type": "lora", "r": 4, "dropout": 0.2}


def files_of(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_disk_that_fills_up_while_saving_leaves_the_checkpoint_before_it(workshop: Workshop) -> None:
    """model.safetensors (126 kB) still fits, the optimizer's tensors (252 kB) do not."""
    straight = workshop.train("straight")
    limits = []

    def fill_up(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 3):
            limit = file_limit(200_000)
            limit.__enter__()
            limits.append(limit)

    with pytest.raises(RunFailed, match="the file is larger than is allowed here") as failure:
        try:
            workshop.train("full", fill_up)
        finally:
            limits[0].__exit__(None, None, None)
    assert failure.value.exit_status == 5 and "simpo train --resume" in str(failure.value.fix)
    full = Trained(workshop.folder / "full")
    assert full.checkpoints() == ["best.json", "step-000002"]
    verify(full.folder.checkpoints / "step-000002")
    assert full.folder.lineage()["status"] == "failed"
    assert "larger than is allowed" in full.events("failed")[0]["message"]
    check_run(full.path)
    resume(full.path)
    assert_same_run(straight, full)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many bytes; asked again, it gets another size. Skips where one may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(num_bytes: int) -> Path:
        options = f"size={num_bytes}" + (",remount" if os.path.ismount(folder) else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system may be mounted here")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_is_told_and_the_run_goes_on_once_there_is_space(
    workshop: Workshop, small_disk: Callable[[int], Path]
) -> None:
    """A checkpoint has 404 kB: the first fits on a disk of 700 kB, the second beside it does not."""
    straight = workshop.train("straight")
    output = str(small_disk(700_000) / "full")
    recipe = workshop.recipe("any")
    moved = type(recipe)(recipe.recipe.model_copy(update={"output": output}), recipe.origins)
    with pytest.raises(RunFailed, match="the disk is full") as failure:
        train(moved)
    assert failure.value.exit_status == 5
    full = Trained(Path(output))
    assert full.checkpoints() == ["best.json", "step-000002"]
    assert full.folder.lineage()["status"] == "failed"
    small_disk(4_000_000)
    resume(full.path)
    assert_same_run(straight, full)


def test_a_disk_without_room_for_one_more_line_keeps_the_story_whole(
    workshop: Workshop, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64_000)
    log = EventLog(disk / "events.jsonl")
    with pytest.raises(RunFailed, match="the disk is full"):
        for number in range(10_000):
            log.append("note", step=number, message="x" * 500)
    text = (disk / "events.jsonl").read_text(encoding="utf-8")
    assert text.endswith("}\n") and len(text) > 30_000


def interrupted(workshop: Workshop, name: str, step: int, **sections: Any) -> Trained:
    with pytest.raises(Interrupted):
        workshop.train(name, at("step", step), **sections)
    return Trained(workshop.folder / name)


def damage(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


def broken_model(workshop: Workshop) -> Path:
    """The tiny model with one weight that is not a number."""
    folder = workshop.folder / "broken-model"
    shutil.copytree(workshop.model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


UNWATCHED: dict[str, Any] = {
    "data": {"validation": None, "validation_fraction": 0},
    "train": {"evaluate_every": None},
}


def test_a_model_with_a_weight_that_is_not_a_number_fails_before_its_first_step(workshop: Workshop) -> None:
    model = {"name": str(broken_model(workshop))}
    for name, sections, message, events in (
        (
            "watched",
            {},
            "the validation loss is not finite after step 0",
            ["start", "scorer", "evaluate", "failed"],
        ),
        (
            "unwatched",
            UNWATCHED,
            r"the loss is not finite \(8 of the step's 8 rows",
            ["start", "scorer", "guard", "failed"],
        ),
    ):
        with pytest.raises(RunFailed, match=message) as failure:
            workshop.train(name, model=model, **sections)
        assert failure.value.exit_status == 5
        run = Trained(workshop.folder / name)
        assert run.folder.lineage()["status"] == "failed" and run.checkpoints() == []
        assert [event["event"] for event in run.events()] == events
        check_run(run.path)


@pytest.mark.parametrize("sections", [{}, UNWATCHED], ids=["watched", "unwatched"])
@pytest.mark.parametrize("lr", [1e30, 3e38])
def test_an_absurd_learning_rate_fails_the_run_and_keeps_what_was_good(
    lr: float, sections: dict[str, Any], workshop: Workshop
) -> None:
    """A step at a sane rate with its checkpoint, then the recipe in the folder is changed for the worse."""
    settings = {**sections.get("train", {}), "save_every": 1, "schedule": "constant"}
    run = interrupted(workshop, "run", 1, **{**sections, "train": settings})
    good = files_of(run.folder.checkpoints / "step-000001" / "model")
    text = run.folder.recipe_path.read_text(encoding="utf-8")
    run.folder.recipe_path.write_text(text.replace("lr: 0.001", f"lr: {lr:.1e}"), encoding="utf-8")
    assert load_recipe(run.folder.recipe_path).recipe.train.lr == lr
    with pytest.raises(RunFailed, match=r"collapsing|not finite|the weights are as large as") as failure:
        resume(run.path)
    assert failure.value.exit_status == 5 and "lower train.lr" in str(failure.value.fix)
    assert run.folder.lineage()["status"] == "failed"
    assert run.events("failed")[0]["message"] == str(failure.value)
    for path in run.folder.checkpoints.glob("step-*"):
        verify(path)
        (weights,) = path.glob("model/*.safetensors")
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(weights).values())
    assert files_of(run.folder.checkpoints / "step-000001" / "model") == good
    assert best_model_folder(run.path).parent.name == "step-000001"
    check_run(run.path)


def test_a_run_is_not_gone_on_with_on_other_data_or_another_rendering(workshop: Workshop) -> None:
    run = interrupted(workshop, "run", 2)
    train_file = workshop.folder / "train-pairs-20.jsonl"
    rows = train_file.read_text(encoding="utf-8")
    write_rows(train_file, pair_rows(21))
    before = files_of(run.path)
    with pytest.raises(RecipeError, match="the train data is no longer what this run began with"):
        resume(run.path)
    train_file.write_text(rows, encoding="utf-8")
    assert files_of(run.path) == before, "a refusal changes nothing"

    model = workshop.folder / "model-again"
    shutil.copytree(workshop.model, model)
    other = interrupted(workshop, "other", 2, model={"name": str(model)})
    template = model / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8").replace("\\n", "\\n\\n"), encoding="utf-8")
    with pytest.raises(RecipeError, match="the rendering of the train data"):
        resume(other.path)


def test_a_second_process_is_refused_while_the_first_is_at_work(workshop: Workshop) -> None:
    refusals: list[RecipeError] = []

    def intrude(event: dict[str, Any]) -> None:
        if (event["event"], event["step"]) == ("step", 1):
            with pytest.raises(RecipeError, match="another process is writing") as refusal:
                resume(workshop.folder / "run")
            refusals.append(refusal.value)

    run = workshop.train("run", intrude, train={"max_steps": 2})
    assert [refusal.exit_status for refusal in refusals] == [2]
    check_run(run.path)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As nobody in particular: root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_loaded(workshop: Workshop) -> None:
    sealed = workshop.folder / "sealed"
    sealed.mkdir()
    sealed.chmod(0o555)
    for output in (sealed / "run", sealed / "deep" / "run", workshop.folder / "train-pairs-20.jsonl" / "run"):
        recipe = workshop.recipe("any").recipe.model_copy(update={"output": str(output)})
        with without_privileges(), pytest.raises(RecipeError, match="cannot write here") as refusal:
            RunFolder(recipe.output).require_free()
        assert refusal.value.exit_status == 2


def test_a_run_folder_that_may_not_be_written_is_not_gone_on_with(workshop: Workshop) -> None:
    run = interrupted(workshop, "run", 2)
    folder = run.folder
    run.path.chmod(0o555)
    with without_privileges(), pytest.raises(RecipeError, match="cannot write here"), folder.locked():
        pass
    run.path.chmod(0o755)


def test_what_a_run_was_doing_when_it_broke_is_written_down(workshop: Workshop) -> None:
    def fail(run: RunFolder, prepared: Any) -> None:
        raise RunFailed("the judge gave up")

    with pytest.raises(RunFailed, match="the judge gave up"):
        train(workshop.recipe("run"), before=fail)
    run = Trained(workshop.folder / "run")
    assert run.folder.lineage()["status"] == "failed"
    resume(run.path)
    assert run.folder.lineage()["status"] == "done"
    check_run(run.path)
