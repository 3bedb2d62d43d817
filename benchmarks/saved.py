"""Results that are kept: beside the figures when, where and with which code they came about."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save_result(name: str, content: dict[str, Any]) -> Path:
    """Write `content` as `results/<date>-<name>.json`; returns its path."""
    from simpo.runs.folder import write_json
    from simpo.runs.machine import code_version, machine

    created = datetime.now(UTC).isoformat(timespec="seconds")
    origin = {"schema": 1, "created": created, "machine": machine(), "code_version": code_version()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{created[:10]}-{name}.json"
    write_json(path, {**origin, **content})
    return path
