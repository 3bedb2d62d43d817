"""`write_compare_page`: methods side by side on one page, with a verdict that a manager understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simpo.report.compare.figures import (
    accuracy_charts,
    cost_charts,
    difference_chart,
    key_of,
    length_chart,
    win_chart,
)
from simpo.report.compare.runs import data_facts, run_rows, samples, setting_rows
from simpo.report.compare.source import CompareFile, CompareVerdict
from simpo.report.compare.views import (
    STRENGTH,
    cost_table,
    models,
    overview,
    pair_rows,
    regression_table,
)
from simpo.report.pages import render, write_page
from simpo.report.source import parsed


def write_compare_page(compare_json: Mapping[str, Any], path: Path | str) -> None:
    """Write a comparison (schema 1, DIR/compare.json) as one HTML file that needs nothing else.

    The same comparison gives the same bytes. Raises DataError where a key is missing or of another type, and RunFailed
    where the file cannot be written.
    """
    write_page(Path(path), render_compare_page(parsed(CompareFile, compare_json, "compare.json")))


def render_compare_page(comparison: CompareFile) -> str:
    """The page as text."""
    names = comparison.labels
    setting_names, settings = setting_rows(comparison)
    difference = difference_chart(comparison)
    generation = [chart for chart in (win_chart(comparison), length_chart(comparison)) if chart]
    return render(
        "compare.html",
        names=[names[method.id] for method in comparison.methods],
        verdict=comparison.verdict,
        paragraph=_paragraph(comparison.verdict),
        strength=STRENGTH[comparison.verdict.strength],
        cautions=[
            *comparison.warnings,
            *(f"{problem.where}: {problem.message}" for problem in comparison.problems),
        ],
        columns=[names[model] for model in models(comparison)],
        choice=names.get(comparison.verdict.choice or "", ""),
        overview=overview(comparison),
        key=key_of(comparison),
        accuracy=[*accuracy_charts(comparison), *([difference] if difference else [])],
        pairs=pair_rows(comparison),
        generation=generation,
        judge=comparison.generation.judge if comparison.generation else None,
        samples=samples(comparison),
        cost_charts=list(cost_charts(comparison)),
        costs=cost_table(comparison),
        regression=regression_table(comparison),
        setting_names=setting_names,
        settings=settings,
        runs=run_rows(comparison),
        data_facts=data_facts(comparison),
        version=comparison.simpo_version,
        created=comparison.created,
    )


def _paragraph(verdict: CompareVerdict) -> str:
    """The paragraph without the headline above it; nothing where the two lists below it say all of it."""
    listed = (*verdict.for_, *verdict.against)
    if listed and all(sentence in verdict.paragraph for sentence in listed):
        return ""
    return verdict.paragraph.removeprefix(verdict.headline).lstrip(". ")
