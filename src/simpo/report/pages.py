"""What every page shares: its templates, everything escaped, and one file written whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from simpo.report.samples import clip_reply
from simpo.report.words import code, keep_units, number, visible
from simpo.runs.folder import write_atomic
from simpo.runs.secrets import without_secrets


def render(template: str, **values: Any) -> str:
    """A template of this package with its values; texts are escaped, and a missing value is an error."""
    return _environment().get_template(template).render(**values)


def write_page(path: Path, page: str) -> None:
    """Write a page whole. A lone surrogate, which JSON can carry and UTF-8 cannot, becomes a question mark."""
    write_atomic(path, without_secrets(page).encode("utf-8", errors="replace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simpo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(code=code, clip_reply=clip_reply, number=number, keep_units=keep_units)
    return environment


def _finalize(value: Any) -> Any:
    """Plain text with its hidden signs shown; markup of our own as it is."""
    return visible(value) if type(value) is str else value
