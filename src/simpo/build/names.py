"""Names for the files that were read, which say the same on every machine: paths as short as tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def short_names(sources: Sequence[Path | str]) -> dict[str, str]:
    """For each source as text, the end of its path that no other one has; a hub id stays as it is."""
    parts = {str(one): one.resolve().parts[1:] if isinstance(one, Path) else (one,) for one in sources}
    names: dict[str, str] = {}
    for text, own in parts.items():
        for length in range(1, len(own) + 1):
            name = "/".join(own[-length:])
            if sum(other[-length:] == own[-length:] for other in parts.values()) == 1:
                break
        names[text] = name
    assert max(Counter(names.values()).values(), default=0) <= 1
    return names


def renamed(value: Any, names: dict[str, str]) -> Any:
    """JSON values with the paths in them by their short names: `path`, or `path:line`; texts of rows stay."""
    if isinstance(value, dict):
        return {
            str(renamed(key, names)): inner
            if key in ("prompt", "chosen", "rejected")
            else renamed(inner, names)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [renamed(inner, names) for inner in value]
    if not isinstance(value, str):
        return value
    for path, name in names.items():
        if value == path or value.startswith(f"{path}:"):
            return name + value.removeprefix(path)
    return value.replace(", ".join(names), ", ".join(names.values())) if len(names) > 1 else value
