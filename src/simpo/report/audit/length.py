"""The part of an audit's page on length and style: what a ruler could foretell of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simpo.report.audit.charts import length_scatter, win_curve
from simpo.report.audit.source import AuditFile, LengthFigures, StyleFigures, figures_of
from simpo.report.estimates import GroupRow, ShareRow, group_chart, share_chart
from simpo.report.figures import Chart
from simpo.report.source import Estimate
from simpo.report.words import count, number, number_range, percent, percent_range, whole

CHOSEN_LONGER_OR_NOT = (("after", "chosen longer"), ("before", "rejected longer"))
PREDICTORS = {"length": "length alone", "length_and_marks": "length and style", "all_words": "all words"}
MAX_CATEGORIES = 10
RARE = 0.01  # a mark in which fewer pairs differ is left out


@dataclass(frozen=True, slots=True)
class MarkView:
    """One line of the table of style."""

    mark: str
    what: str
    differs: str
    chosen: tuple[str, str]


@dataclass(frozen=True, slots=True)
class LengthSection:
    """What length and style alone decide: sentences, figures, charts, and a line for each mark of style."""

    lead: str
    facts: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]
    marks: tuple[MarkView, ...]


def length_section(audit: AuditFile) -> LengthSection | None:
    """The section on length and style; None where the audit measured neither."""
    length = figures_of(audit, "length_bias", LengthFigures)
    style = figures_of(audit, "style_bias", StyleFigures)
    if length is None and style is None:
        return None
    titles = [finding for finding in audit.findings if finding.kind in ("length_bias", "style_bias")]
    lead = " ".join(finding.title for finding in sorted(titles, key=lambda finding: finding.kind))
    charts = [*(_length_charts(length) if length else ()), *(_style_charts(style) if style else ())]
    return LengthSection(lead, tuple(_facts(audit, length)), tuple(charts), tuple(_marks(style)))


def _facts(audit: AuditFile, length: LengthFigures | None) -> Iterator[tuple[str, str]]:
    if length is not None:
        if length.chosen_longer is not None:
            yield "the longer reply is chosen", _share(length.chosen_longer)
        if length.auc is not None:
            yield (
                "AUC of length alone",
                f"{number(length.auc.value)} ({number_range(length.auc.low, length.auc.high)})",
            )
        sides = [
            f"{name} {whole(length.median_chars[name])}"
            for name in ("chosen", "rejected")
            if name in length.median_chars
        ]
        if sides:
            yield "median characters", ", ".join(sides)
    matched = next((finding for finding in audit.findings if finding.kind == "length_matched"), None)
    if matched is not None:
        yield "pairs of equal length", f"{whole(matched.count)} ({percent(matched.share)})"


def _share(estimate: Estimate) -> str:
    interval = percent_range(estimate.low, estimate.high)
    return f"{percent(estimate.value)}{f' ({interval})' if interval else ''}"


def _length_charts(figures: LengthFigures) -> Iterator[Chart]:
    if figures.points:
        longer = sum(chosen > rejected for chosen, rejected in figures.points)
        shorter = sum(chosen < rejected for chosen, rejected in figures.points)
        of = len(figures.points)
        svg = length_scatter(
            "lengths",
            figures.points,
            corners=(
                f"chosen longer, {percent(longer / of, 0)}",
                f"rejected longer, {percent(shorter / of, 0)}",
            ),
            description="Length of the chosen against the rejected completion, one dot a pair",
        )
        note = f"{count(of, 'pair')}. On the dashed line both sides are equally long."
        yield Chart("Length of both sides", svg, CHOSEN_LONGER_OR_NOT, note)
    if len(figures.curve) > 1:
        svg = win_curve(
            "win-curve",
            figures.curve,
            figures.bins,
            description="Chance that a reply is the chosen one, by how many times as long as the other it is",
        )
        note = "Band: 95 % interval of the fit; dots: counted. Flat at 50 %, length would tell nothing."
        yield Chart("Does length win?", svg, (), note)
    parts = figures.by_category[:MAX_CATEGORIES]
    if len(parts) > 1:
        rows = [
            ShareRow(
                part.category,
                Estimate(value=part.value, low=part.low, high=part.high),
                count(part.pairs, "pair"),
            )
            for part in parts
        ]
        svg = share_chart(
            "length-categories",
            rows,
            unit="% of pairs in which the longer reply is chosen",
            even=0.5,
            description="How often the longer reply is chosen, by category",
        )
        yield Chart("By category", svg)


def _style_charts(figures: StyleFigures) -> Iterator[Chart]:
    """How much of the labels simple models foretell, on all pairs and on those of equal length."""
    matched = figures.length_matched
    at_equal = (
        {"length_and_marks": matched.length_and_marks, "all_words": matched.all_words} if matched else {}
    )
    rows = []
    for name, words in PREDICTORS.items():
        if name in figures.predictors:
            equal = at_equal.get(name)
            estimates = (("m0", figures.predictors[name].accuracy), *((("base", equal),) if equal else ()))
            rows.append(GroupRow(words, estimates))
    if not rows:
        return
    svg = group_chart(
        "predictors",
        rows,
        unit="% of labels foretold, out of fold",
        even=0.5,
        description="How much of the labels length, style and words foretell",
    )
    key = (("after", "all pairs"), ("base", f"the {whole(matched.pairs)} of equal length")) if matched else ()
    note = "A trained model whose held-out accuracy lies below these has learnt less than style."
    yield Chart("What could a ruler foretell?", svg, key, note)


def _marks(figures: StyleFigures | None) -> Iterator[MarkView]:
    for row in figures.marks if figures else ():
        if row.differs >= RARE and row.more_chosen is not None:
            chosen = row.more_chosen
            yield MarkView(
                row.mark.replace("_", " "),
                row.what,
                percent(row.differs),
                (percent(chosen.value), percent_range(chosen.low, chosen.high)),
            )
