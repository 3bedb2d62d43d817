"""A run is a folder, and the folder is the interface: its files, written atomically, and the lock on it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from simpo.errors import RecipeError, RunFailed
from simpo.recipe import LoadedRecipe, load_recipe
from simpo.runs.secrets import without_secrets

_AFTER_FULL_DISK = "free some space and go on with `simpo train --resume`: what was saved before is intact"


class RunFolder:
    """The paths of one run and the reading and writing of its small files."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.recipe_path = self.path / "recipe.yaml"
        self.lineage_path = self.path / "run.json"
        self.events_path = self.path / "events.jsonl"
        self.rendering_path = self.path / "rendering.json"
        self.checkpoints = self.path / "checkpoints"
        self.evaluation = self.path / "evaluation"
        self.report_path = self.path / "report.html"

    @classmethod
    def create(cls, loaded: LoadedRecipe, lineage: dict[str, Any]) -> RunFolder:
        """Make the folder of a new run, recipe and lineage in it, by one rename; RecipeError when it holds anything."""
        final = cls(loaded.recipe.output)
        final.require_free()
        with _refused_path(final.path):
            final.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = cls(_beside(final.path))
            temporary.path.mkdir()
        try:
            with storage_errors(final.path):
                temporary.checkpoints.mkdir()
                temporary.evaluation.mkdir()
            write_atomic(temporary.recipe_path, loaded.to_yaml())
            write_json(temporary.lineage_path, lineage)
            final.require_free()  # a second process may have been as quick
            with storage_errors(final.path):
                temporary.path.rename(final.path)
        except BaseException:
            shutil.rmtree(temporary.path, ignore_errors=True)
            raise
        return final

    def require_free(self) -> None:
        """RecipeError when the folder exists and holds anything (nothing is ever overwritten) or cannot be made."""
        with _refused_path(self.path):
            free = not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))
            if free:
                _require_writable(self.path)
                return
        hint = f"go on with it by `simpo train --resume {self.path}`, or " if is_run_folder(self.path) else ""
        fix = f"{hint}choose another `output`"
        raise RecipeError("the run folder exists already; nothing was changed", where=str(self.path), fix=fix)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run; RecipeError when the folder is not one."""
        if not is_run_folder(Path(path)):
            raise RecipeError("not a run folder: it holds no recipe.yaml and run.json", where=str(path))
        return cls(path)

    def load_recipe(self) -> LoadedRecipe:
        """The recipe as resolved when the run began, its output being where the folder is now."""
        loaded = load_recipe(self.recipe_path)
        recipe = loaded.recipe.model_copy(update={"output": str(self.path)})
        return LoadedRecipe(recipe, loaded.origins)

    def lineage(self) -> dict[str, Any]:
        """The contents of run.json."""
        return read_json(self.lineage_path)

    def update_lineage(self, **changes: Any) -> None:
        """Write run.json again with these keys set."""
        write_json(self.lineage_path, {**self.lineage(), **changes})

    def evaluation_path(self, label: str) -> Path:
        """Where the evaluation called `label` lies; RecipeError for a label that is no plain file name."""
        if not label or label.startswith(".") or not all(c.isalnum() or c in "-_." for c in label):
            raise RecipeError(f"label {label!r} must be letters, digits, dashes, dots and underscores")
        return self.evaluation / f"{label}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone; RecipeError when another one holds it or it cannot be written."""
        with _refused_path(self.path):
            file = (self.path / ".lock").open("a")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RecipeError(
                    "another process is writing to this run folder",
                    where=str(self.path),
                    fix="wait for it, or stop it",
                ) from None
            yield


def is_run_folder(path: Path) -> bool:
    """Whether a path is a run folder of ours."""
    return (path / "recipe.yaml").is_file() and (path / "run.json").is_file()


@contextmanager
def storage_errors(path: Path, *, fix: str = _AFTER_FULL_DISK) -> Iterator[None]:
    """Turn refusals to write into errors that name the path; `fix` says what to do once there is space again.

    safetensors and tokenizers report a refusal as errors of their own, with the operating system's number in the text.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        tokenizers = type(error) is Exception and number is not None  # which has no class for its errors
        if not (isinstance(error, (OSError, SafetensorError)) or tokenizers):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full"
        elif number == errno.EFBIG:
            reason = "the file is larger than is allowed here (see `ulimit -f`)"
        else:
            raise RunFailed(f"cannot write: {reason}", where=str(path)) from error
        raise RunFailed(f"{reason}; nothing half-written was kept", where=str(path), fix=fix) from error


def _number_in(text: str) -> int | None:
    found = re.search(r"\(os error (\d+)\)", text)
    return int(found.group(1)) if found else None


@contextmanager
def _refused_path(path: Path) -> Iterator[None]:
    """A path that the operating system refuses before anything was written is a path to choose anew."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunFailed("the disk is full", where=str(path), fix="free some space") from error
        reason = error.strerror or str(error)
        raise RecipeError(
            f"cannot write here: {reason}", where=str(path), fix="choose a folder you may write to"
        ) from error


def _require_writable(path: Path) -> None:
    """RecipeError where the nearest folder that exists takes no new files: better before an hour of preparation."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise RecipeError(
            "cannot write here: not a folder, or not one you may write to",
            where=str(nearest),
            fix="choose another `output`",
        )


def _beside(path: Path) -> Path:
    """A name that nothing has, in the folder of `path`, so that a rename takes it there."""
    path = path.absolute()
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def leftovers_of(path: Path) -> list[Path]:
    """What writers of this file that were killed on the way have left beside it; a living one's is among them."""
    return list(path.parent.glob(f".{path.name}.*-*"))


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old contents or the new, never a part; a failure leaves the old ones.

    Text is written without the values of this process's secret variables (`simpo.runs.secrets`).
    """
    payload = without_secrets(data).encode("utf-8") if isinstance(data, str) else data
    temporary = _beside(path)
    with storage_errors(path):
        try:
            with temporary.open("xb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: without it a power cut may undo a rename that was long done."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; non-finite numbers are a bug and refused."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines, atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; RecipeError naming the file when it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise RecipeError("is not a JSON object", where=str(path))
    return value
