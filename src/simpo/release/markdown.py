"""Markdown that holds other people's text: nothing in it can become markup, HTML, a link or a row of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_CHARS = 300

# An underscore between letters is no markup, and names of settings and files are full of them.
_MARKUP = re.compile(r"([\\`*{}\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))")
_LINKED = re.compile(r"(?i)(https?|ftp)(?=:)|(www)(?=\.)|@")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(value: object) -> str:
    """A value as one line of text, every character that Markdown or HTML gives a meaning escaped; long ones are cut.

    Meant for the inside of a line: a mark that means something at its beginning alone stays as it is.
    """
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = " ".join(text.split())
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS] + " (cut)"
    text = _MARKUP.sub(r"\\\1", text.translate(_HTML))
    return _LINKED.sub(
        "\\g<0>\N{ZERO WIDTH SPACE}", text
    )  # addresses and names are linked without any markup


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; every cell is escaped by `plain`."""
    lines = [[plain(cell) for cell in columns], ["---"] * len(columns)]
    lines += [[plain(cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
