"""Arguments and options that several commands have alike; those of commands that read data stand in `reading`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_RECIPE = typer.Argument(help="A recipe file, or the name of a shipped recipe (`simpo recipe list`).")
RecipeArgument = Annotated[str, _RECIPE]
RecipeUnlessResumed = Annotated[str | None, _RECIPE]
ResumeOption = Annotated[
    Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an interrupted or killed run.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe value; may be given several times."),
]
GenerateOption = Annotated[int | None, typer.Option(min=0, help="Prompts to write replies for.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result, or the error, as one JSON object on stdout.")
]
