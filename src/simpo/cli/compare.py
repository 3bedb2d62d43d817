"""`simpo compare`: methods trained alike and measured on the same things, side by side, with a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import GenerateOption, JsonOption, SetOption
from simpo.cli.output import note, print_json, print_table, print_text
from simpo.errors import RecipeError

BASE = "base"


def command(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|RUN...", help="Recipes to train, or run folders; two methods at least."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the comparison: its runs, measurements and compare.json.")
    ],
    seeds: Annotated[str, typer.Option(help="Seeds to train each recipe with, comma-separated.")] = "0,1,2",
    equal: Annotated[
        str,
        typer.Option(
            help="What every recipe gets as much of as the first: pairs, tokens, or as-given for no change."
        ),
    ] = "pairs",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Pairs to measure all on, in place of the recipes' data.test; may be given again."
        ),
    ] = None,
    generate: GenerateOption = None,
    judge: Annotated[
        str | None,
        typer.Option(help="A Python function module:function that scores a reply, or compares two of them."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each regression set, the first N.")
    ] = None,
    cost_steps: Annotated[
        int,
        typer.Option(
            min=0, help="Steps of each cost trial (a method with a reference has three); 0 for none."
        ),
    ] = 4,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train methods on the same data, seeds and budget, measure them on the same pairs and prompts, and compare.

    Finished runs in the folder are used again, interrupted ones gone on with: the same command continues. Everything
    is written to compare.json there; figures have 95 % intervals over prompts and, from two seeds on, over seeds.
    """
    from simpo.cli.watch import Watch
    from simpo.report.study import build_page
    from simpo.study.compare.plan import make_plan
    from simpo.study.compare.run import FILE, compare

    if equal not in ("pairs", "tokens", "as-given"):
        raise RecipeError(f"--equal {equal!r} is none of pairs, tokens, as-given")
    wished = {"generate": generate, "judge": judge, "limit_regression": limit}
    with Watch() as watch:
        plan = make_plan(
            _given(methods, overrides or []),
            out,
            seeds=_seeds(seeds),
            equal=equal,  # type: ignore[arg-type]
            data=data or (),
            evaluate={key: value for key, value in wished.items() if value is not None},
            progress=watch.progress,
        )
        report = compare(plan, cost_steps=cost_steps, listen=watch.event, progress=watch.progress, note=note)
    page = build_page(out)
    if as_json:
        print_json({"path": str(out / FILE), "report": str(page), **report})
        return
    print_comparison(report)
    note(f"comparison  {out / FILE}")
    note(f"report      {page}")


def _given(methods: list[str], overrides: list[str]) -> list[Any]:
    """Each argument as a run folder or a recipe."""
    from simpo.cli.recipe import recipe_file
    from simpo.recipe import load_recipe
    from simpo.runs.folder import is_run_folder
    from simpo.study.compare.plan import Given

    if len(set(methods)) < len(methods):
        raise RecipeError("a recipe or run is named twice")
    given = []
    for name in methods:
        if Path(name).is_dir():
            if not is_run_folder(Path(name)):
                raise RecipeError("not a run folder: it holds no recipe.yaml and run.json", where=name)
            given.append(Given(name, run=Path(name)))
        else:
            given.append(Given(name, recipe=load_recipe(recipe_file(name), overrides)))
    if overrides and not any(one.recipe for one in given):
        raise RecipeError("--set has no effect: runs are compared as they are")
    return given


