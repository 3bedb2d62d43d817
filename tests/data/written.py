"""Rows that are whole, files written from them, and what reading those gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.data.read import read_rows
from simpo.errors import DataError
from simpo.records import Dataset

GOOD = {"prompt": "Where is my parcel?", "chosen": "On its way.", "rejected": "No idea."}
LINE = json.dumps(GOOD)


def put(folder: Path, content: str | bytes, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path | str, **options: Any) -> str:
    """The message, with the folder taken out."""
    with pytest.raises(DataError) as error:
        read_rows(path, **options)
    assert error.value.exit_status == 3
    return str(error.value).replace(f"{Path(path).parent}/", "")


def texts(dataset: Dataset) -> list[tuple[str, ...]]:
    return [(row.prompt[-1].content, *row.completions) for row in dataset.rows]
