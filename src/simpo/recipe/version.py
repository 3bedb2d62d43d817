"""A dataset version in the place of a training file: its other splits serve where no other file is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def with_version_files(data: dict[str, Any]) -> dict[str, Any]:
    """The keys of a data section that a version in `train` stands for: train, validation and test by their files.

    Nothing where `train` is no folder with a readable manifest; what is wrong with it is said when it is read. Keys
    that are given stay as they are.
    """
    given = data.get("train")
    splits = _splits(Path(given)) if isinstance(given, str) else {}
    if not splits.get("train"):
        return {}
    files = {name: str(Path(str(given)) / file) for name, file in splits.items() if file}
    return {name: file for name, file in files.items() if name == "train" or data.get(name) is None}


def _splits(folder: Path) -> dict[str, str | None]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(manifest, dict) or manifest.get("kind") != "dataset_version":
        return {}
    splits = manifest.get("splits")
    if manifest.get("schema") != 1 or not isinstance(splits, dict):
        return {}
    files = {name: part.get("file") for name, part in splits.items() if isinstance(part, dict)}
    return {name: file for name, file in files.items() if isinstance(file, str) and Path(file).name == file}
