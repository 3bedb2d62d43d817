"""`simpo audit`: what is wrong with some files of pairs, whether they are fit to train on, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from simpo.cli.output import JsonOption, Progress, note, print_json, print_styled
from simpo.cli.reading import FormatOption, MapOption, PairingOption, columns_of

if TYPE_CHECKING:
    from simpo.data.shapes import Pairing

NOT_FIT_STATUS = 4


def command(
    files: Annotated[list[str], typer.Argument(help="Files of pairs, patterns, or a hub id.")],
    format: FormatOption = None,
    mapping: MapOption = None,
    pairing: PairingOption = None,
    min_margin: Annotated[
        float,
        typer.Option(min=0, help="Leave out pairs whose scores differ by less, in the file's own unit."),
    ] = 0.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first N pairs only.")] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Pairs that the model is measured on: do they leak? May be repeated."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Questions of a benchmark: do they leak? May be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model (folder, run or hub id): do the pairs fit in its tokens?")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens that a pair should fit in; with --model; default 2048.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the audit as JSON to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the audit as one page to this file.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with status 4 unless the data is fit as it is.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every pair once and say what is wrong with them, whether they are fit to train on, and what to do.

    Ends with status 0 whatever was found, unless --strict is given. What each finding means: docs/audit.md.
    """
    from simpo.audit.run import audit

    with Progress("audit", total=None, unit="rows") as bar:
        last = 0

        def progress(rows: int) -> None:
            nonlocal last
            bar.update(rows, num=rows - last)
            last = rows

        result = audit(
            files,
            format=None if format == "auto" else format,
            columns=columns_of(mapping),
            pairing=cast("Pairing", pairing or "best_worst"),
            min_margin=min_margin,
            limit=limit,
            held_out=held_out or (),
            benchmark=benchmark or (),
            model=model,
            max_length=max_length,
            progress=progress,
        )
    if out is not None:
        from simpo.runs.folder import write_json

        write_json(out, result.to_json())
    if html is not None:
        from simpo.report.audit_page import write_audit_page

        write_audit_page(result.to_json(), html)
    if as_json:
        print_json(result.to_json())
    else:
        from simpo.cli.audit_screen import screen

        print_styled(*screen(result, _reading(files, format, mapping, pairing, min_margin, limit)))
        for what, path in (("audit", out), ("page", html)):
            if path is not None:
                note(f"{what:<6} {path}")
    if strict and result.verdict.fit != "fit":
        raise typer.Exit(NOT_FIT_STATUS)


def _reading(
    files: Sequence[str],
    format: str | None,
    mapping: Sequence[str] | None,
    pairing: str | None,
    min_margin: float,
    limit: int | None,
) -> list[str]:
    """The words that say what is read and how, for the commands that read the same."""
    words = list(files)
    for option, value in (("--format", format), ("--pairing", pairing), ("--limit", limit)):
        words += [] if value is None else [option, str(value)]
    words += ["--min-margin", f"{min_margin:g}"] if min_margin else []
    return [*words, *(word for one in mapping or () for word in ("--map", one))]
