"""What an audit knows once it is done: what was read and found, the verdict, and audit.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import simpo
from simpo.audit.findings import Finding
from simpo.audit.methods import Method
from simpo.audit.verdict import Verdict

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read.

    files: of each its path (or hub id), sha256 (None where it was not read to its end), rows, and which format was
    taken and why. dropped: rows that gave no pair, by reason. hash: of the pairs, whatever their order and the format
    of the files.
    """

    name: str
    format: str
    files: tuple[Mapping[str, Any], ...]
    rows_read: int
    pairs: int
    prompts: int
    dropped: Mapping[str, int]
    hash: str

    def to_json(self) -> dict[str, Any]:
        """The facts as audit.json has them under `data`."""
        return {
            "name": self.name,
            "format": self.format,
            "files": [dict(file) for file in self.files],
            "rows_read": self.rows_read,
            "pairs": self.pairs,
            "prompts": self.prompts,
            "dropped": dict(self.dropped),
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """All that is known of some files of pairs. `Finding.rows` number the pairs in the order they were read."""

    data: Facts
    settings: Mapping[str, Any]
    findings: tuple[Finding, ...]
    verdict: Verdict
    methods: tuple[Method, ...]
    created: str
    seconds: float
    peak_memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """audit.json, schema 1: everything but the row numbers, in plain JSON values."""
        values: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "created": self.created,
                "simpo_version": simpo.__version__,
                "data": self.data.to_json(),
                "settings": self.settings,
                "verdict": self.verdict.to_json(),
                "methods": [method.to_json() for method in self.methods],
                "findings": [finding.to_json() for finding in self.findings],
                "seconds": self.seconds,
                "peak_memory_bytes": self.peak_memory_bytes,
            }
        )
        return values


def plain(value: Any) -> Any:
    """A value as JSON has it: text keys, lists, Python's numbers, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
