"""The formats that are read, one table each for pairs and for SFT examples. A new format is a new entry."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from simpo.data.formats_examples import EXAMPLE_FORMATS
from simpo.data.formats_judged import JUDGED, UNPAIRED
from simpo.data.formats_labelled import LABELLED
from simpo.data.formats_own import VERSION_FORMAT
from simpo.data.formats_pairs import OTHER_TRAINERS, TRL
from simpo.data.formats_ranked import RANKED
from simpo.data.shapes import Format, Kind, RawRow
from simpo.errors import RecipeError

# From narrow to wide: a row counts for the first entry that it matches.
PAIR_FORMATS: tuple[Format, ...] = (
    VERSION_FORMAT,
    *LABELLED,
    *OTHER_TRAINERS,
    *TRL,
    *RANKED,
    *JUDGED,
    *UNPAIRED,
)
FORMATS: dict[Kind, tuple[Format, ...]] = {"pairs": PAIR_FORMATS, "examples": EXAMPLE_FORMATS}


def votes(rows: Sequence[RawRow], kind: Kind) -> dict[str, int]:
    """How many of the rows match each format first, by its name."""
    counts: dict[str, int] = {}
    for row in rows:
        for entry in FORMATS[kind]:
            if entry.matches(row):
                counts[entry.name] = counts.get(entry.name, 0) + 1
                break
    return counts


def recognise(rows: Sequence[RawRow], kind: Kind) -> Format | None:
    """The format of the first rows of a file: the one that most of them match, or None where none does.

    A row counts for the first entry of the table that it matches, so entries go from narrow to wide.
    """
    counts = votes(rows, kind)
    return max(
        (entry for entry in FORMATS[kind] if entry.name in counts),
        key=lambda entry: counts[entry.name],
        default=None,
    )


def format_named(name: str, kind: Kind) -> Format:
    """The format of this name, or of another name it goes by; `RecipeError` names the nearest."""
    named = {alias: entry for entry in FORMATS[kind] for alias in (*entry.also, entry.name)}
    if name in named:
        return named[name]
    other: Kind = "examples" if kind == "pairs" else "pairs"
    meant = next((entry for entry in FORMATS[other] if name in (entry.name, *entry.also)), None)
    if meant is not None:
        raise RecipeError(f"the format {meant.name} holds {other}, and {kind} are needed")
    near = difflib.get_close_matches(name, named, n=1)
    names = ", ".join(entry.name for entry in FORMATS[kind])
    raise RecipeError(
        f"there is no format {name!r} of {kind}",
        fix=f"{f'did you mean {near[0]}? ' if near else ''}The formats are {names}",
    )


def nearest(columns: Sequence[str], kind: Kind, count: int = 4) -> list[Format]:
    """The formats that share most of these columns, for a file that is of none; the plainest where none does."""
    plain = ("trl_standard", "trl_conversational", "prompt_completion", "messages")

    def likeness(entry: Format) -> tuple[float, int]:
        shared = sum(column in entry.columns for column in columns)
        return (
            -shared / (len(entry.columns) + 1),
            plain.index(entry.name) if entry.name in plain else len(plain),
        )

    return sorted(FORMATS[kind], key=likeness)[:count]
