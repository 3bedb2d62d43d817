"""`simpo train`: a run from a recipe, or the rest of an interrupted one, with its closing table and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import JsonOption, RecipeUnlessResumed, ResumeOption, SetOption
from simpo.cli.output import note, print_json, print_text, speaks
from simpo.errors import RecipeError


def command(
    recipe: RecipeUnlessResumed = None,
    resume: ResumeOption = None,
    overrides: SetOption = None,
    show_recipe: Annotated[
        bool, typer.Option("--show-recipe", help="Print every value with its origin, and train nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model from a recipe and measure it before and after.

    Everything is written to the run folder that the recipe's `output` names: recipe, lineage, events, checkpoints,
    evaluation and report.html. Ctrl-C saves the state and ends with status 130; --resume goes on as if nothing had
    happened.
    """
    if (recipe is None) == (resume is None):
        raise RecipeError("give either a recipe or --resume RUN", fix="simpo train my.yaml")
    if resume is not None:
        if overrides or show_recipe:
            raise RecipeError(
                "--resume goes on with the run's own recipe: --set and --show-recipe have no effect"
            )
        run = _align_on(resume)
    else:
        from simpo.cli.recipe import recipe_file
        from simpo.recipe import load_recipe

        loaded = load_recipe(recipe_file(str(recipe)), overrides or [])
        if show_recipe:
            print_json({"recipe": loaded.flat(), "origins": dict(loaded.origins)}) if as_json else print_text(
                loaded.to_yaml().rstrip()
            )
            return
        run = _align(loaded)
    _close(run.path, as_json)


def _align(loaded: Any) -> Any:
    from simpo.cli.watch import Watch
    from simpo.study.align import align

    with Watch() as watch:
        return align(loaded, listen=watch.event, progress=watch.progress)


def _align_on(run: Path) -> Any:
    from simpo.cli.watch import Watch
    from simpo.study.align import align_on

    with Watch() as watch:
        return align_on(run, listen=watch.event, progress=watch.progress)


def _close(run: Path, as_json: bool) -> None:
    from simpo.cli.report import print_summary
    from simpo.report.build import build_report

    if not speaks():
        return
    report = build_report(run)
    print_summary(run, as_json, {"run": str(run), "report": str(report)})
    if not as_json:
        note(f"run     {run}")
        note(f"report  {report}")
