"""`build_page`: the page of whatever a path holds that is no run: a sweep, a comparison, an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simpo.errors import DataError, RecipeError
from simpo.report.audit.page import write_audit_page
from simpo.report.compare.page import write_compare_page
from simpo.report.sweep.page import write_sweep_page
from simpo.runs.folder import read_json

Writer = Callable[[Mapping[str, Any], Path], None]
STUDIES: Mapping[str, Writer] = {"sweep.json": write_sweep_page, "compare.json": write_compare_page}


def build_page(path: Path) -> Path | None:
    """Write the page of a sweep's or a comparison's folder, or of an audit's JSON file, and return its path.

    A folder gets report.html; an audit gets a page beside it: audit.json audit.html. None where the path is neither.
    Raises RecipeError where a file is no JSON object or no audit, DataError where a key is missing or of another type.
    """
    for name, write in STUDIES.items():
        if (path / name).is_file():
            page = path / "report.html"
            write(read_json(path / name), page)
            return page
    if path.suffix == ".json" and path.is_file():
        return _audit_page(path)
    return None


def _audit_page(path: Path) -> Path:
    content = read_json(path)
    # A dataset version holds two audits: of the sources, and of what was made of them.
    content = content.get("result", content)
    page = path.with_suffix(".html")
    try:
        write_audit_page(content, page)
    except DataError as error:
        raise RecipeError(
            f"this is no audit: {error.message}",
            where=str(path),
            fix="write one: simpo audit FILES --out audit.json",
        ) from error
    return page
