"""An audit in a person's words: the top of its page, its findings, its examples, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simpo.report.audit.source import (
    SEVERITIES,
    AgreementFigures,
    AuditExample,
    AuditFile,
    AuditFinding,
    FlipFigures,
    LengthFigures,
    Suspect,
    figures_of,
)
from simpo.report.diff import Difference, difference
from simpo.report.words import (
    NOTHING,
    count,
    general,
    last_name,
    number,
    number_range,
    percent,
    percent_range,
    whole,
)

STATES = {
    "fit": ("fit", "Fit to train on"),
    "repair": ("repair", "Fit after repairs"),
    "unfit": ("unfit", "Not fit"),
}
SUITS = {True: "yes", False: "no", None: "cannot tell"}
# Findings whose figures are drawn in a section of their own.
SECTIONS = {
    "agreement": "labels",
    "position_bias": "labels",
    "order_turns_verdict": "labels",
    "length_bias": "length",
    "style_bias": "length",
    "length_matched": "length",
}
SUSPECTED = "suspected_flip"
MAX_PLACES = 3
MAX_NAMED = 8
MAX_SHOWN = 3
MAX_OF_NOTES = 2
MAX_SUSPECTS = 6
MAX_EXAMPLES = 30

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the opening."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FindingView:
    """One finding as a card; `width` is its share as a bar in percent, `anchor` leads to its examples, if any."""

    anchor: str
    kind: str
    severity: str
    title: str
    action: str
    count: str
    share: str
    width: float
    repair: str
    places: tuple[tuple[str, str], ...]
    figures: Facts
    has_examples: bool
    section: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """One pair of texts side by side, their differences marked."""

    place: str
    detail: str
    prompt: str
    texts: Difference


@dataclass(frozen=True, slots=True)
class ExampleGroup:
    """The examples of one finding."""

    anchor: str
    kind: str
    severity: str
    title: str
    examples: tuple[ExampleView, ...]
    facts: tuple[tuple[str, str], ...] = ()


def spoken(kind: str) -> str:
    """A kind's name in words: near_duplicate is "near duplicate"."""
    return kind.replace("_", " ")


def tiles(audit: AuditFile) -> list[Tile]:
    """The counts that anyone asks for first."""
    data, findings = audit.data, audit.findings
    left_out = sum(data.dropped.values())
    by_severity = {
        severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES
    }
    notes = f"{count(by_severity['warning'], 'warning')}, {count(by_severity['note'], 'note')}"
    repaired = sum(repair.count for repair in audit.verdict.repairs)
    return [
        Tile("Pairs", whole(data.pairs), f"of {count(data.prompts, 'prompt')}"),
        Tile(
            "Rows left out", whole(left_out), f"{_share(left_out, data.rows_read)} of {whole(data.rows_read)}"
        ),
        Tile("Errors", whole(by_severity["error"]), notes),
        Tile(
            "To repair",
            whole(repaired),
            f"rows or pairs, by {count(len(audit.verdict.repairs), 'repair')}" if repaired else "nothing",
        ),
        *_measured_tiles(audit),
    ]


def _measured_tiles(audit: AuditFile) -> Iterator[Tile]:
    """What was measured on the whole: how often the longer reply won, how far the annotators agree."""
    length = figures_of(audit, "length_bias", LengthFigures)
    if length is not None and length.chosen_longer is not None:
        longer = length.chosen_longer
        note = percent_range(longer.low, longer.high)
        yield Tile("Longer reply chosen", percent(longer.value), note)
    agreement = figures_of(audit, "agreement", AgreementFigures)
    if agreement is not None and agreement.alpha is not None:
        alpha = agreement.alpha
        yield Tile(
            "Annotators agree",
            number(alpha.value),
            f"Krippendorff's alpha, {number_range(alpha.low, alpha.high)}",
        )


def _share(part: int, whole_of: int) -> str:
    return percent(part / whole_of) if whole_of else NOTHING


def findings_by_severity(audit: AuditFile) -> list[tuple[str, list[FindingView]]]:
    """The findings of each severity that has any, in the audit's order."""
    shown = {group.kind for group in example_groups(audit)}
    one_file = len(audit.data.files) < 2
    views = [_finding_view(finding, finding.kind in shown, one_file) for finding in audit.findings]
    grouped = [(severity, [view for view in views if view.severity == severity]) for severity in SEVERITIES]
    return [(severity, group) for severity, group in grouped if group]


def _finding_view(finding: AuditFinding, has_examples: bool, one_file: bool) -> FindingView:
    places = tuple((_place(example, one_file), example.detail) for example in finding.examples[:MAX_PLACES])
    return FindingView(
        anchor=_anchor(finding.kind),
        kind=spoken(finding.kind),
        severity=finding.severity,
        title=finding.title,
        action=finding.action,
        count=count(finding.count, finding.unit.removesuffix("s")) if finding.count else "",
        share=percent(finding.share) if finding.count else "",
        width=100 * min(max(finding.share, 0.0), 1.0),
        repair=finding.repair or "",
        places=places,
        figures=[] if finding.kind in (*SECTIONS, SUSPECTED) else plain_figures(finding.figures),
        has_examples=has_examples,
        section=SECTIONS.get(finding.kind, ""),
    )


