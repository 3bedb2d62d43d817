"""`simpo report`: write a run's page again, and print its closing table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from simpo.cli.output import JsonOption, note, print_json, print_table


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: JsonOption = False,
) -> None:
    """Build report.html from a run folder and print the closing table."""
    from simpo.report.build import build_report

    report = build_report(run)
    print_summary(run, as_json, {"run": str(run), "report": str(report)})
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
