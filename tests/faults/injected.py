"""What goes wrong in a process that a test started: at a certain operation on files, or with its clock.

Operations are seen through Python's audit hooks (PEP 578), which tell of an open, a rename or a removal just before it
is done and may refuse it. None of our own code is replaced.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Events of the audit hook that change something below a folder; those that take space come first.
_TAKES_SPACE = frozenset({"open", "os.mkdir"})
_CHANGES = _TAKES_SPACE | {"os.rename", "os.remove", "os.rmdir", "os.truncate"}
SAVING = ".writing-step-"  # in the name of a checkpoint until it is whole
_WRITING = os.O_WRONLY | os.O_RDWR


def kill_at(folder: Path, number: int, *, saving: bool) -> None:
    """End this process by SIGKILL just before its `number`-th change (from 1) to a file below the folder.

    saving: count only the changes inside a checkpoint that is being written, its renaming included.
    """
    seen = 0

    def act(count: int, event: str, path: str) -> None:
        nonlocal seen
        seen += not saving or SAVING in path
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _count_changes(folder, act)


def refuse_at(folder: Path, number: int, *, code: int, lasting: bool) -> None:
    """Refuse the `number`-th change with an operating system's error; lasting: and all later ones that take space."""

    def act(count: int, event: str, path: str) -> None:
        if count == number or (lasting and count > number and event in _TAKES_SPACE):
            raise OSError(code, os.strerror(code))

    _count_changes(folder, act)


def count_into(folder: Path, file: Path) -> None:
    """Keep the number of changes so far, and of those inside saves, in a file (outside the folder)."""
    saves = 0

    def act(count: int, event: str, path: str) -> None:
        nonlocal saves
        saves += SAVING in path
        file.write_text(json.dumps([count, saves]))

    _count_changes(folder, act)


def _count_changes(folder: Path, act: Callable[[int, str, str], None]) -> None:
    """Call `act` with the number of each change below the folder, or beside it where a new run folder is filled."""
    count, busy = 0, False
    roots = (f"{folder}/", f"{folder.parent}/.{folder.name}.")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, busy
        if busy or event not in _CHANGES or not _below(event, arguments, roots):
            return
        count, busy = count + 1, True
        try:
            act(count, event, os.fsdecode(arguments[0]))
        finally:
            busy = False

    sys.addaudithook(hook)


def _below(event: str, arguments: tuple[Any, ...], roots: tuple[str, str]) -> bool:
    named = arguments[0]
    if isinstance(named, int):
        return False
    path = os.fsdecode(named)
    if event == "open":
        _, mode, flags = arguments
        writes = bool(flags & _WRITING) if mode is None else any(letter in mode for letter in "wax+")
        return writes and path.startswith(roots)
    # Within a removal of a whole tree, names are relative to a folder that is held open.
    return path.startswith(roots) or (event in ("os.remove", "os.rmdir") and not os.path.isabs(path))


def wild_clock(seed: int) -> None:
    """A wall clock that is set anew all the time, by up to ten years either way; monotonic clocks go on."""
    chance, true = random.Random(seed), time.time
    time.time = lambda: true() + chance.uniform(-1, 1) * 10 * 365 * 86400


def arrange(fault: dict[str, Any]) -> None:
    """Arrange what a job of the driver asks for."""
    folder = Path(fault.get("folder", "/"))
    match fault["kind"]:
        case "kill":
            kill_at(folder, fault["number"], saving=fault["saving"])
        case "full":
            refuse_at(folder, fault["number"], code=errno.ENOSPC, lasting=fault["lasting"])
        case "read-only":
            refuse_at(folder, fault["number"], code=errno.EROFS, lasting=True)
        case "count":
            count_into(folder, Path(fault["file"]))
        case "clock":
            wild_clock(fault["seed"])
