"""What a version says of itself beside its pairs: the manifest, the audits, the card."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from math import isfinite
from pathlib import Path
from typing import Any

import simpo
from simpo.audit.result import Audit
from simpo.build.card import card_text
from simpo.build.keep import Tallies
from simpo.build.names import renamed
from simpo.build.plan import Placed, strata_table
from simpo.build.recipe import BuildRecipe, SplitRecipe
from simpo.build.spool import Kept
from simpo.build.write import Written
from simpo.data.manifest import (
    MANIFEST,
    SPLITS,
    Counts,
    FilePart,
    Lengths,
    LookedUp,
    Manifest,
    Parent,
    SourcePart,
    Split,
    SplitPart,
    content_hash,
    version_hash,
)
from simpo.data.read import RowStream
from simpo.data.version import Version
from simpo.runs.folder import write_atomic, write_json
from simpo.runs.machine import code_version

_LIBRARIES = ("pyarrow",)


@dataclass(slots=True)
class Made:
    """What the stages of a build hand on: the kept pairs, what was counted, their splits, the skew of lengths."""

    stream: RowStream
    kept: Kept
    tallies: Tallies
    placed: Placed
    num_sources: int
    lengths: Lengths | None


def manifest_of(
    recipe: BuildRecipe,
    made: Made,
    written: dict[Split, Written],
    parent: Version | None,
    names: dict[str, str],
    looked_up: Sequence[Path | str],
) -> Manifest:
    """The manifest without its files; looked_up: the held-out files and benchmarks."""
    splits = {
        split: SplitPart(
            file=written[split].file if split in written else None,
            rows=len(written[split].ids) if split in written else 0,
            hash=content_hash(written[split].ids if split in written else ()),
        )
        for split in SPLITS
    }
    return Manifest(
        schema=1,
        kind="dataset_version",
        hash=version_hash({split: part.hash for split, part in splits.items()}),
        simpo_version=simpo.__version__,
        code_version=code_version(),
        libraries={name: installed(name) for name in _LIBRARIES},
        format=recipe.write,
        splits=splits,
        counts=_counts(made, splits),
        sources=_sources(made, names),
        looked_up=tuple(
            LookedUp(name=names[str(one)], sha256=_sha256(one) if isinstance(one, Path) else None)
            for one in looked_up
        ),
        settings=_settings(recipe, parent),
        split_rule=made.placed.rule,
        strata=strata_table(made.kept, made.placed.split, made.placed.rule.length_edges),
        conflicts=made.placed.conflicts,
        grouping=made.placed.grouping,
        lengths=made.lengths,
        parent=None if parent is None else Parent(name=parent.path.resolve().name, hash=parent.hash),
        files={},
    )


def _settings(recipe: BuildRecipe, parent: Version | None) -> dict[str, Any]:
    """The settings in force: those of the split are the parent's where there is one."""
    settings = recipe.settings()
    return (
        settings if parent is None else {**settings, "split": inherited_split(parent).model_dump(mode="json")}
    )


def _counts(made: Made, splits: dict[Split, SplitPart]) -> Counts:
    tallies, stream = made.tallies, made.stream
    counts = Counts(
        rows_read=stream.num_rows,
        rows_dropped=dict(sorted(tallies.rows_dropped.items())),
        rows_used=stream.num_used,
        parts_dropped=dict(sorted(tallies.parts_dropped.items())),
        pairs_read=tallies.pairs_read,
        pairs_dropped=dict(sorted(tallies.pairs_dropped.items())),
        pairs_repaired={kind: dict(done) for kind, done in sorted(tallies.pairs_repaired.items())},
        splits={split: part.rows for split, part in splits.items()},
    )
    assert counts.pairs_read == sum(counts.pairs_dropped.values()) + sum(counts.splits.values())
    return counts


def _sources(made: Made, names: dict[str, str]) -> tuple[SourcePart, ...]:
    hashes = {str(path): digest for path, digest in made.stream.hashes.items()}
    return tuple(
        SourcePart(
            name=name,
            format=made.stream.formats[number] if number < len(made.stream.formats) else "",
            sha256=hashes.get(path),
            pairs=made.tallies.pairs_of_file[path],
        )
        for number, (path, name) in enumerate(names.items())
        if number < made.num_sources
    )


def inherited_split(parent: Version) -> SplitRecipe:
    """The split settings of a parent, which hold for what continues it."""
    rule = parent.manifest.split_rule
    return SplitRecipe(**{key: getattr(rule, key) for key in SplitRecipe.model_fields})


def both_audits(
    found: Audit, names: dict[str, str], result: Audit, folder: Path, written: dict[Split, Written]
) -> dict[str, Any]:
    """audit.json of a version: what was found in the files, and what is still found, without what a clock says."""
    own = {str(folder / part.file): part.file for part in written.values()}
    return {
        "schema": 1,
        "input": renamed(_timeless(found), names),
        "result": renamed(_timeless(result), own),
    }


def _timeless(one: Audit) -> dict[str, Any]:
    values = one.to_json()
    kept = {
        key: value
        for key, value in values.items()
        if key not in ("schema", "created", "seconds", "peak_memory_bytes")
    }
    return {key: _rounded(value) for key, value in kept.items()}


def _rounded(value: Any) -> Any:
    """Numbers to six digits: the last bits of a fitted model are the processor's."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write_papers(folder: Path, manifest: Manifest, audits: dict[str, Any]) -> None:
    """The audit, the card and, last, the manifest with the checksum of every other file."""
    write_json(folder / "audit.json", audits)
    write_atomic(folder / "README.md", card_text(manifest, audits))
    files = {
        path.name: FilePart(sha256=_sha256(path), bytes=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    write_json(folder / MANIFEST, manifest.model_copy(update={"files": files}).sealed().to_json())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
