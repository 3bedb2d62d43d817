"""Options of every command that reads files of data: the format, the user's names of columns, which answers pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from simpo.errors import RecipeError

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Format of the files, by its name in docs/formats.md; auto to recognise it.",
    ),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=COLUMN",
        help="The format's name of a column and yours: prompt=question; may be repeated.",
    ),
]
PairingOption = Annotated[
    str | None,
    typer.Option("--pairing", help="Which ranked or scored answers make pairs: best_worst, all or adjacent."),
]


def columns_of(given: Sequence[str] | None) -> dict[str, str] | None:
    """What `--map` says, as `data.columns` takes it: the format's name of a column -> the user's; None without any."""
    if not given:
        return None
    columns: dict[str, str] = {}
    for one in given:
        name, equals, column = one.partition("=")
        if not equals or not name.strip() or not column.strip():
            raise RecipeError(f"--map {one!r} is not NAME=COLUMN", fix="--map prompt=question")
        if name.strip() in columns:
            raise RecipeError(f"--map names {name.strip()!r} twice")
        columns[name.strip()] = column.strip()
    return columns


__all__ = ["FormatOption", "MapOption", "PairingOption", "columns_of"]
