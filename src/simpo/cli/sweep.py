"""`simpo sweep`: find settings, with intervals and with what speaks against them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import JsonOption, SetOption
from simpo.cli.output import note, print_json, print_table, print_text


def command(
    recipe: Annotated[
        str, typer.Argument(help="A recipe with a `sweep` section, or the name of a shipped one.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the sweep: its trials, sweep.json, the chosen recipe.")
    ],
    ranges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The `sweep` section in a YAML file of its own.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="staged (default), grid or tpe; over what the section says.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials tpe makes.")] = None,
    paraphrases: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Held-out pairs with their prompts in other words, to tell learning by heart.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Database URL that several machines share; default: a SQLite file in the folder."),
    ] = None,
    study: Annotated[str, typer.Option(help="Name of this sweep in a storage that holds several.")] = "sweep",
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try settings and choose by held-out accuracy; ties go to the model that changed least, then to the larger beta.

    The recipe's section `sweep` names ranges for any of its keys (docs/sweep.md); without it the authors' ranges are
    tried around the recipe's learning rate: learning rate first, then gamma, then beta. Run the same command again to
    go on with a sweep that was stopped or killed, and in several terminals or on several machines (with --storage) to
    share the work.
    """
    from simpo.cli.recipe import recipe_file
    from simpo.cli.watch import Watch
    from simpo.report.study import build_page
    from simpo.study.sweep.run import run_sweep
    from simpo.study.sweep.space import load_sweep

    given = {"strategy": strategy, "trials": trials, "paraphrases": paraphrases}
    sweep = load_sweep(
        recipe_file(recipe),
        overrides or [],
        ranges=ranges,
        settings={key: value for key, value in given.items() if value is not None},
    )
    with Watch() as watch:
        result = run_sweep(
            sweep, out, storage=storage, study=study, listen=watch.event, progress=watch.progress, note=note
        )
    page = build_page(out)
    if as_json:
        print_json({**result, "path": str(out / "sweep.json"), "report": str(page)})
        return
    _print(result, out)
    note(f"report {page}")


def _print(result: Mapping[str, Any], out: Path) -> None:
    chosen, second = result["chosen"], result["runner_up"]
    marks = {chosen["name"]: "chosen"} | ({second["name"]: "runner-up"} if second else {})
    columns = [
        "trial",
        "",
        "accuracy",
        "95 % interval",
        "train - validation",
        "paraphrased",
        "median chars",
        "drift",
    ]
    rows = [_row(trial, marks.get(trial["name"])) for trial in result["trials"]]
    told = [at for at in range(len(columns)) if any(row[at] != "" for row in rows)]
    print_table([columns[at] for at in told], [[row[at] for at in told] for row in rows])
    print_text(f"chosen     {chosen['name']}: {chosen['why']}")
    if second:
        print_text(f"runner-up  {second['name']}: {second['why']}")
    if chosen["test"]:
        print_text(
            f"test       {chosen['test']['value']:.1%} {_interval(chosen['test'])}. {chosen['test_note']}"
        )
    else:
        print_text(f"test       {chosen['test_note']}")
    for text in result["notes"]:
        print_text(f"note       {text}")
    for entry in result["commands"]:
        note(f"{entry['what']:<52} {entry['command']}")
    note(f"sweep  {out / 'sweep.json'}")


def _row(trial: Mapping[str, Any], mark: str | None) -> list[object]:
    accuracy, paraphrased = trial["accuracy"] or {}, trial["paraphrase_accuracy"]
    done = trial["status"] == "done"
    return [
        trial["name"],
        mark or ("" if done else trial["status"]),
        _share(accuracy.get("value")),
        _interval(accuracy) if done else "",
        "" if not done or trial["gap"] is None else f"{trial['gap']:+.1%}",
        _share(paraphrased["value"]) if paraphrased else "",
        "" if trial["median_chars"] is None else f"{trial['median_chars']:.0f}",
        "" if trial["drift"] is None else f"{trial['drift']:.3f}",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate.get("low") is None:
        return ""
    return f"({estimate['low']:.1%} to {estimate['high']:.1%})"
