"""`simpo report`: write the page of a run, a sweep, a comparison or an audit again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.options import JsonOption
from simpo.cli.output import note, print_json, print_table


def command(
    path: Annotated[
        Path,
        typer.Argument(help="A run folder, the folder of a sweep or a comparison, or an audit's JSON file."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Write the page of a run (and print its closing table), a sweep, a comparison or an audit.

    A sweep or comparison that still runs gives a page that says so.
    """
    from simpo.report.build import build_report
    from simpo.report.study import build_page

    page = build_page(path)
    if page is not None:
        print_json({"path": str(path), "report": str(page)}) if as_json else note(f"report  {page}")
        return
    report = build_report(path)
    print_summary(path, as_json, {"run": str(path), "report": str(report)})
    if not as_json:
        note(f"report  {report}")


def print_summary(run: Path, as_json: bool, more: dict[str, Any]) -> None:
    """The closing table of a run on stdout, or the same figures as JSON with `more` beside them."""
    from simpo.report.summary import summary_table

    rows = summary_table(run)
    if as_json:
        print_json({**more, "summary": [asdict(row) for row in rows]})
        return
    print_table(["", "before", "after", ""], [row.cells for row in rows])
