"""Checkpoints: written beside, checked by hash, put in place by one rename; the newest whole one is found again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simpo.errors import CheckFailed, RecipeError
from simpo.runs.folder import read_json, storage_errors, write_atomic, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint: the plain Hugging Face folder `model/`, `state.json`, and optimizer.safetensors if any."""

    path: Path
    step: int

    @property
    def model(self) -> Path:
        """The model as transformers (or, for an adapter, peft) loads it."""
        return self.path / "model"

    def state(self) -> dict[str, Any]:
        """What the training loop wrote about itself."""
        return read_json(self.path / "state.json")


def save_checkpoint(checkpoints: Path, step: int, write: Callable[[Path], None]) -> tuple[Checkpoint, int]:
    """Let `write` fill a temporary folder, add a manifest of hashes, and rename it into place.

    Returns the checkpoint and its size in bytes. A checkpoint of the same step is replaced. On any failure the folder
    is removed and what was there before stays as it was.
    """
    final = checkpoints / _folder_name(step)
    temporary = checkpoints / f".writing-{_folder_name(step)}-{os.getpid()}"
    with storage_errors(final):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            write(temporary)
            size = _write_manifest(temporary)
            if final.exists():
                retired = checkpoints / f".retired-{final.name}-{os.getpid()}"
                final.rename(retired)
                temporary.rename(final)
                shutil.rmtree(retired)
            else:
                temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return Checkpoint(final, step), size


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest; CheckFailed names the first that differs."""
    manifest_path = path / MANIFEST
    try:
        files = json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckFailed("the checkpoint has no readable manifest", where=str(path)) from None
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise CheckFailed(f"the checkpoint lacks {name}", where=str(path))
        if _file_hash(file) != expected:
            raise CheckFailed(f"{name} of the checkpoint is not what was written", where=str(path))


def latest_checkpoint(checkpoints: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies; each newer one that does not is named through `warn`."""
    for step, path in sorted(_listed(checkpoints), reverse=True):
        try:
            verify(path)
        except CheckFailed as problem:
            warn(f"{problem}; going back to the checkpoint before it")
            continue
        return Checkpoint(path, step)
    return None


def set_best(checkpoints: Path, step: int) -> None:
    """Point `best.json` to the checkpoint of this step."""
    write_json(checkpoints / "best.json", {"step": step})


def best_model_folder(run: Path) -> Path:
    """The model folder of a run's best checkpoint (its newest when none was named best), verified.

    Raises RecipeError when the run has no checkpoint, CheckFailed when the one to use does not verify.
    """
    checkpoints = run / "checkpoints"
    best = checkpoints / "best.json"
    listed = dict(_listed(checkpoints))
    step = read_json(best).get("step") if best.exists() else max(listed, default=None)
    if step not in listed:
        raise RecipeError("the run has no checkpoint yet", where=str(run), fix="let it train, or resume it")
    verify(listed[step])
    return listed[step] / "model"


def prune(checkpoints: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints and the best, and what killed writers left behind."""
    best_file = checkpoints / "best.json"
    best = read_json(best_file).get("step") if best_file.exists() else None
    newest = sorted((step for step, _ in _listed(checkpoints)), reverse=True)[:keep]
    for step, path in _listed(checkpoints):
        if step not in newest and step != best:
            doomed = checkpoints / f".retired-{path.name}"
            path.rename(doomed)
            shutil.rmtree(doomed)
    for leftover in [*checkpoints.glob(".writing-*"), *checkpoints.glob(".retired-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def drop_optimizer(checkpoint: Checkpoint) -> None:
    """Remove the optimizer state of a finished run's checkpoint: it is twice the size of the model and has no user."""
    manifest = read_json(checkpoint.path / MANIFEST)
    files = {name: digest for name, digest in manifest["files"].items() if name != "optimizer.safetensors"}
    write_json(checkpoint.path / MANIFEST, {**manifest, "files": files})
    (checkpoint.path / "optimizer.safetensors").unlink(missing_ok=True)


def _folder_name(step: int) -> str:
    return f"step-{step:06d}"


def _listed(checkpoints: Path) -> list[tuple[int, Path]]:
    found = [path for path in checkpoints.glob("step-*") if path.is_dir() and path.name[5:].isdigit()]
    return [(int(path.name[5:]), path) for path in found]


def _write_manifest(folder: Path) -> int:
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    for path in files.values():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    content = {"schema": 1, "files": {name: _file_hash(path) for name, path in files.items()}}
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1) + "\n")
    return sum(path.stat().st_size for path in files.values())


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
