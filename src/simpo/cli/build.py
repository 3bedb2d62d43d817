"""`simpo build`: files of preferences to a dataset version, repaired, grouped, split, and hashed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simpo.cli.options import JsonOption, SetOption
from simpo.cli.output import note, print_json, print_table, print_text
from simpo.cli.reading import FormatOption, MapOption, PairingOption, columns_of

_RECIPES = (".yaml", ".yml")


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES_OR_RECIPE",
            help="Files of pairs, patterns, hub ids or versions; or a build recipe (.yaml).",
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder of the version; it must not exist yet.")
    ] = None,
    repair: Annotated[
        list[str] | None,
        typer.Option(
            help="default (what the audit advises, but for swaps), none, KIND, or KIND=drop, swap, mend or keep; "
            "separated by commas."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="TRAIN/VALIDATION/TEST", help="Shares; 0.9/0.05/0.05 when not given."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the split.")] = None,
    stratify: Annotated[
        Literal["stable", "exact"] | None,
        typer.Option(help="stable: rows added later move no other; exact: each stratum gets its share."),
    ] = None,
    group: Annotated[
        Literal["near", "exact"] | None,
        typer.Option(help="Which prompts stay together: near duplicates, or only equal ones."),
    ] = None,
    balance_lengths: Annotated[
        Literal["none", "subsample"] | None,
        typer.Option(help="subsample leaves training pairs out until length does not tell the label."),
    ] = None,
    jsonl: Annotated[
        bool | None,
        typer.Option("--jsonl/--parquet", help="Kind of the files of pairs; Parquet when not given."),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Version that this one continues: its rows stay in their splits."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Pairs to measure on: those that ask the same are left out. May be repeated."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Questions of a benchmark, as --held-out. May be repeated."),
    ] = None,
    format: FormatOption = None,
    columns: MapOption = None,
    pairing: PairingOption = None,
    min_margin: Annotated[
        float | None, typer.Option(min=0, help="Leave out pairs whose scores differ by less.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N pairs only.")] = None,
    overrides: SetOption = None,
    show_recipe: Annotated[
        bool, typer.Option("--show-recipe", help="Print the build as a recipe, and build nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a dataset version: audit the files, make the repairs, group and split the prompts, write and hash.

    Nothing is lost uncounted: repairs.jsonl lists every row that was left out or changed, with file and line.
    """
    from simpo.build.recipe import load_build, split_shares
    from simpo.build.run import build

    given: dict[str, Any] = {
        "output": out, "parent": parent, "repair": repair, "balance_lengths": balance_lengths,
        "write": None if jsonl is None else "jsonl" if jsonl else "parquet",
        "data.format": None if format == "auto" else format, "data.columns": columns_of(columns),
        "data.held_out": held_out, "data.benchmark": benchmark, "data.pairing": pairing,
        "data.min_margin": min_margin, "data.limit": limit,
        "split.seed": seed, "split.stratify": stratify, "split.group": group,
        **(split_shares(split) if split is not None else {}),
    }  # fmt: skip
    recipe = Path(files[0]) if len(files) == 1 and files[0].endswith(_RECIPES) else None
    if recipe is None:
        given["data.files"] = files
    given = {key: value for key, value in given.items() if value is not None}
    loaded = load_build(recipe, given, overrides or ())
    if show_recipe:
        if as_json:
            print_json({"recipe": loaded.flat(), "origins": dict(loaded.origins)})
        else:
            print_text(loaded.to_yaml().rstrip())
        return
    version = build(loaded.recipe, note)
    if as_json:
        print_json({"path": version.path, **version.manifest.to_json()})
    else:
        print_version(version)


def print_version(version: Any) -> None:
    """A version in tables: its splits, every stage with its count, and what there is to say of it."""
    manifest = version.manifest
    counts = manifest.counts
    print_text(f"version  {manifest.hash}")
    rows: list[tuple[str, str, str]] = [("rows read", f"{counts.rows_read:,}", "")]
    rows += [("left out", f"{count:,}", reason) for reason, count in counts.rows_dropped.items()]
    rows += [
        ("parts of rows left out", f"{count:,}", reason) for reason, count in counts.parts_dropped.items()
    ]
    rows += [("pairs", f"{counts.pairs_read:,}", "")]
    rows += [("dropped", f"{count:,}", kind) for kind, count in counts.pairs_dropped.items()]
    rows += [
        (f"repaired ({action})", f"{count:,}", kind)
        for kind, done in counts.pairs_repaired.items()
        for action, count in done.items()
    ]
    total = sum(part.rows for part in manifest.splits.values())
    rows += [
        (name, f"{part.rows:,}", f"{part.rows / total:.1%}  {part.hash[:12]}")
        for name, part in manifest.splits.items()
    ]
    print_table(("stage", "count", ""), rows)
    for line in _remarks(manifest):
        print_text(line)
    print_text(f"audit of the training pairs: {_verdict(version)}")


def _verdict(version: Any) -> str:
    import json

    try:
        audits = json.loads((version.path / "audit.json").read_text(encoding="utf-8"))
        return str(audits["result"]["verdict"]["title"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"audit.json cannot be read; `simpo data verify {version.path}` says more"


def _remarks(manifest: Any) -> list[str]:
    grouping, lines = manifest.grouping, []
    lines.append(
        f"{grouping.prompts:,} prompts in {grouping.groups:,} groups; the largest has {grouping.largest_rows:,} pairs"
    )
    lines += [
        f"no pair fell to {name}: ask for a larger share, another --seed, or --stratify exact"
        for name, part in manifest.splits.items()
        if part.rows == 0 and manifest.settings.get("split", {}).get(name)
    ]
    if manifest.lengths is not None:
        before, after = manifest.lengths.before, manifest.lengths.after
        told = f"longer reply chosen in {before.longer_chosen:.1%} of training pairs, AUC of length {before.auc:.3f}"
        if after != before:
            left = f"{after.rows:,} of {before.rows:,} pairs"
            told += f"; after balancing {after.longer_chosen:.1%}, {after.auc:.3f}, {left}"
        lines.append(told)
    if manifest.parent is not None:
        lines.append(f"continues {manifest.parent.name} ({manifest.parent.hash[:12]})")
    if manifest.conflicts:
        left = sum(one.rows_left_out for one in manifest.conflicts)
        lines.append(
            f"{len(manifest.conflicts)} groups would have joined rows that the parent has in different splits: "
            f"{left} new pairs were left out (joins_splits)"
        )
    return lines
