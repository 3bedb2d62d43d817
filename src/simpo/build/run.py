"""`build`: files of preferences, audited, repaired, grouped, split and written as a dataset version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np

from simpo.audit.result import Audit
from simpo.audit.run import audit
from simpo.build.folder import require_free, written_beside
from simpo.build.groups import Ints, compare_pairs
from simpo.build.keep import Leaving, RepairList, keep_pairs, require_unchanged
from simpo.build.lengths import length_skew, subsample
from simpo.build.names import short_names
from simpo.build.papers import Made, both_audits, inherited_split, manifest_of, write_papers
from simpo.build.plan import Placed, place_pairs
from simpo.build.recipe import BuildRecipe, SplitRecipe, wanted_words
from simpo.build.repairs import COPIES, is_guess, plan_repairs, wanted_repairs
from simpo.build.split import LEFT_OUT, TRAIN
from simpo.build.spool import Kept, Spool
from simpo.build.write import SplitFiles, Written
from simpo.data.locate import locate
from simpo.data.manifest import SPLITS, Lengths, LengthSkew, Split
from simpo.data.read import iter_rows
from simpo.data.version import Version, check_version, is_version, listed_ids, open_version, require_whole
from simpo.errors import CheckFailed, DataError, RecipeError
from simpo.runs.folder import storage_errors

REPAIRS = "repairs.jsonl"
JOINS_SPLITS, BALANCED = "joins_splits", "length_balance"

Report = Callable[[str], None]


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
    parent = None if recipe.parent is None else _open_parent(recipe.parent, recipe.split)
    sources = _sources(recipe)
    others = (
        locate([*(recipe.data.held_out or ()), *(recipe.data.benchmark or ())]) if _looks_up(recipe) else []
    )
    names = short_names([*sources, *others])
    say(f"auditing {len(sources)} {'file' if len(sources) == 1 else 'files'}")
    with storage_errors(Path(gettempdir()), fix="free some space there, or name another folder in TMPDIR"):
        found = audit(
            list(map(str, sources)),
            held_out=recipe.data.held_out or (),
            benchmark=recipe.data.benchmark or (),
            beside=None,
            progress=_rows_told(say),
            **_reading(recipe),
        )
    with written_beside(out) as folder:
        with Spool(folder / "spool", found.data.pairs) as spool, RepairList(folder / REPAIRS) as listed:
            say(f"repairing {found.data.pairs:,} pairs")
            made = _make(recipe, found, sources, names, spool, listed, parent, say)
            say("writing")
            written = _write(recipe, made, spool, folder)
            spool.remove()
        say("auditing the result")
        result = _audit_result(folder, written)
        manifest = manifest_of(recipe, made, written, parent, names, others)
        write_papers(folder, manifest, both_audits(found, names, result, folder, written))
    say(f"wrote {out}")
    return open_version(out)


def _sources(recipe: BuildRecipe) -> list[Path | str]:
    """The files by their paths; a dataset version among them stands for its splits, once they are what was written."""
    specs: list[str] = []
    for spec in recipe.files:
        if is_version(Path(spec)):
            version = open_version(spec)
            for split in SPLITS:
                require_whole(version, split)
            specs += [str(path) for split in SPLITS if (path := version.file(split)) is not None]
        else:
            specs.append(spec)
    sources = sorted(locate(specs), key=str)
    for source in sources:
        if isinstance(source, Path) and not source.is_file():
            raise DataError(
                "not a plain file, and a build reads its files twice",
                where=str(source),
                fix="write what comes out of it to a file first",
            )
    return sources


def _open_parent(folder: str, settings: SplitRecipe) -> Version:
    """The parent, whole; RecipeError for settings of the split that contradict its own."""
    parent = open_version(folder)
    problems = check_version(parent)
    if problems:
        raise CheckFailed(
            f"the parent is not what was built: {problems[0].detail}",
            where=problems[0].where,
            fix=f"`simpo data verify {folder}` lists every difference",
        )
    rule = parent.manifest.split_rule
    for key in SplitRecipe.model_fields:
        given, own = getattr(settings, key), getattr(rule, key)
        if key in settings.model_fields_set and given != own:
            raise RecipeError(
                f"split.{key} is {own} in the parent, whose rows stay where they are (received {given})",
                where=folder,
                fix=f"leave split.{key} out, or build without a parent",
            )
    return parent


def _looks_up(recipe: BuildRecipe) -> bool:
    return bool(recipe.data.held_out or recipe.data.benchmark)


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
    say: Report,
) -> Made:
    if not found.data.pairs:
        listed_reasons = ", ".join(f"{count} {reason}" for reason, count in found.data.dropped.items())
        raise DataError(f"no row gives a pair ({listed_reasons})", where=found.data.name)
    actions = wanted_repairs(wanted_words(recipe.repair)).actions(found.findings)
    _tell_guesses(found, actions, say)
    stream = iter_rows(list(map(str, sources)), **_reading(recipe))
    kept, tallies = keep_pairs(stream, plan_repairs(found.findings, actions), names, spool, listed)
    require_unchanged({Path(file["path"]): file["sha256"] for file in found.data.files}, stream.hashes)
    placed, lengths = _split(
        recipe, kept, actions, spool, Leaving(kept, list(names.values()), tallies, listed), parent
    )
    return Made(stream, kept, tallies, placed, len(sources), lengths)


def _tell_guesses(found: Audit, actions: Mapping[str, str], say: Report) -> None:
    """Name the repairs that the audit offers and nobody asked for, because they change or doubt labels."""
    for finding in found.findings:
        if is_guess(finding) and finding.severity != "note" and finding.kind not in actions:
            say(
                f"not repaired: {finding.kind} in {finding.count:,} {finding.unit} ({finding.repair}); "
                f"look at them with `simpo audit`, then ask by --repair default,{finding.kind}"
            )


def _split(
    recipe: BuildRecipe,
    kept: Kept,
    actions: Mapping[str, str],
    spool: Spool,
    leaving: Leaving,
    parent: Version | None,
) -> tuple[Placed, Lengths | None]:
    """Copies out, groups to their splits, what would join splits out, and the training split balanced if asked."""
    settings = recipe.split if parent is None else inherited_split(parent)
    first = () if parent is None else [int(row, 16) for rows in listed_ids(parent).values() for row in rows]
    copies = {kind for kind in COPIES if kind in actions}
    likeness = compare_pairs(kept, spool, copies, settings.group == "near", first)
    staying = np.arange(len(kept))
    for kind, numbers in likeness.copies.items():
        staying = np.setdiff1d(staying, numbers)
        leaving.drop(numbers.tolist(), kind)
    if not len(staying):
        raise DataError("no pair is left after the repairs", where=recipe.output, fix="choose fewer --repair")
    placed = place_pairs(kept, staying, likeness, settings, parent)
    joining = np.setdiff1d(staying, np.flatnonzero(placed.split != LEFT_OUT))
    leaving.drop(joining.tolist(), JOINS_SPLITS)
    lengths = _balance(recipe, kept, placed.split, leaving)
    if not (placed.split == TRAIN).any():
        raise DataError(
            "no pair is left to train on",
            where=recipe.output,
            fix="give more rows, smaller shares, or another split.seed",
        )
    return placed, lengths


def _balance(recipe: BuildRecipe, kept: Kept, split: Ints, leaving: Leaving) -> Lengths | None:
    """Take pairs out of the training split until length says nothing there, if asked; the skew before and after."""
    chosen, rejected, ids = kept.chosen, kept.rejected, kept.id

    def skew() -> LengthSkew | None:
        inside = split == TRAIN
        return length_skew(chosen[inside], rejected[inside])

    before = skew()
    if recipe.balance_lengths == "subsample":
        inside = np.flatnonzero(split == TRAIN)
        staying = inside[subsample(chosen[inside], rejected[inside], ids[inside])]
        out = np.setdiff1d(inside, staying)
        split[out] = LEFT_OUT
        leaving.drop(out.tolist(), BALANCED)
    after = skew()
    return None if before is None or after is None else Lengths(before=before, after=after)


def _write(recipe: BuildRecipe, made: Made, spool: Spool, folder: Path) -> dict[Split, Written]:
    placed = made.placed
    with SplitFiles(folder, recipe.write, made.kept.has_tools) as files:
        for number, row in spool.rows():
            code = int(placed.split[number])
            if code != LEFT_OUT:
                row["group"] = f"{int(placed.group[number]):016x}"
                files.write(SPLITS[code], row)
    return files.in_order()


def _audit_result(folder: Path, written: dict[Split, Written]) -> Audit:
    """What is found in the training split, and what it shares with the other two."""
    held_out = [str(folder / part.file) for split, part in written.items() if split != "train"]
    return audit(str(folder / written["train"].file), held_out=held_out, beside=None)


def _rows_told(say: Report) -> Callable[[int], None]:
    step = 50_000

    def told(rows: int) -> None:
        nonlocal step
        if rows >= step:
            say(f"read {rows:,} rows")
            step = rows + 50_000

    return told