# Of other files (Parquet, Arrow, an array in .json) the reader counts rows.
_LINES = re.compile(r"\.(jsonl|ndjson|csv|tsv)(\.gz|\.zst)?:\d+$")


def _place(example: AuditExample, one_file: bool) -> str:
    """Where an example stands: the line (of a table or array the row) in the one file, else the file's name too."""
    places = [place for place in (example.source, example.other) if place]
    lines = [place.rpartition(":")[2] for place in places]
    if one_file and all(line.isdigit() for line in lines):
        word = "line" if _LINES.search(places[0]) else "row"
        return f"{word}{'s' if len(lines) > 1 else ''} {' and '.join(lines)}"
    return " and ".join(map(last_name, places))


def _anchor(kind: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in kind)


def plain_figures(figures: Mapping[str, Any]) -> Facts:
    """The figures of a finding that a line can hold: numbers, shares with their intervals, a few of them by name."""
    facts = []
    for name, value in figures.items():
        deep = (
            isinstance(value, Mapping)
            and bool(value)
            and all(isinstance(each, Mapping) for each in value.values())
        )
        parts = {f"{name} {key}": each for key, each in value.items()} if deep else {name: value}
        for key, part in parts.items():
            text = _figure(str(key), part)
            if text:
                facts.append((spoken(str(key)).removeprefix("num "), text))
    return facts


def _figure(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return percent(value) if "share" in name else general(float(f"{value:.3g}"))
    if isinstance(value, Mapping) and isinstance(value.get("value"), (int, float)):
        low, high = value.get("low"), value.get("high")
        interval = percent_range(low, high) if isinstance(low, (int, float)) else ""
        return f"{percent(value['value'])}{f' ({interval})' if interval else ''}"
    if isinstance(value, Mapping) and len(value) <= MAX_NAMED:
        named = [(key, _figure(name, each)) for key, each in value.items() if isinstance(each, (int, float))]
        return ", ".join(f"{spoken(str(key))} {text}" for key, text in named)
    return ""


def example_groups(audit: AuditFile) -> list[ExampleGroup]:
    """Pairs to look at: labels that look wrong first, then the examples of errors, of warnings, of notes."""
    groups: list[ExampleGroup] = []
    total, one_file = 0, len(audit.data.files) < 2
    for finding in sorted(audit.findings, key=_looked_at_first):
        limit = min(_examples_wanted(finding), MAX_EXAMPLES - total)
        flips = figures_of(audit, finding.kind, FlipFigures) if finding.kind == SUSPECTED else None
        shown = list(map(_suspect, flips.ranked)) if flips else list(finding.examples)
        readable = [each for each in shown if each.chosen is not None and each.rejected is not None]
        if not readable or limit <= 0:
            continue
        examples = tuple(_example(each, one_file) for each in readable[:limit])
        total += len(examples)
        facts = tuple(_flip_facts(flips)) if flips else ()
        groups.append(
            ExampleGroup(
                _anchor(finding.kind), finding.kind, finding.severity, finding.title, examples, facts
            )
        )
    return groups


def _suspect(suspect: Suspect) -> AuditExample:
    """One suspected label as an example, with why it is suspected."""
    words = (
        [f"looks turned with probability {percent(suspect.probability)}"]
        if suspect.probability is not None
        else []
    )
    if suspect.votes:
        agree = f"{general((suspect.votes + (suspect.margin or 0)) / 2)} of {count(suspect.votes, 'vote')}"
        words.append(f"{agree} for the label as it is")
    return AuditExample(
        source=suspect.source,
        detail="; ".join(words),
        prompt=suspect.prompt,
        chosen=suspect.chosen,
        rejected=suspect.rejected,
    )


def _flip_facts(flips: FlipFigures) -> Iterator[tuple[str, str]]:
    """How far the list of suspects can be trusted."""
    rate = flips.noise_rate
    yield (
        "labels that look turned at random",
        (
            f"{percent(rate.value)} ({percent_range(rate.low, rate.high)})"
            if flips.counted
            else "cannot be told from these pairs"
        ),
    )
    if flips.auc is not None:
        yield (
            "AUC of the scores, out of fold",
            f"{number(flips.auc.value)} ({number_range(flips.auc.low, flips.auc.high)})",
        )
    shorter = flips.shorter_chosen
    if shorter is not None and shorter.suspected is not None:
        yield (
            "shorter reply chosen",
            f"{percent(shorter.suspected, 0)} of the suspected, {percent(shorter.all, 0)} of all",
        )


def _examples_wanted(finding: AuditFinding) -> int:
    if finding.repair == "swap" or finding.kind == SUSPECTED:
        return MAX_SUSPECTS
    return MAX_OF_NOTES if finding.severity == "note" else MAX_SHOWN


def _looked_at_first(finding: AuditFinding) -> tuple[bool, int]:
    wrong_labels = finding.repair == "swap" or (finding.kind == SUSPECTED and finding.severity != "note")
    return not wrong_labels, SEVERITIES.index(finding.severity)


def _example(example: AuditExample, one_file: bool) -> ExampleView:
    return ExampleView(
        place=_place(example, one_file),
        detail=example.detail,
        prompt=example.prompt or "",
        texts=difference(example.chosen or "", example.rejected or ""),
    )
