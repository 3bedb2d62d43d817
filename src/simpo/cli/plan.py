"""`simpo plan`: what a recipe will take in memory and time, and what would fit, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from simpo.cli.options import JsonOption, RecipeArgument, SetOption
from simpo.cli.output import print_json, print_table, print_text
from simpo.errors import CheckFailed, RecipeError

if TYPE_CHECKING:
    from simpo.sizing.plan import Plan

GIB = 2**30


def command(
    recipe: RecipeArgument,
    gpu: Annotated[
        str | None,
        typer.Option(help="A size (80GB) or a name (a100, h100, l4 ...); without it this machine."),
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, help="How many GPUs share the run.")] = 1,
    lengths: Annotated[
        str | None,
        typer.Option(
            metavar="P,C,R",
            help="Tokens of a typical prompt, chosen and rejected reply; else of the recipe's data.",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="End with status 4 where it does not fit.")] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict peak memory by parts, and time, from the model's config.json; say what would fit.

    No weight is loaded or downloaded. On a CPU the prediction is held against measured peaks (docs/plan.md).
    """
    from simpo.cli.recipe import recipe_file
    from simpo.recipe import load_recipe
    from simpo.sizing.plan import make_plan

    loaded = load_recipe(recipe_file(recipe), overrides or []).recipe
    plan = make_plan(loaded, gpu=gpu, ranks=ranks, lengths=_lengths(lengths))
    if as_json:
        print_json(plan.to_json())
    else:
        _print(plan)
    if check and not plan.fits:
        raise CheckFailed(
            f"the recipe does not fit {plan.device.name}", fix="take one of the changes that fit"
        )


def _lengths(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    words = text.split(",")
    if len(words) != 3 or not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise RecipeError(f"--lengths {text!r} must be three numbers of tokens: prompt,chosen,rejected")
    prompt, chosen, rejected = map(int, words)
    return prompt, chosen, rejected


def _print(plan: Plan) -> None:
    parts = plan.footprint.parts
    rows = [(name, f"{size / GIB:.2f}") for name, size in parts.items() if size >= GIB / 200]
    rows.append(("peak", f"{plan.footprint.peak / GIB:.2f}"))
    if plan.footprint.host:
        rows.append(("in the CPU's memory", f"{plan.footprint.host / GIB:.2f}"))
    over = "" if plan.ranks == 1 else f", on each of {plan.ranks} ranks"
    print_table(("part", "GiB"), rows, title=f"memory{over}")
    place = f"on {plan.device.name}"
    room = "unknown" if plan.device.total == float("inf") else f"{plan.device.total / GIB:.1f} GiB there"
    print_text(
        f"{'fits' if plan.fits else 'does not fit'}: {plan.footprint.peak / GIB:.1f} GiB needed {place}, {room}"
    )
    trained, total = plan.parameters["trained"], plan.parameters["total"]
    sizes = plan.lengths
    print_text(f"{trained / 1e6:,.1f} of {total / 1e6:,.1f} million parameters trained; micro-batches of "
               f"{plan.footprint.tokens:,} tokens ({plan.footprint.reason})")  # fmt: skip
    print_text(
        f"lengths: prompt {sizes.prompt}, chosen {sizes.chosen}, rejected {sizes.rejected} ({sizes.origin})"
    )
    if plan.seconds_per_step is not None:
        whole = (
            ""
            if plan.steps is None
            else f", {plan.steps} steps in {_duration(plan.steps * plan.seconds_per_step)}"
        )
        print_text(f"about {_duration(plan.seconds_per_step)} a step{whole}, without evaluations and saves")
    print_table(
        ("with", "GiB", ""),
        [
            (each.name, f"{each.peak / GIB:.1f}", "fits" if each.fits else "does not fit")
            for each in plan.alternatives
        ],
        title="what would fit",
    )
    for note in plan.notes:
        print_text(f"note: {note}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
