"""The folder of a version comes into being by one rename: whole, or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simpo.errors import RecipeError
from simpo.runs.folder import storage_errors, sync_folder

_FIX_FULL = "free some space and build again"


def require_free(out: Path) -> None:
    """RecipeError where something is in the way, or where no folder can be made."""
    try:
        if out.is_dir() and not any(out.iterdir()):
            return
        taken = out.exists() or out.is_symlink()
        if not taken:
            nearest = next(parent for parent in out.absolute().parents if parent.exists())
            if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
                return
    except OSError as error:
        raise RecipeError(f"cannot write here: {error.strerror or error}", where=str(out)) from error
    if taken:
        raise RecipeError(
            "this exists already; nothing was changed", where=str(out), fix="choose another --out"
        )
    raise RecipeError(
        "cannot write here: not a folder, or not one you may write to",
        where=str(nearest),
        fix="choose another --out",
    )


@contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """A new folder beside `out` to fill, which takes its name at the end; nothing is left where anything fails.

    What a killed build of the same name has left beside is swept first: it is known by a lock that nobody holds.
    Raises RunFailed where the disk is full.
    """
    require_free(out)
    out = out.absolute()
    with storage_errors(out, fix=_FIX_FULL):
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        folder = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}")
        folder.mkdir()
    try:
        with storage_errors(out, fix=_FIX_FULL), (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
            (folder / ".lock").unlink()
            for path in folder.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(folder)
            require_free(out)  # somebody else may have been as quick
            folder.rename(out)
            sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _sweep(out: Path) -> None:
    for left in out.parent.glob(f".{_escaped(out.name)}.*-*"):
        try:
            with (left / ".lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # not ours, or at work
            continue


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
