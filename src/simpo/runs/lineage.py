"""run.json: where a run came from, from data hash to parent runs, and what it ran on."""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import simpo
from simpo.core.methods import METHODS
from simpo.recipe import Recipe
from simpo.records import Dataset
from simpo.runs.folder import read_json
from simpo.runs.machine import code_version, libraries, machine
from simpo.runs.secrets import without_credentials


class LoadedModel(Protocol):
    """What lineage wants to know of a policy."""

    name: str
    hash: str
    parent_run: Path | None


def first_lineage(
    recipe: Recipe,
    policy: LoadedModel,
    datasets: dict[str, Dataset],
    hashes: dict[str, str],
    token_hashes: dict[str, str],
) -> dict[str, Any]:
    """The contents of run.json as a run begins.

    hashes and token_hashes: of each data set's rows, and of the token ids that they were rendered to.
    """
    return {
        "schema": 1,
        "kind": "preference" if METHODS[recipe.method.name].pairwise else "sft",
        "status": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "simpo_version": simpo.__version__,
        "code_version": code_version(),
        "method": recipe.method.describe(),
        "data": {
            name: {**_describe_data(dataset, hashes[name]), "tokens_hash": token_hashes[name]}
            for name, dataset in datasets.items()
        },
        "model": {
            "name": policy.name,
            "hash": policy.hash,
            "parent_run": None if policy.parent_run is None else str(policy.parent_run.resolve()),
        },
        "parents": parents_of(policy.parent_run),
        "seed": recipe.train.seed,
        "machine": machine(),
        "libraries": libraries(),
        "command": [without_credentials(word) for word in sys.argv],
    }


def parents_of(parent: Path | None) -> list[dict[str, Any]]:
    """The chain of runs a model came through, the oldest first, each with its data and starting model."""
    if parent is None:
        return []
    lineage = read_json(parent / "run.json")
    own = {
        "run": str(parent.resolve()),
        "kind": lineage["kind"],
        "method": lineage.get("method"),
        "data_hash": lineage["data"]["train"]["hash"],
        "model_hash": lineage["model"]["hash"],
        "model": lineage["model"]["name"],
    }
    return [*lineage.get("parents", []), own]


def _describe_data(dataset: Dataset, digest: str) -> dict[str, Any]:
    files = {str(path): _file_hash(path) for path in dataset.files}
    described = {"name": dataset.name, "hash": digest, "rows": len(dataset.rows), "files": files}
    return described if dataset.version is None else {**described, "version": dataset.version}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
