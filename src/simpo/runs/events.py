"""events.jsonl: the append-only story of a run, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from simpo.runs.folder import storage_errors
from simpo.runs.secrets import without_credentials, without_secrets

SCHEMA_VERSION = 1


class EventLog:
    """Appends events, each whole or not at all; a line that a kill left half-written is closed off first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _close_torn_line(path)

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Append one event with its time and return it as written; RunFailed on a full disk, with nothing added."""
        if "message" in fields:
            fields["message"] = without_credentials(str(fields["message"]))
        record = {"v": SCHEMA_VERSION, "time": time.time(), "event": event, **fields}
        # In ASCII: one line stays one line whatever characters the text holds, and any text can be written.
        line = without_secrets(json.dumps(record, allow_nan=False)) + "\n"
        with storage_errors(self.path):
            _append_whole(self.path, line.encode("ascii"))
        return record

    def sync(self) -> None:
        """Bring what was appended to the disk itself, so that no checkpoint is ahead of its story."""
        if self.path.exists():
            with storage_errors(self.path), self.path.open("rb+") as file:
                os.fsync(file.fileno())


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run as one straight story.

    Lines that a kill tore are skipped. After a `resume` at step s, what an earlier process wrote of later steps is left
    out: those steps were taken again. So is its `stop`: the run had not come to its end.
    """
    events: list[dict[str, Any]] = []
    if not path.exists():
        return events
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or "event" not in record:
            continue
        if record["event"] == "resume":
            events = [earlier for earlier in events if _happened(earlier, record)]
        events.append(record)
    return events


def _happened(earlier: dict[str, Any], resume: dict[str, Any]) -> bool:
    if earlier["event"] == "stop":
        return False
    if earlier["event"] in ("evaluate", "feedback") and earlier.get("step") == resume["step"]:
        return bool(resume.get("evaluated", True))
    if earlier["event"] == "guard" and earlier.get("step") == resume["step"]:
        return bool(resume.get("looked", True))
    return bool(earlier.get("step", 0) <= resume["step"])


def _append_whole(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while line:
                line = line[
                    os.write(descriptor, line) :
                ]  # a disk that fills up takes a part and then refuses
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _close_torn_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with storage_errors(path), path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
