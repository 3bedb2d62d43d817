"""`simpo audit`: what is wrong with some files of pairs, whether they are fit to train on, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from simpo.cli.output import JsonOption, Progress, duration, note, print_json, print_styled, printable
from simpo.cli.reading import FormatOption, MapOption, PairingOption, columns_of

if TYPE_CHECKING:
    from rich.text import Text

    from simpo.audit.findings import Finding
    from simpo.audit.run import Audit
    from simpo.data.shapes import Pairing

NOT_FIT_STATUS = 4
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
VERDICT_COLOURS = {"fit": "green", "repair": "yellow", "unfit": "red"}
HEADINGS = {"error": "Errors", "warning": "Warnings", "note": "Notes"}


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
        print_styled(*_screen(result, files))
        for what, path in (("audit", out), ("page", html)):
            if path is not None:
                note(f"{what:<6} {path}")
    if strict and result.verdict.fit != "fit":
        raise typer.Exit(NOT_FIT_STATUS)


def _screen(result: Audit, files: Sequence[str]) -> Iterator[Text]:
    """The audit as a person reads it: the verdict, the findings by severity, which method suits, what to do."""
    from rich.text import Text

    verdict = result.verdict
    yield Text(printable(verdict.title), style=f"bold {VERDICT_COLOURS[verdict.fit]}")
    yield Text(_read(result), style="dim")
    if verdict.fit == "unfit":
        for reason in verdict.against[1:]:
            yield Text(f"  {printable(reason)}", style="red")
    for severity, heading in HEADINGS.items():
        found = [finding for finding in result.findings if finding.severity == severity]
        if found:
            yield Text(f"\n{heading}", style=f"bold {COLOURS[severity]}")
        for finding in found:
            yield _finding(finding)
    yield Text("\nWhich method suits", style="bold")
    for method in result.methods:
        mark, style = {True: ("yes", "green"), False: ("no", "dim"), None: ("?", "dim")}[method.suits]
        yield Text.assemble(
            (f"  {mark:<4}", style), f"{method.method:<16}", (printable(method.reason), "dim")
        )
    yield from _what_to_do(result, files)


def _read(result: Audit) -> str:
    data = result.data
    left_out = sum(data.dropped.values())
    return printable(
        f"{data.name} ({data.format}): {data.pairs:,} pairs of {data.prompts:,} prompts, {data.rows_read:,} rows read, "
        f"{left_out:,} left out; {duration(result.seconds)}, {result.peak_memory_bytes / 2**20:,.0f} MiB at most"
    )


def _finding(finding: Finding) -> Text:
    from rich.text import Text

    text = Text()
    share = f"{finding.count:,}" if finding.count else ""
    text.append(f"  {finding.kind}", style=f"bold {COLOURS[finding.severity]}")
    text.append(f"  {share}\n", style="bold")
    text.append(f"    {printable(finding.title)}\n")
    if finding.examples:
        first = finding.examples[0]
        other = f" and {first.other}" if first.other else ""
        text.append(f"    {printable(f'{first.source}{other}')}: {printable(first.detail)}\n", style="dim")
    text.append(f"    {printable(finding.action)}", style="italic")
    return text


def _what_to_do(result: Audit, files: Sequence[str]) -> Iterator[Text]:
    from rich.text import Text

    repairs = result.verdict.repairs
    if not repairs:
        return
    yield Text("\nWhat to do", style="bold")
    for kind, repair, count in repairs:
        yield Text(f"  {repair:<5}{count:>8,}  {kind}")
