"""Two texts side by side, word by word: which words stand in one alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from simpo.report.words import visible

# A word, one character of a script that writes without spaces, a run of blanks, or any other sign.
_PIECES = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W぀-ヿ㐀-鿿가-힯]+|\s+|[^\w\s]")
MAX_WORDS = 2000
LEAST_ALIKE = 0.4  # below it, so many words would be marked that none would stand out


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one text; `own` where the other text does not have it."""

    text: str
    own: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Both texts in stretches; `marked` is False where they are too unlike for marks to help."""

    first: tuple[Piece, ...]
    second: tuple[Piece, ...]
    marked: bool


def difference(first: str, second: str) -> Difference:
    """Mark the words of each text that the other lacks, in order; blanks between two marked words are marked too.

    Texts of more than `MAX_WORDS` words, and texts with less than two fifths of their words in common, stay unmarked.
    """
    pieces = [_PIECES.findall(visible(text)) for text in (first, second)]
    places = [[at for at, piece in enumerate(side) if not piece.isspace()] for side in pieces]
    words = [[side[at] for at in where] for side, where in zip(pieces, places, strict=True)]
    unmarked = Difference((Piece(visible(first), False),), (Piece(visible(second), False),), marked=False)
    if max(map(len, words)) > MAX_WORDS or not min(map(len, words)):
        return unmarked
    matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
    if matcher.ratio() < LEAST_ALIKE:
        return unmarked
    common: tuple[set[int], set[int]] = (set(), set())
    for block in matcher.get_matching_blocks():
        for side, start in enumerate((block.a, block.b)):
            common[side].update(places[side][start : start + block.size])
    return Difference(_stretches(pieces[0], common[0]), _stretches(pieces[1], common[1]), marked=True)


def _stretches(pieces: list[str], common: set[int]) -> tuple[Piece, ...]:
    """Neighbours of one kind joined; a blank is marked where both its neighbours are."""
    own = [not piece.isspace() and at not in common for at, piece in enumerate(pieces)]
    for at in range(1, len(pieces) - 1):
        if pieces[at].isspace() and "\n\n" not in pieces[at]:
            own[at] = own[at - 1] and own[at + 1]
    found: list[Piece] = []
    for piece, marked in zip(pieces, own, strict=True):
        if found and found[-1].own == marked:
            found[-1] = Piece(found[-1].text + piece, marked)
        else:
            found.append(Piece(piece, marked))
    return tuple(found)
