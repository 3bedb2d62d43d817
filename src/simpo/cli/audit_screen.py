"""The audit on a terminal: the verdict, the findings by severity, which method suits, and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from simpo.audit.kinds import percent
from simpo.cli.output import duration, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from simpo.audit.findings import Finding
    from simpo.audit.result import Audit

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
VERDICT_COLOURS = {"fit": "green", "repair": "yellow", "unfit": "red"}
HEADINGS = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
SUITS = {True: ("yes", "green"), False: ("no", "dim"), None: ("?", "dim")}


def screen(result: Audit, reading: Sequence[str]) -> Iterator[RenderableType]:
    """The parts of the screen, from the top. reading: the words of the command line that say what is read and how."""
    verdict = result.verdict
    yield Text(printable(verdict.title), style=f"bold {VERDICT_COLOURS[verdict.fit]}")
    yield Text(_read(result), style="dim")
    for reason in verdict.against[1:]:
        yield _indented(Text(printable(reason), style="red"))
    for severity, heading in HEADINGS.items():
        found = [finding for finding in result.findings if finding.severity == severity]
        if found:
            yield Text(f"\n{heading}", style=f"bold {COLOURS[severity]}")
        for finding in found:
            yield from _finding(finding)
    yield Text("\nWhich method suits", style="bold")
    for method in result.methods:
        mark, style = SUITS[method.suits]
        yield Text.assemble("  ", (f"{mark:<4}", style), method.method)
        yield _indented(Text(printable(method.reason), style="dim"), 6)
    yield from _what_to_do(result, reading)


def _read(result: Audit) -> str:
    data = result.data
    left_out = sum(data.dropped.values())
    return printable(
        f"{data.name} ({data.format or 'no format'}): {data.pairs:,} pairs of {data.prompts:,} prompts, "
        f"{data.rows_read:,} rows read, {left_out:,} left out; {duration(result.seconds)}, "
        f"{result.peak_memory_bytes / 2**20:,.0f} MiB at most"
    )


def _finding(finding: Finding) -> Iterator[RenderableType]:
    """Kind, count, share and first place on one line; what was found and what to do below it."""
    line = Text.assemble("  ", (finding.kind, f"bold {COLOURS[finding.severity]}"))
    if finding.count:
        line.append(f"  {finding.count:,}  {percent(finding.share)}", style="bold")
    if finding.examples:
        first = finding.examples[0]
        places = f"{first.source} and {first.other}" if first.other else str(first.source)
        line.append(f"  {printable(places)}", style="dim")
    yield line
    yield _indented(Text(printable(finding.title)))
    if finding.examples and finding.severity != "note":
        yield _indented(Text(printable(finding.examples[0].detail), style="dim"))
    yield _indented(Text(printable(finding.action), style="italic"))


def _what_to_do(result: Audit, reading: Sequence[str]) -> Iterator[RenderableType]:
    repairs = result.verdict.repairs
    if not repairs:
        return
    yield Text("\nWhat to do", style="bold")
    for kind, repair, count in repairs:
        yield Text(f"  {repair:<5}{count:>9,}  {kind}")
    yield _indented(Text(printable(f"simpo build {shlex.join(reading)} --out DIR")), 2)


def _indented(text: Text, by: int = 4) -> Padding:
    return Padding(text, (0, 0, 0, by))
