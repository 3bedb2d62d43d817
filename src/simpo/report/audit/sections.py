"""The drawn parts of an audit's page: length, and how far the annotators agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simpo.report.audit.charts import margin_chart
from simpo.report.audit.source import (
    AgreementFigures,
    AnnotatorRow,
    AuditFile,
    PositionFigures,
    TurnedFigures,
    figures_of,
)
from simpo.report.audit.views import spoken
from simpo.report.estimates import ShareRow, share_chart
from simpo.report.figures import Chart
from simpo.report.source import Estimate
from simpo.report.words import NOTHING, count, number, number_range, percent, percent_range, whole

MAX_ANNOTATORS = 20


@dataclass(frozen=True, slots=True)
class AnnotatorView:
    """One line of the table of annotators; shares as text, with their intervals."""

    name: str
    votes: str
    agreement: tuple[str, str]
    first: tuple[str, str]
    longer: tuple[str, str]
    flags: str


@dataclass(frozen=True, slots=True)
class LabelSection:
    """What the votes say of each other: words, charts, and a line for each annotator."""

    facts: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]
    annotators: tuple[AnnotatorView, ...]
    note: str


def label_section(audit: AuditFile) -> LabelSection | None:
    """The section on labels; None where no annotator is named in the data."""
    agreement = figures_of(audit, "agreement", AgreementFigures)
    position = figures_of(audit, "position_bias", PositionFigures)
    turned = figures_of(audit, "order_turns_verdict", TurnedFigures)
    if agreement is None and position is None and turned is None:
        return None
    people = agreement.annotators if agreement else ()
    rest = len(people) - MAX_ANNOTATORS
    return LabelSection(
        tuple(_label_facts(agreement, position, turned)),
        tuple(_label_charts(agreement, position)),
        tuple(_annotator(row) for row in people[:MAX_ANNOTATORS]),
        f"{count(rest, 'annotator')} with fewer votes are left out here; the JSON has them."
        if rest > 0
        else "",
    )


def _label_facts(
    agreement: AgreementFigures | None, position: PositionFigures | None, turned: TurnedFigures | None
) -> Iterator[tuple[str, str]]:
    if agreement is not None:
        yield "votes", f"{whole(agreement.num_votes)} of {count(agreement.num_annotators, 'annotator')}"
        yield "items with two votes or more", whole(agreement.num_items_with_two)
        if agreement.alpha is not None:
            yield "Krippendorff's alpha", _coefficient(agreement.alpha)
        kappa = agreement.kappa
        if kappa is not None and kappa.value is not None:
            estimate = Estimate(value=kappa.value, low=kappa.low, high=kappa.high)
            yield f"{kappa.name}'s kappa", _coefficient(estimate)
    if position is not None:
        yield "the reply shown first wins", _estimate(position.first)
        if position.within_items is not None:
            yield "the same, within items shown in both orders", _estimate(position.within_items)
    if turned is not None:
        yield "verdicts that turn with the order", _estimate(turned.turned)


def _coefficient(estimate: Estimate) -> str:
    interval = number_range(estimate.low, estimate.high)
    return f"{number(estimate.value)}{f' ({interval})' if interval else ''}"


def _estimate(estimate: Estimate) -> str:
    interval = percent_range(estimate.low, estimate.high)
    return f"{percent(estimate.value)}{f' ({interval})' if interval else ''}"


def _label_charts(agreement: AgreementFigures | None, position: PositionFigures | None) -> Iterator[Chart]:
    if agreement is not None and agreement.margins:
        svg = margin_chart(
            "margins", agreement.margins, description="Items by how clear the majority of their votes is"
        )
        yield Chart("How clear is the majority?", svg, (), "Items with two votes or more.")
    people = agreement.annotators[:MAX_ANNOTATORS] if agreement else ()
    agreeing = [_share_row(row, estimate, "weak") for row in people if (estimate := row.agreement)]
    if agreeing:
        svg = share_chart(
            "agreement",
            agreeing,
            unit="% of votes",
            even=None,
            description="Each annotator's agreement with the majority of the others",
        )
        yield Chart("Agreement with the others", svg)
    first = [_share_row(row, estimate, "one_sided") for row in people if (estimate := row.first)]
    if position is not None:
        first.insert(0, ShareRow("everyone", position.first, "", position.beyond_chance))
    if first:
        svg = share_chart(
            "position",
            first,
            unit="% of votes for the reply shown first",
            even=0.5,
            description="How often each annotator takes the reply shown first",
        )
        yield Chart("Does the first reply win?", svg, (), "Dashed: no liking for either place.")


def _share_row(row: AnnotatorRow, estimate: Estimate, flag: str) -> ShareRow:
    strong = any(each.startswith(flag) for each in row.flags)
    return ShareRow(row.annotator, estimate, count(row.votes, "vote"), strong)


def _annotator(row: AnnotatorRow) -> AnnotatorView:
    return AnnotatorView(
        row.annotator,
        whole(row.votes),
        _cell(row.agreement),
        _cell(row.first),
        _cell(row.longer),
        ", ".join(spoken(flag).removesuffix(" annotator") for flag in row.flags),
    )


def _cell(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return NOTHING, ""
    return percent(estimate.value, 0), percent_range(estimate.low, estimate.high)
