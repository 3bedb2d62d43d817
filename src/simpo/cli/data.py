"""`simpo data`: what a dataset version is, what differs between two, and whether one is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import JsonOption
from simpo.cli.output import print_json, print_table, print_text
from simpo.errors import CheckFailed

command = typer.Typer(rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a dataset version.")]
WIDTH = 90  # characters of a text that is shown


@command.command()
def show(folder: Folder, as_json: JsonOption = False) -> None:
    """Show a version: its splits, every stage with its count, its sources, and how it was split."""
    from simpo.cli.build import print_version
    from simpo.data.version import open_version

    version = open_version(folder)
    manifest = version.manifest
    if as_json:
        print_json({"path": folder, **manifest.to_json()})
        return
    print_version(version)
    print_table(
        ("source", "format", "pairs", "sha256"),
        [(one.name, one.format, one.pairs, (one.sha256 or "")[:12]) for one in manifest.sources],
    )
    splits = list(manifest.splits)
    print_table(
        ("category", "length quartile", *splits),
        [
            (one.category or "", one.quartile, *(one.rows.get(split, 0) for split in splits))
            for one in manifest.strata
        ],
        title="pairs by category and quartile of the chosen reply's length",
    )
    rule = manifest.split_rule
    print_text(
        f"split by seed {rule.seed}: validation {rule.validation:g}, test {rule.test:g}, {rule.stratify}, "
        f"groups of {rule.group} duplicates"
    )
    print_text(f"built by simpo {manifest.code_version}; `simpo data verify {folder}` checks the files")


@command.command()
def diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="Folder of a dataset version.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Folder of a later one.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two versions: pairs added, removed, relabelled (the replies swapped) and moved between splits."""
    from simpo.build.diff import diff_versions
    from simpo.data.version import open_version

    first, second = open_version(one), open_version(other)
    found = diff_versions(first, second).to_json()
    if as_json:
        print_json({"a": first.hash, "b": second.hash, **found})
        return
    rows: list[tuple[str, int, str]] = [("same", found["same"], "")]
    for name in ("added", "removed", "relabelled", "moved"):
        splits = ", ".join(f"{count} {split}" for split, count in found[name]["by_split"].items())
        rows.append((name, found[name]["count"], splits))
    print_table(("pairs", "count", "by split"), rows)
    for name in ("added", "removed", "relabelled", "moved"):
        for example in found[name]["examples"]:
            _print_example(name, example)


def _print_example(name: str, example: dict[str, Any]) -> None:
    places = " -> ".join(place for place in (example["before"], example["after"]) if place)
    print_text(f"{name}  {example['id']}  ({places})")
    for key in ("prompt", "chosen", "rejected"):
        print_text(f"  {key:<9}{_cut(example[key])}")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


@command.command()
def verify(folder: Folder, as_json: JsonOption = False) -> None:
    """Check every file and every row of a version against what was written; ends with 4 where anything differs."""
    from simpo.data.version import check_version, open_version

    version = open_version(folder)
    problems = check_version(version)
    if as_json:
        listed = [{"where": one.where, "detail": one.detail} for one in problems]
        print_json({"path": folder, "hash": version.hash, "whole": not problems, "problems": listed})
        if problems:
            raise typer.Exit(CheckFailed.exit_status)
        return
    for problem in problems:
        print_text(f"{problem.where}: {problem.detail}")
    if problems:
        count = f"{len(problems)} differences" if len(problems) > 1 else "1 difference"
        raise CheckFailed(
            f"the version is not what was built: {count}",
            where=str(folder),
            fix="restore it from where it was copied, or build it again",
        )
    pairs = sum(part.rows for part in version.manifest.splits.values())
    print_text(f"{folder}: {len(version.manifest.files)} files and {pairs:,} pairs are what was written")
