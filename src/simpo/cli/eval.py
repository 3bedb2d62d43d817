"""`simpo eval`: measure any model or run on a file of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import GenerateOption, JsonOption
from simpo.cli.output import note, print_json, print_table
from simpo.cli.reading import FormatOption, MapOption, PairingOption, columns_of


def command(
    model: Annotated[str, typer.Argument(help="A run folder, a model folder or a hub id.")],
    data: Annotated[
        list[str], typer.Option("--data", help="A file of pairs, or a hub id; may be given again.")
    ],
    label: Annotated[str, typer.Option(help="Name of the evaluation's files.")] = "eval",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the evaluation's files; default: the run's evaluation/, else evaluation/ here."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Whose reward decides the accuracy; default: the run's, else simpo.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Reference model of a method that needs one; default: the run's starting model."),
    ] = None,
    generate: GenerateOption = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest reply in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 for greedy decoding.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="A Python function module:function that scores a reply.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="An earlier evaluation's JSON, for a win rate over it (needs a judge) and changes on regression sets."
        ),
    ] = None,
    regression: Annotated[
        list[str] | None,
        typer.Option(help="Questions it should still answer, FILE or NAME=FILE; may be given again."),
    ] = None,
    limit_regression: Annotated[
        int | None, typer.Option(min=1, help="Ask the first N questions of each such file only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N pairs only.")] = None,
    on_bad_row: Annotated[
        str | None, typer.Option(help="error or drop; default: the run's, else error.")
    ] = None,
    format: FormatOption = None,
    columns: MapOption = None,
    pairing: PairingOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pairs scored, or prompts answered, together.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...")] = "auto",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of sampling and of the bootstrap.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure pairwise accuracy (with 95 % intervals, by stratum) and what the model writes, on held-out pairs.

    The figures go to <label>.json, one line a pair to <label>.pairs.jsonl, one a reply to <label>.replies.jsonl.
    """
    from simpo.cli.watch import Watch
    from simpo.study.measure import Settings, measure

    given = {
        "generate": generate, "max_new_tokens": max_new_tokens, "temperature": temperature, "judge": judge,
        "batch_size": batch_size, "seed": seed, "regression": _sets(regression),
        "limit_regression": limit_regression,
    }  # fmt: skip
    settings = Settings(
        data=tuple(data),
        label=label,
        method=method,
        reference=reference,
        against=against,
        limit=limit,
        on_bad_row=on_bad_row,
        format=format,
        columns=columns_of(columns),
        pairing=pairing,
        device=device,
        evaluate={key: value for key, value in given.items() if value is not None},
    )
    with Watch() as watch:
        path, report = measure(model, settings, out=out, progress=watch.progress)
    if as_json:
        print_json({"path": str(path), **report})
        return
    print_table(["", "", "95 % interval", "pairs"], _rows(report))
    note(f"evaluation  {path}")


def _sets(files: list[str] | None) -> dict[str, str] | list[str] | None:
    """FILE ... as a list; with a NAME= before any, a mapping in which the others are called after their files."""
    if not files or not any("=" in file for file in files):
        return files or None
    parts = [file.partition("=") if "=" in file else (Path(file).stem, "=", file) for file in files]
    return {name: file for name, _, file in parts}


def _rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    preference = report["preference"]
    count = preference["num_pairs"]
    names = {
        "reward": f"accuracy under the reward of {report['method']['name']}",
        "mean_logps": "accuracy under mean log-probability",
        "total_logps": "accuracy under total log-probability",
    }
    rows = [_row(names[key], estimate, count) for key, estimate in preference["accuracy"].items()]
    rows += [_row(f"  {part['name']}", part["accuracy"], part["num_pairs"]) for part in preference["strata"]]
    rows.append(("mean log-probability of chosen", f"{preference['chosen_logps']:.3f}", "", ""))
    rows.append(("mean log-probability of rejected", f"{preference['rejected_logps']:.3f}", "", ""))
    generation = report["generation"]
    if generation is not None:
        prompts = str(generation["num_prompts"])
        rows.append(("median reply length, characters", f"{generation['chars']['median']:.0f}", "", prompts))
        rows.append(("replies that stop by themselves", f"{generation['stopped']:.1%}", "", prompts))
        rows.append(("repeated 4-grams", f"{generation['repeated_4gram']:.1%}", "", prompts))
        if generation["judge"] is not None:
            mean = generation["judge"]["mean"]
            rows.append(
                (
                    f"score by {generation['judge']['name']}",
                    f"{mean['value']:.3f}",
                    _range(mean, ".3f"),
                    prompts,
                )
            )
    for name, each in (report["regression"] or {}).items():
        value, count = each["value"], str(each["num_items"])
        rows.append((f"{name}: {each['metric']}", f"{value['value']:.1%}", _range(value, ".1%"), count))
        if each["change"] is not None:
            change = each["change"]
            words = f"  change against {change['against']}"
            rows.append((words, f"{change['value']:+.1%}", _range(change, "+.1%"), ""))
    if report["win_rate"] is not None:
        rate = report["win_rate"]
        rows.append((f"win rate against {rate['against']}", f"{rate['value']:.1%}", _range(rate, ".1%"), ""))
    return rows


def _row(name: str, estimate: dict[str, float], count: int) -> tuple[str, str, str, str]:
    return (name, f"{estimate['value']:.1%}", _range(estimate, ".1%"), str(count))


def _range(estimate: dict[str, float], style: str) -> str:
    return f"{estimate['low']:{style}} to {estimate['high']:{style}}"
