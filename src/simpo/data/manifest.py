"""What a dataset version says of itself: the manifest, its checks, and the hashes in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simpo.errors import DataError

SCHEMA = 1
MANIFEST, INDEX = "manifest.json", "rows.txt"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# A manifest names files inside its own folder and no others.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class SplitPart(_Part):
    """One split: its file (none where no row fell to it), its rows, and the content hash of its pairs."""

    file: FileName | None
    rows: int
    hash: Sha256


class FilePart(_Part):
    """A file of the version: its bytes, counted and hashed."""

    sha256: Sha256
    bytes: int


class SourcePart(_Part):
    """A file (or hub id) that was read. `name` is its path as far as it tells it from the others."""

    name: str
    format: str
    sha256: Sha256 | None
    pairs: int


class LookedUp(_Part):
    """A held-out file or a benchmark, of whose prompts the pairs were freed."""

    name: str
    sha256: Sha256 | None


class Counts(_Part):
    """Rows and pairs at each stage.

    rows_read = rows_used + the sum of rows_dropped; pairs_read = the sum of pairs_dropped + the sum of splits.
    parts_dropped are answers or turns of rows that gave other pairs; repaired pairs are kept, changed.
    """

    rows_read: int
    rows_dropped: dict[str, int]
    rows_used: int
    parts_dropped: dict[str, int]
    pairs_read: int
    pairs_dropped: dict[str, int]
    pairs_repaired: dict[str, dict[str, int]]
    splits: dict[str, int]


class SplitRule(_Part):
    """What decides the split of a group that the parent does not have.

    shares: of validation and test; the rest is training. length_edges: quartiles of the chosen reply's length in
    characters. thresholds: for `exact`, per stratum, the two numbers in [0, 1] below which a group's hash means test,
    and below which validation; a stratum without an entry has the shares themselves.
    """

    seed: int
    validation: float
    test: float
    stratify: Literal["stable", "exact"]
    group: Literal["near", "exact"]
    length_edges: tuple[float, float, float]
    thresholds: dict[str, tuple[float, float]]


class Stratum(_Part):
    """The rows of one category and quartile of length in each split."""

    category: str | None
    quartile: int
    rows: dict[str, int]


class Conflict(_Part):
    """A group of prompts that would join rows which the parent has in different splits; the new rows are left out."""

    splits: tuple[str, ...]
    group: str
    prompts: int
    rows_left_out: int


class Grouping(_Part):
    """How many different prompts there are, how many groups they form, and the largest group's share of the rows."""

    prompts: int
    groups: int
    largest_rows: int


class LengthSkew(_Part):
    """How far the length of the replies gives the label away, in the training split.

    longer_chosen: share of the pairs with a longer chosen reply among those of different length. auc: of the log ratio
    of the lengths as a guess of the label, 0.5 where it says nothing (`simpo.core.ranking.pair_auc`).
    """

    rows: int
    longer_chosen: float
    auc: float


class Lengths(_Part):
    """The skew before and after balancing; equal where nothing was balanced."""

    before: LengthSkew
    after: LengthSkew


class Parent(_Part):
    """The version that this one continues."""

    name: str
    hash: Sha256


class Manifest(_Part):
    """manifest.json, schema 1.

    hash identifies the version: the pairs of each split, independent of their order and of the kind of file.
    manifest_hash is the sha256 of the other values here, so that an edit of the manifest shows.
    """

    schema_version: Literal[1] = Field(alias="schema")
    kind: Literal["dataset_version"]
    hash: Sha256
    manifest_hash: Sha256 | None = None
    simpo_version: str
    code_version: str
    libraries: dict[str, str]
    format: Literal["parquet", "jsonl"]
    splits: dict[Split, SplitPart]
    counts: Counts
    sources: tuple[SourcePart, ...]
    looked_up: tuple[LookedUp, ...] = ()
    settings: dict[str, Any]
    split_rule: SplitRule
    strata: tuple[Stratum, ...]
    conflicts: tuple[Conflict, ...]
    grouping: Grouping
    lengths: Lengths | None
    parent: Parent | None
    files: dict[FileName, FilePart]

    def to_json(self) -> dict[str, Any]:
        """The values as they stand in the file."""
        return self.model_dump(mode="json", by_alias=True)

    def sealed(self) -> Manifest:
        """The manifest with its own hash."""
        return self.model_copy(update={"manifest_hash": self.own_hash()})

    def own_hash(self) -> str:
        """The sha256 of all values but `manifest_hash`."""
        values = {key: value for key, value in self.to_json().items() if key != "manifest_hash"}
        text = json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def version_hash(hashes: Mapping[Split, str]) -> str:
    """The hash of a version: sha256 over the content hash of each split, with its name."""
    lines = "".join(f"{split} {hashes[split]}\n" for split in SPLITS if split in hashes)
    return hashlib.sha256(lines.encode()).hexdigest()


def content_hash(ids: Iterable[str]) -> str:
    """The hash of some pairs by their ids, whatever their order: as `Dataset.hash`."""
    digest = hashlib.sha256()
    for one in sorted(ids):
        digest.update(one.encode())
    return digest.hexdigest()


class NotAVersion(DataError):
    """A manifest.json of something else."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version; DataError where there is none, where it is damaged, or of a newer schema."""
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "not a dataset version: it has no manifest.json" if folder.is_dir() else "no such folder"
        raise DataError(what, where=str(folder), fix="`simpo build FILES --out DIR` writes one") from None
    except (OSError, ValueError) as error:
        raise DataError(f"the manifest cannot be read: {error}", where=str(path), fix=_RESTORE) from error
    if not isinstance(values, dict) or values.get("kind") != "dataset_version":
        raise NotAVersion(
            "not the manifest of a dataset version",
            where=str(path),
            fix="`simpo build FILES --out DIR` writes a version",
        )
    schema = values.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise DataError(
            f"a dataset version of schema {schema}, and this simpo reads up to {SCHEMA}",
            where=str(path),
            fix=f"upgrade simpo (the version was written by {values.get('simpo_version', 'a newer one')})",
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"the manifest is damaged: {key}: {first['msg']}", where=str(path), fix=_RESTORE
        ) from None


_RESTORE = "restore the version from where it was copied, or build it again"
