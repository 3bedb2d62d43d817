"""`build_report`: from a run folder to one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from simpo.report import figures, provenance
from simpo.report.formula import formula
from simpo.report.headline import headline
from simpo.report.pages import render, write_page
from simpo.report.samples import samples
from simpo.report.source import RunSource, read_source
from simpo.report.summary import other_rows
from simpo.report.tokens import knows_logps, renderings
from simpo.runs.folder import RunFolder


def build_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from that folder alone, and return its path.

    One file, no network, no script. The same folder gives the same bytes. A run that has not ended or has no
    evaluation gives a report that says so. Raises `RecipeError` where the folder is no run, `DataError` where a
    file in it cannot be read.
    """
    source = read_source(run)
    path = RunFolder(run).report_path
    write_page(path, render_report(source))
    return path


def render_report(source: RunSource) -> str:
    """The page as text."""
    return render(
        "report.html",
        head=headline(source),
        others=other_rows(source),
        curves=figures.curves(source),
        strata=figures.strata(source),
        scores=figures.scores(source),
        lengths=figures.lengths(source),
        length_rows=figures.length_rows(source),
        samples=samples(source),
        renderings=renderings(source),
        knows_logps=knows_logps(source),
        data_sets=provenance.data_sets(source),
        formula=formula(source.recipe.recipe.method),
        recipe_rows=provenance.recipe_rows(source),
        recipe_text=provenance.recipe_text(source),
        lineage=provenance.lineage(source),
        environment=provenance.environment(source),
        run_name=source.name,
        run_kind=source.run.get("kind", "run"),
        created=str(source.run.get("created", "")),
        version=str(source.run.get("simpo_version", "")),
    )
