"""What production says of the replies: rates of overrides and escalations, from a file the user keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simpo.errors import DataError

FLAGS = ("override", "escalation")


def feedback_rates(path: Path) -> dict[str, Any]:
    """`{"rows", "override", "escalation"}`: replies read, and the share of those with a flag that have it set.

    Each line is a JSON object with `override`, `escalation` or both, true or false; a flag that no line has is None.
    Raises DataError naming the line that is not so.
    """
    counts = {flag: [0, 0] for flag in FLAGS}
    rows = 0
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the feedback cannot be read: {error}", where=str(path), fix="mend guard.feedback"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        rows += 1
        for flag, value in _flags(line, path, number).items():
            counts[flag][0] += value
            counts[flag][1] += 1
    return {"rows": rows, **{flag: yes / seen if seen else None for flag, (yes, seen) in counts.items()}}


def _flags(line: str, path: Path, number: int) -> dict[str, bool]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    found = {flag: row[flag] for flag in FLAGS if flag in row} if isinstance(row, dict) else {}
    if not found or not all(isinstance(value, bool) for value in found.values()):
        raise DataError(
            "a line of feedback holds `override` or `escalation`, each true or false",
            where=f"{path}:{number}",
            fix='for example {"override": false, "escalation": true}',
        )
    return found