def _seeds(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(f"--seeds {text!r} are not numbers", fix="for example --seeds 0,1,2") from None
    if any(seed < 0 for seed in found):
        raise RecipeError(f"--seeds {text!r}: a seed is 0 or larger")
    return found


def print_comparison(report: dict[str, Any]) -> None:
    """The closing tables and the verdict, on stdout."""
    ids = [
        BASE,
        *(method["id"] for method in report["methods"] if method["id"] in report["preference"]["models"]),
    ]
    names = {BASE: "start", **{method["id"]: method["label"] for method in report["methods"]}}
    print_table(["", *(names[id_] for id_ in ids)], _model_rows(report, ids), title="Each model alone")
    print_table(
        ["", "difference", "95 % interval", "p (McNemar, clustered)", "pairs to see it"],
        _difference_rows(report, names),
        title="Accuracy against each other, in points",
    )
    if report["generation"] and report["generation"]["win_rates"]:
        columns = ["", "win rate", "95 % interval", "at equal lengths", "95 % interval"]
        print_table(columns, _win_rows(report, names), title="Replies against each other, by the judge")
    if report["cost"]:
        columns = [
            "",
            "reference",
            "from",
            "s/pair",
            "tokens/s",
            "s before step 1",
            "peak memory",
            "parameters held",
        ]
        print_table(columns, _cost_rows(report, names), title="What training costs")
    for text in report["warnings"]:
        print_text(f"note: {text}")
    for problem in report["problems"]:
        print_text(f"failed: {problem['where']}: {problem['message']}")
    print_text(f"\n{report['verdict']['paragraph']}")


def _model_rows(report: dict[str, Any], ids: list[str]) -> list[list[str]]:
    models, generation = report["preference"]["models"], (report["generation"] or {}).get("models")
    rows = [
        ["accuracy, own reward", *(_estimate(models[id_]["own"]) for id_ in ids)],
        ["accuracy, mean log-probability", *(_estimate(models[id_]["common"]) for id_ in ids)],
    ]
    for by, name in (("longer", "chosen longer"), ("longer", "rejected longer"), ("length_matched", None)):
        cells = [_stratum(models[id_], by, name) for id_ in ids]
        if any(cells):
            rows.append([f"  {name or 'length-matched'}, mean log-probability", *cells])
    if generation:
        rows += [
            ["median reply, characters", *(f"{generation[id_]['chars']['median']:.0f}" for id_ in ids)],
            ["replies that stop", *(_estimate(generation[id_]["stopped"]) for id_ in ids)],
            ["repetitive replies", *(f"{generation[id_]['repetitive']:.0%}" for id_ in ids)],
            ["judge's score", *(_estimate(generation[id_]["score"], "{:.2f}") for id_ in ids)],
            ["escalations", *(_estimate(generation[id_]["escalation"]) for id_ in ids)],
        ]
    drift = (report["drift"] or {"models": {}})["models"]
    if drift:
        for key, name in (("chosen", "drift on chosen, nats/token"), ("generated", "drift on its replies")):
            rows.append([name, *(_estimate(drift.get(id_, {}).get(key), "{:.3f}") for id_ in ids)])
    for each in report["regression"] or []:
        rows.append(
            [f"{each['name']} ({each['num_items']})", *(_estimate(each["models"][id_]) for id_ in ids)]
        )
    return [row for row in rows if any(row[1:])]


def _difference_rows(report: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    rows = []
    for each in report["preference"]["differences"]:
        for key, what in (("own", "own reward"), ("common", "mean log-probability")):
            found = each[key]
            if found is None:
                continue
            needed = found["needed"]["pairs"]
            rows.append(
                [
                    f"{names[each['first']]} - {names[each['second']]}, {what}",
                    f"{found['value'] * 100:+.1f}",
                    _range(found, "{:+.1f}", 100),
                    f"{found['mcnemar']['p_clustered']:.3f}",
                    "" if needed is None else f"{needed}",
                ]
            )
    return rows


def _win_rows(report: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    return [
        [
            f"{names[rate['first']]} against {names[rate['second']]}",
            f"{rate['raw']['value']:.1%}",
            _range(rate["raw"], "{:.1%}"),
            f"{rate['length_controlled']['value']:.1%}"
            + (" (extrapolated)" if rate["length_controlled"]["extrapolated"] else ""),
            _range(rate["length_controlled"], "{:.1%}"),
        ]
        for rate in report["generation"]["win_rates"]
    ]


def _cost_rows(report: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    return [
        [
            names[row["method"]],
            row["reference"] or "none",
            row["from"],
            f"{row['seconds_per_pair']:.3g}",
            f"{row['tokens_per_second']:.0f}",
            "" if row["prepare_seconds"] is None else f"{row['prepare_seconds']:.1f}",
            "" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
            f"{row['parameters_held'] / 1e6:.1f} M",
        ]
        for row in report["cost"]
    ]


def _stratum(model: dict[str, Any], by: str, name: str | None) -> str:
    found = [part for part in model["strata"] if part["by"] == by and name in (None, part["name"])]
    return f"{_estimate(found[0]['common'])} of {found[0]['num_pairs']}" if found else ""


def _estimate(found: dict[str, float | None] | None, style: str = "{:.1%}") -> str:
    if found is None:
        return ""
    interval = _range(found, style)
    return style.format(found["value"]) + (f" ({interval})" if interval else "")


def _range(found: dict[str, Any], style: str, scale: float = 1.0) -> str:
    if found["low"] is None or found["high"] is None:
        return ""
    return f"{style.format(found['low'] * scale)} to {style.format(found['high'] * scale)}"
