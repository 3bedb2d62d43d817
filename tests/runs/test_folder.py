"""A run folder: made in one piece or not at all, its files written whole or not at all, one process at a time."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from simpo.errors import RecipeError, RunFailed, SimpoError
from simpo.recipe import LoadedRecipe, resolve_recipe
from simpo.runs.folder import (
    RunFolder,
    is_run_folder,
    read_json,
    storage_errors,
    write_atomic,
    write_json,
    write_json_lines,
)
from tests.runs.limits import file_limit

ROOT = Path(__file__).parents[2]


def recipe_for(output: Path, **method: object) -> LoadedRecipe:
    return resolve_recipe(
        {"output": str(output), "model": {"name": "m"}, "data": {"train": "pairs.jsonl"}, "method": method}
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_run_has_its_recipe_and_lineage_and_nothing_half_written_beside_it(tmp_path: Path) -> None:
    loaded = recipe_for(tmp_path / "runs" / "one", reward_margin=0.6)
    run = RunFolder.create(loaded, {"status": "running"})
    assert names_in(tmp_path / "runs") == ["one"]
    assert names_in(run.path) == ["checkpoints", "evaluation", "recipe.yaml", "run.json"]
    assert is_run_folder(run.path) and RunFolder.open(run.path).lineage() == {"status": "running"}
    assert run.load_recipe().resolved()[0] == loaded.resolved()[0]
    run.update_lineage(status="done", seed=3)
    assert run.lineage() == {"status": "done", "seed": 3}


def test_a_run_that_was_moved_reads_its_recipe_with_the_place_where_it_is_now(tmp_path: Path) -> None:
    run = RunFolder.create(recipe_for(tmp_path / "one"), {})
    run.path.rename(tmp_path / "two")
    assert RunFolder.open(tmp_path / "two").load_recipe().recipe.output == str(tmp_path / "two")


def test_an_empty_folder_is_taken_and_one_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunFolder.create(recipe_for(tmp_path / "empty"), {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(RecipeError, match="exists already; nothing was changed") as refusal:
            RunFolder.create(recipe_for(tmp_path / name), {})
        assert "--resume" not in str(refusal.value.fix)
    assert names_in(tmp_path) == ["empty", "file", "full"]
    assert names_in(tmp_path / "full") == ["notes.txt"]


def test_what_is_no_run_folder_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("label", ["", ".hidden", "../after", "a/b", "a b", "a\n"])
def test_a_label_that_is_no_plain_file_name_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(RecipeError, match="label"):
        RunFolder(tmp_path).evaluation_path(label)
    assert RunFolder(tmp_path).evaluation_path("after-2.b_c") == tmp_path / "evaluation" / "after-2.b_c.json"


def test_a_folder_is_held_by_one_process_and_let_go_when_it_dies(tmp_path: Path) -> None:
    run = RunFolder.create(recipe_for(tmp_path / "run"), {})
    program = (
        "import sys; from simpo.runs.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).locked(): print('in', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert other.stdout is not None and other.stdin is not None
    assert other.stdout.readline() == "in\n"
    with pytest.raises(RecipeError, match="another process is writing") as refusal, run.locked():
        pass
    assert refusal.value.exit_status == 2
    other.kill()
    other.wait()
    other.stdout.close()
    other.stdin.close()
    with run.locked(), pytest.raises(RecipeError), run.locked():
        pass
    with run.locked():  # and the lock is free again after a block
        pass


def test_an_error_inside_a_locked_block_is_told_as_it_is(tmp_path: Path) -> None:
    run = RunFolder.create(recipe_for(tmp_path / "run"), {})
    with pytest.raises(FileNotFoundError), run.locked():
        (tmp_path / "nothing").read_text()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 300))
def test_an_atomic_write_leaves_the_new_contents_or_the_old_and_nothing_else(
    tmp_path: Path, old: bytes, new: bytes, limit: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(old)
    with file_limit(limit):
        if len(new) <= limit:
            write_atomic(path, new)
        else:
            with pytest.raises(RunFailed):
                write_atomic(path, new)
    assert path.read_bytes() == (new if len(new) <= limit else old)
    assert names_in(tmp_path) == ["file"]


def test_a_written_file_has_the_permissions_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_is_written_for_people_and_refuses_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"straße": 1})
    assert "straße" in path.read_text(encoding="utf-8") and read_json(path) == {"straße": 1}
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("inf")})
    assert read_json(path) == {"straße": 1}
    write_json_lines(path, [{"a": 1}, {"b": "x\u2028y"}])
    assert path.read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "\x00"])
def test_a_file_that_holds_no_json_object_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"file\.json"):
        read_json(path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; nothing half-written was kept"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (SafetensorError("I/O error: File too large (os error 27)"), "ulimit -f"),
        (Exception("No space left on device (os error 28)"), "the disk is full"),  # tokenizers
        (OSError(errno.EROFS, "Read-only file system"), "cannot write: Read-only file system"),
        (SafetensorError("something else"), "cannot write: something else"),
    ],
)
def test_a_refusal_to_write_is_told_in_words_with_the_path(error: Exception, message: str) -> None:
    with pytest.raises(RunFailed, match=message) as failure, storage_errors(Path("runs/one")):
        raise error
    assert failure.value.exit_status == 5 and failure.value.where == "runs/one"


def test_errors_of_our_own_pass_a_storage_block_unchanged() -> None:
    ours = SimpoError("as it is")
    with pytest.raises(SimpoError) as failure, storage_errors(Path("x")):
        raise ours
    assert failure.value is ours


def test_the_limit_of_these_tests_is_lifted_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with file_limit(10):
        pass
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
