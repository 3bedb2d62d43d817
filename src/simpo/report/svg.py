"""A matplotlib figure as SVG that lives inside a page: its colours and fonts are the page's, its bytes repeat."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

# matplotlib draws in these stand-ins; each is replaced by a variable of the style sheet, so that a chart follows the
# reader's light or dark mode. Lower-case hexadecimal, as matplotlib writes it.
INK, MUTED, GRID, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
BEFORE, AFTER, NEUTRAL = "#0a0b05", "#0a0b06", "#0a0b07"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    BEFORE: "var(--before)",
    AFTER: "var(--after)",
    NEUTRAL: "var(--neutral)",
}

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simpo",
    "text.color": INK,
    "text.parse_math": False,
    "font.size": 12,
    "axes.edgecolor": GRID,
    "axes.facecolor": PAPER,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlecolor": MUTED,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@contextmanager
def theme() -> Iterator[None]:
    """Draw and save inside this: stand-in colours, no mathematics in labels, no complaint about a label's glyphs.

    The browser chooses the fonts, so a glyph that matplotlib's own font lacks is no fault of the chart.
    """
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def canvas(width: int, height: int) -> Figure:
    """An empty figure of `width` by `height` pixels: an SVG unit, a typographic point and a pixel are one."""
    return Figure(figsize=(width / 72, height / 72))


def label(text: str, limit: int = 40) -> str:
    """Text of the data made fit for an SVG label: one line, no control characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as one `<svg>` element that scales with its box; `description` is what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue().encode("utf-8"))
    _drop_boilerplate(root)
    _keep_needed_ids(root, name)
    for element in root.iter():
        _plain_attributes(element)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "chart",
        "role": "img",
        "aria-label": description,
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _drop_boilerplate(root: ElementTree.Element) -> None:
    """Remove metadata and the global style rule, and the namespaces that HTML does not need."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if not (element.text or "").strip():
            element.text = None
        element.tail = None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)


def _keep_needed_ids(root: ElementTree.Element, name: str) -> None:
    """Ids are unique within a page, not a chart: drop those that nothing points at and prefix the others."""
    references = ("href", "clip-path")
    targets = {
        found
        for element in root.iter()
        for key in references
        for found in re.findall(r"#([\w.-]+)", element.get(key, ""))
    }
    for element in root.iter():
        if element.get("id") in targets:
            element.set("id", f"{name}-{element.get('id')}")
        else:
            element.attrib.pop("id", None)
        for key in references:
            if key in element.attrib:
                element.set(key, element.attrib[key].replace("#", f"#{name}-"))


def _plain_attributes(element: ElementTree.Element) -> None:
    """Shorten numbers, hand colours and fonts over to the style sheet."""
    for key in ("d", "x", "y", "transform"):
        if key in element.attrib:
            text = re.sub(r"-?\d+\.\d+", _two_decimals, element.attrib[key])
            element.set(key, " ".join(text.split()))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    style = re.sub(r"font-family:[^;]*;?\s*", "", element.get("style", ""))
    for stand_in, variable in VARIABLES.items():
        style = style.replace(stand_in, variable)
    if style:
        element.set("style", style)


def _two_decimals(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
