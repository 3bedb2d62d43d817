"""`build`: files of preferences, audited, repaired, grouped, split and written as a dataset version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

import simpo
from simpo.audit.result import Audit
from simpo.audit.run import audit
from simpo.build.card import card_text
from simpo.build.folder import require_free, written_beside
from simpo.build.groups import Ints, compare_pairs
from simpo.build.keep import RepairList, Tallies, drop_kept, keep_pairs, require_unchanged
from simpo.build.lengths import length_skew, subsample
from simpo.build.names import renamed, short_names
from simpo.build.plan import Placed, place_pairs, strata_table
from simpo.build.recipe import BuildRecipe, SplitRecipe, wanted_words
from simpo.build.repairs import COPIES, plan_repairs, wanted_repairs
from simpo.build.split import LEFT_OUT, TRAIN
from simpo.build.spool import Kept, Spool
from simpo.build.write import SplitFiles, Written
from simpo.data.locate import locate
from simpo.data.manifest import (
    MANIFEST,
    SPLITS,
    Counts,
    FilePart,
    Lengths,
    LengthSkew,
    Manifest,
    Parent,
    SourcePart,
    Split,
    SplitPart,
    content_hash,
    version_hash,
)
from simpo.data.read import RowStream, iter_rows
from simpo.data.version import Version, check_version, listed_ids, open_version
from simpo.errors import CheckFailed, DataError, RecipeError
from simpo.runs.folder import write_atomic, write_json
from simpo.runs.machine import code_version

REPAIRS = "repairs.jsonl"
JOINS_SPLITS, BALANCED = "joins_splits", "length_balance"
_LIBRARIES = ("pyarrow",)

Report = Callable[[str], None]


@dataclass(slots=True)
class _Made:
    """What the stages hand on: the kept pairs, what was counted, their splits, and the skew before and after."""

    stream: RowStream
    kept: Kept
    tallies: Tallies
    placed: Placed
    lengths: Lengths | None


def build(recipe: BuildRecipe, report: Report | None = None) -> Version:
    """Build a dataset version and return it; `report` is told each stage in a line.

    The files are read twice, once by the audit and once to be repaired and kept; pairs lie on the disk in between, and
    memory grows by some hundred bytes a pair. Raises RecipeError for settings that cannot be followed, DataError for
    files that cannot be read or leave nothing, CheckFailed for a parent that is not what was built, RunFailed for a
    full disk; nothing is written then.
    """
    say = report or (lambda line: None)
    out = Path(recipe.output)
    require_free(out)
    parent = None if recipe.parent is None else _open_parent(recipe)
    sources = sorted(locate(recipe.files), key=str)
    names = short_names(sources)
    say(f"auditing {len(sources)} {'file' if len(sources) == 1 else 'files'}")
    found = audit(list(map(str, sources)), progress=_rows_told(say), **_reading(recipe))
    with written_beside(out) as folder:
        with Spool(folder / "spool", found.data.pairs) as spool, RepairList(folder / REPAIRS) as listed:
            say(f"repairing {found.data.pairs:,} pairs")
            made = _make(recipe, found, sources, names, spool, listed, parent)
            say("writing")
            written = _write(recipe, made, spool, folder)
            spool.remove()
        say("auditing the result")
        result = _audit_result(folder, written)
        manifest = _manifest(recipe, made, written, parent, names)
        _write_papers(folder, manifest, _both_audits(found, names, result, folder, written))
    say(f"wrote {out}")
    return open_version(out)


def _open_parent(recipe: BuildRecipe) -> Version:
    """The parent, whole; RecipeError for settings of the split that contradict its own."""
    assert recipe.parent is not None
    parent = open_version(recipe.parent)
    problems = check_version(parent)
    if problems:
        raise CheckFailed(
            f"the parent is not what was built: {problems[0].detail}",
            where=problems[0].where,
            fix=f"`simpo data verify {recipe.parent}` lists every difference",
        )
    rule, settings = parent.manifest.split_rule, recipe.split
    for key in SplitRecipe.model_fields:
        given, own = getattr(settings, key), getattr(rule, key)
        if key in settings.model_fields_set and given != own:
            raise RecipeError(
                f"split.{key} is {own} in the parent, whose rows stay where they are (received {given})",
                where=str(recipe.parent),
                fix=f"leave split.{key} out, or build without a parent",
            )
    return parent


def _reading(recipe: BuildRecipe) -> dict[str, Any]:
    data = recipe.data
    return {
        "format": data.format,
        "columns": data.columns,
        "pairing": data.pairing,
        "min_margin": data.min_margin,
        "limit": data.limit,
    }


def _make(
    recipe: BuildRecipe,
    found: Audit,
    sources: Sequence[Path | str],
    names: dict[str, str],
    spool: Spool,
    listed: RepairList,
    parent: Version | None,
) -> _Made:
    if not found.data.pairs:
        listed_reasons = ", ".join(f"{count} {reason}" for reason, count in found.data.dropped.items())
        raise DataError(f"no row gives a pair ({listed_reasons})", where=found.data.name)
    actions = wanted_repairs(wanted_words(recipe.repair)).actions(found.findings)
    settings = recipe.split if parent is None else _inherited(parent)
    stream = iter_rows(list(map(str, sources)), **_reading(recipe))
    kept, tallies = keep_pairs(stream, plan_repairs(found.findings, actions), names, spool, listed)
    require_unchanged({Path(file["path"]): file["sha256"] for file in found.data.files}, stream.hashes)
    files = list(names.values())
    first = () if parent is None else [int(row, 16) for rows in listed_ids(parent).values() for row in rows]
    copies = {kind for kind in COPIES if kind in actions}
    likeness = compare_pairs(kept, spool, copies, settings.group == "near", first)
    staying = np.arange(len(kept))
    for kind, numbers in likeness.copies.items():
        staying = np.setdiff1d(staying, numbers)
        drop_kept(numbers.tolist(), kind, kept, files, tallies, listed)
    if not len(staying):
        raise DataError(
            "no pair is left after the repairs", where=found.data.name, fix="choose fewer --repair"
        )
    placed = place_pairs(kept, staying, likeness, settings, parent)
    joining = np.setdiff1d(staying, np.flatnonzero(placed.split != LEFT_OUT))
    drop_kept(joining.tolist(), JOINS_SPLITS, kept, files, tallies, listed)
    lengths = _balance(recipe, kept, placed.split, files, tallies, listed)
    if not (placed.split == TRAIN).any():
        raise DataError(
            "no pair is left to train on",
            where=found.data.name,
            fix="give more rows, smaller shares, or another split.seed",
        )
    return _Made(stream, kept, tallies, placed, lengths)


def _inherited(parent: Version) -> SplitRecipe:
    rule = parent.manifest.split_rule
    return SplitRecipe(**{key: getattr(rule, key) for key in SplitRecipe.model_fields})


def _balance(
    recipe: BuildRecipe, kept: Kept, split: Ints, files: list[str], tallies: Tallies, listed: RepairList
) -> Lengths | None:
    """Take pairs out of the training split until length says nothing there, if asked; the skew before and after."""
    chosen, rejected, ids = kept.chosen, kept.rejected, kept.id

    def skew() -> LengthSkew | None:
        inside = split == TRAIN
        return length_skew(chosen[inside], rejected[inside])

    before = skew()
    if recipe.balance_lengths == "subsample":
        inside = np.flatnonzero(split == TRAIN)
        staying = inside[subsample(chosen[inside], rejected[inside], ids[inside])]
        leaving = np.setdiff1d(inside, staying)
        split[leaving] = LEFT_OUT
        drop_kept(leaving.tolist(), BALANCED, kept, files, tallies, listed)
    after = skew()
    return None if before is None or after is None else Lengths(before=before, after=after)


def _write(recipe: BuildRecipe, made: _Made, spool: Spool, folder: Path) -> dict[Split, Written]:
    placed = made.placed
    with SplitFiles(folder, recipe.write, made.kept.has_tools) as files:
        for number, row in spool.rows():
            code = int(placed.split[number])
            if code != LEFT_OUT:
                row["group"] = f"{int(placed.group[number]):016x}"
                files.write(SPLITS[code], row)
    return files.in_order()


def _manifest(
    recipe: BuildRecipe,
    made: _Made,
    written: dict[Split, Written],
    parent: Version | None,
    names: dict[str, str],
) -> Manifest:
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
        settings=recipe.settings(),
        split_rule=made.placed.rule,
        strata=strata_table(made.kept, made.placed.split, made.placed.rule.length_edges),
        conflicts=made.placed.conflicts,
        grouping=made.placed.grouping,
        lengths=made.lengths,
        parent=None if parent is None else Parent(name=parent.path.resolve().name, hash=parent.hash),
        files={},
    )


def _counts(made: _Made, splits: dict[Split, SplitPart]) -> Counts:
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


def _sources(made: _Made, names: dict[str, str]) -> tuple[SourcePart, ...]:
    hashes = {str(path): digest for path, digest in made.stream.hashes.items()}
    return tuple(
        SourcePart(
            name=name,
            format=made.stream.formats[number] if number < len(made.stream.formats) else "",
            sha256=hashes.get(path),
            pairs=made.tallies.pairs_of_file[path],
        )
        for number, (path, name) in enumerate(names.items())
    )


def _audit_result(folder: Path, written: dict[Split, Written]) -> Audit:
    """What is found in the training split, and what it shares with the other two."""
    held_out = [str(folder / part.file) for split, part in written.items() if split != "train"]
    return audit(str(folder / written["train"].file), held_out=held_out)


def _both_audits(
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
    return {
        key: value
        for key, value in values.items()
        if key not in ("schema", "created", "seconds", "peak_memory_bytes")
    }


def _write_papers(folder: Path, manifest: Manifest, audits: dict[str, Any]) -> None:
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


def _rows_told(say: Report) -> Callable[[int], None]:
    step = 50_000

    def told(rows: int) -> None:
        nonlocal step
        if rows >= step:
            say(f"read {rows:,} rows")
            step = rows + 50_000

    return told
