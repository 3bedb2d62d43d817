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
from simpo.runs.folder import leftovers_of, read_json, storage_errors, sync_folder, write_atomic, write_json

MANIFEST = "manifest.json"
OPTIMIZER = "optimizer.safetensors"  # its tensors and the random state; gone once the run is done


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

    Returns the checkpoint and its size in bytes. A checkpoint of the same step is replaced. On any failure the
    temporary folder is removed and what was there before stays as it was. Raises RunFailed on a full disk.
    """
    final = checkpoints / _folder_name(step)
    temporary = checkpoints / f".writing-{final.name}"
    with storage_errors(final):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            write(temporary)
            size = _write_manifest(temporary)
            _put_in_place(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return Checkpoint(final, step), size


def recover(run: Path) -> None:
    """Put back what a process that was killed while replacing a checkpoint had moved, and sweep what it left behind.

    Of the run's files, those that are written under its lock; another process may be writing a report.
    """
    checkpoints = run / "checkpoints"
    with storage_errors(run):
        for replaced in checkpoints.glob(".replaced-step-*"):
            final = checkpoints / replaced.name.removeprefix(".replaced-")
            if not final.exists():
                replaced.rename(final)
        _sweep(checkpoints)
        for name in ("run.json", "rendering.json", "checkpoints/best.json"):
            for leftover in leftovers_of(run / name):
                leftover.unlink(missing_ok=True)


def verify(path: Path, part: str = "") -> None:
    """Check the files of a checkpoint (below `part`, where given) against its manifest.

    Raises CheckFailed naming the first that differs.
    """
    try:
        files = dict(json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckFailed("the checkpoint has no readable manifest", where=str(path)) from None
    for name, expected in files.items():
        if not name.startswith(part):
            continue
        file = path / name
        if not file.is_file():
            raise CheckFailed(f"the checkpoint lacks {name}", where=str(path))
        if _file_hash(file) != expected:
            raise CheckFailed(f"{name} of the checkpoint is not what was written", where=str(path))


def latest_checkpoint(checkpoints: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None.

    Each newer one that does not verify is named through `warn` and renamed to `damaged-step-...`, so that no later
    pruning takes it for the newest and removes a whole one in its favour.
    """
    for step, path in sorted(_listed(checkpoints), reverse=True):
        try:
            verify(path)
        except CheckFailed as problem:
            aside = path.with_name(f"damaged-{path.name}")
            with storage_errors(path):
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
            warn(f"{problem}; it now lies in {aside.name}, and the one before it is used")
            continue
        return Checkpoint(path, step)
    return None


def whole_checkpoint(checkpoints: Path, step: int) -> Checkpoint | None:
    """The checkpoint of this step if it is there and verifies."""
    path = checkpoints / _folder_name(step)
    try:
        verify(path)
    except CheckFailed:
        return None
    return Checkpoint(path, step)


def set_best(checkpoints: Path, step: int | None) -> None:
    """Point `best.json` to the checkpoint of this step; None for no best one yet."""
    if step is None:
        with storage_errors(checkpoints):
            (checkpoints / "best.json").unlink(missing_ok=True)
    else:
        write_json(checkpoints / "best.json", {"step": step})


def best_model_folder(run: Path) -> Path:
    """The model folder of a run's best checkpoint (its newest when none was named best), verified.

    Raises RecipeError when the run has no checkpoint, CheckFailed when the one to use is missing or does not verify.
    """
    checkpoints = run / "checkpoints"
    step = _best_step(checkpoints)
    if step is None:
        step = max(dict(_listed(checkpoints)), default=None)
    if step is None:
        raise RecipeError("the run has no checkpoint yet", where=str(run), fix="let it train, or resume it")
    path = checkpoints / _folder_name(step)
    verify(path, "model")  # the optimizer state beside it is twice as large and not asked for
    return path / "model"


def set_aside_after(checkpoints: Path, step: int) -> None:
    """Rename the checkpoints of later steps to `collapsed-step-...`: nobody then takes one for the run's result."""
    with storage_errors(checkpoints):
        for later, path in _listed(checkpoints):
            if later > step:
                aside = path.with_name(f"collapsed-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)


def prune(checkpoints: Path, *, keep: int, spare: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints, the best and that of step `spare`, and what killed writers left."""
    best = _best_step(checkpoints)
    newest = sorted((step for step, _ in _listed(checkpoints)), reverse=True)[:keep]
    with storage_errors(checkpoints):
        for step, path in _listed(checkpoints):
            if step not in newest and step not in (best, spare):
                path.rename(path.with_name(f".removing-{path.name}"))
        _sweep(checkpoints)


def tidy_finished(run: Path) -> None:
    """Leave of a finished run its newest and its best checkpoint, without optimizer states: nobody goes on from them.

    What a kill interrupts is done by the next call; nothing is touched where nothing is left to do.
    """
    checkpoints = run / "checkpoints"
    recover(run)
    prune(checkpoints, keep=1)
    for _, path in _listed(checkpoints):
        _drop_optimizer(path)


def is_tidy(run: Path) -> bool:
    """Whether `tidy_finished` would find nothing to do."""
    checkpoints = run / "checkpoints"
    hidden = [*checkpoints.glob(".*"), *checkpoints.glob("step-*/.*")]
    return not hidden and not [*checkpoints.glob(f"step-*/{OPTIMIZER}")]


def _drop_optimizer(path: Path) -> None:
    """Remove a checkpoint's optimizer state, which is twice the size of the model, and what a kill left of that."""
    manifest = read_json(path / MANIFEST)
    files = {name: digest for name, digest in manifest["files"].items() if name != OPTIMIZER}
    if files != manifest["files"]:
        write_json(path / MANIFEST, {**manifest, "files": files})
    with storage_errors(path):
        for leftover in (path / OPTIMIZER, *leftovers_of(path / MANIFEST)):
            leftover.unlink(missing_ok=True)


def _folder_name(step: int) -> str:
    return f"step-{step:06d}"


def _listed(checkpoints: Path) -> list[tuple[int, Path]]:
    found = [path for path in checkpoints.glob("step-*") if path.is_dir() and path.name[5:].isdigit()]
    return [(int(path.name[5:]), path) for path in found]


def _best_step(checkpoints: Path) -> int | None:
    best = checkpoints / "best.json"
    return read_json(best).get("step") if best.exists() else None


def _put_in_place(temporary: Path, final: Path) -> None:
    replaced = final.with_name(f".replaced-{final.name}")
    if final.exists():
        # Two renames, since no single one replaces a folder: `recover` mends what a kill between them leaves.
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    temporary.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sweep(checkpoints: Path) -> None:
    for kind in (".writing-*", ".replaced-*", ".removing-*"):
        for leftover in checkpoints.glob(kind):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_manifest(folder: Path) -> int:
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    content = {"schema": 1, "files": {name: _file_hash(path) for name, path in files.items()}}
    for path in files.values():  # after the hashing, which gives the system time to write on its own
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1) + "\n")
    for inner in {path.parent for path in files.values()} | {folder}:
        sync_folder(inner)
    return sum(path.stat().st_size for path in files.values())


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
