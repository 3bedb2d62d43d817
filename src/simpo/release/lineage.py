"""simpo.json: where an export comes from, stage by stage, in names and hashes that hold on any machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

import simpo
from simpo.data.files import SUFFIXES
from simpo.recipe import Recipe
from simpo.runs.folder import RunFolder
from simpo.runs.machine import code_version, libraries

_DATA_SUFFIXES = (*SUFFIXES, ".gz", ".zst")
_HUB_DATA = re.compile(r"[\w.-]+/[\w.-]+(:\S+)?")
_PART = re.compile(r" \((train|validation) part\)$")


@dataclass(frozen=True, slots=True)
class Root:
    """The published model at the beginning of a chain of runs.

    name: the hub id, or the last part of its folder's path. hub_id: None for a folder. readme: its README.md, where one
    is at hand.
    """

    name: str
    hub_id: str | None
    hash: str
    readme: Path | None


def root_of(lineage: Mapping[str, Any], recipe: Recipe) -> Root:
    """The model that the oldest run of the chain started from."""
    parents = lineage.get("parents") or []
    name = str(parents[0]["model"] if parents else lineage["model"]["name"])
    digest = str(parents[0]["model_hash"] if parents else lineage["model"]["hash"])
    folder = Path(name).expanduser()
    if folder.is_dir():
        readme = folder / "README.md"
        return Root(public_name(name), None, digest, readme if readme.is_file() else None)
    revision = None if parents else recipe.model.revision
    if name.count("/") == 1 and isinstance(_cached(name, "config.json", revision), str):
        found = _cached(name, "README.md", revision)
        return Root(name, name, digest, Path(found) if isinstance(found, str) else None)
    return Root(public_name(name), None, digest, None)


def _cached(hub_id: str, file: str, revision: str | None) -> object:
    # The cache and not the hub: what was trained on was downloaded, and an export asks no network.
    return try_to_load_from_cache(hub_id, file, revision=revision)


def public_name(path: str) -> str:
    """The last part of a path: where somebody's folders lie is nobody else's business."""
    return path.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or path


def data_name(data: Mapping[str, Any]) -> str:
    """A data set's name without the folders of the machine it was read on, and the dataset version it is of, if any.

    Hub ids stay as they are.
    """
    name = str(data.get("name", ""))
    part = _PART.search(name)
    if part:
        name = name[: part.start()]
    shown = [
        one if _HUB_DATA.fullmatch(one) and not one.endswith(_DATA_SUFFIXES) else public_name(one)
        for one in name.split(", ")
    ]
    version = f" of version {data['version'][:12]}" if data.get("version") else ""
    return ", ".join(shown) + version + (part.group() if part else "") or "unnamed"


def stages(run: RunFolder, lineage: Mapping[str, Any], root: Root) -> list[dict[str, Any]]:
    """The chain from the published model through every parent run to this run, the oldest first."""
    parents = [
        {
            "stage": parent.get("kind"),
            "run": public_name(str(parent.get("run", ""))),
            "method": parent.get("method"),
            "data_hash": parent.get("data_hash"),
            "start_model_hash": parent.get("model_hash"),
        }
        for parent in lineage.get("parents") or []
    ]
    own = {
        "stage": lineage["kind"],
        "run": run.path.resolve().name,
        "method": lineage.get("method"),
        "data_hash": lineage["data"]["train"]["hash"],
        "start_model_hash": lineage["model"]["hash"],
        "created": lineage.get("created"),
        "status": lineage.get("status"),
        "seed": lineage.get("seed"),
        "data": {
            name: {
                "name": data_name(data),
                "rows": data.get("rows"),
                "hash": data.get("hash"),
                **({"dataset_version": data["version"]} if data.get("version") else {}),
            }
            for name, data in lineage["data"].items()
        },
        "simpo_version": lineage.get("simpo_version"),
        "code_version": lineage.get("code_version"),
        "libraries": lineage.get("libraries"),
    }
    return [{"stage": "model", "name": root.name, "model_hash": root.hash}, *parents, own]


def lineage_json(
    chain: list[dict[str, Any]], method: str, export: Mapping[str, Any], files: Mapping[str, str]
) -> dict[str, Any]:
    """The contents of simpo.json. `export`: what was written and how it compares; `files`: sha256 by name."""
    return {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": method,
        "lineage": [*chain, {"stage": "export", **export}],
        "simpo_version": simpo.__version__,
        "code_version": code_version(),
        "libraries": libraries(),
        "files": dict(files),
    }
