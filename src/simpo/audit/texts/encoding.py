"""Characters that should not be there: wrong encodings, control and invisible characters, escapes left in the text."""

from __future__ import annotations

import re
from collections import Counter

from simpo.audit.findings import Finding
from simpo.audit.kinds import ENCODING, found
from simpo.audit.tally import Tally, around
from simpo.audit.texts.view import View
from simpo.data.reasons import shown
from simpo.records import Pair

# What the bytes of a UTF-8 character look like when each is read as one Windows-1252 or Latin-1 character: a lead byte
# C2..F4, then one to three of 80..BF.
_HIGH = "\u0080-\u00bf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0))
# What follows a letter in texts that are as they should be.
_PUNCTUATION = (
    "\u00a0\u00ab\u00b7\u00bb\u201a\u201e\u2026\u2039\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u203a"
)
MOJIBAKE = re.compile(f"[\u00c2-\u00df][{_HIGH}]|[\u00e0-\u00ef][{_HIGH}]{{2}}|[\u00f0-\u00f4][{_HIGH}]{{3}}")
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f]")
# A joiner beside a letter of its script or an emoji belongs there, and so does a zero width space between the words of
# scripts that are written without blanks (Thai, Lao, Burmese, Khmer).
INVISIBLE = re.compile(
    "[\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
    "|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b"
    "|(?<![^\x00-\x7f])[\u200c\u200d](?![^\x00-\x7f])"
)
SURROGATE = re.compile("[\ud800-\udfff]")
_ODD_KINDS = {
    "replacement_character": re.compile("\ufffd"),
    "lone_surrogate": SURROGATE,
    "invisible_characters": INVISIBLE,
}
# To see that a text has none of these, or no two characters that mojibake begins with, is much faster.
_ODD = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff\ufffd]")
_MOJIBAKE_HINT = re.compile(f"[\u00c2-\u00f4][{_HIGH}]")
ENTITY = re.compile(r"&(?:amp|quot|apos|nbsp|lt|gt|#39|#x27|#\d{2,5}|#x[0-9a-fA-F]{2,5});")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|```|\bhtml\b|\bxml\b|\bentit(?:y|ies)\b|\bescap", re.IGNORECASE)
_BYTES = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)} | {
    chr(byte): byte for byte in range(0x80, 0x100)
}
# Code, paths, formulas and quoted escapes mean their backslashes.
_BACKSLASHES = re.compile(r"`|[A-Za-z]:\\|\\(?:nu|nabla|neq|not|[a-mo-zA-Z])|[\"'(\[]\\n")


def repaired(match: re.Match[str]) -> str:
    """The character that a piece of mojibake was, or the piece itself where its bytes are no UTF-8."""
    try:
        return bytes(_BYTES[char] for char in match[0]).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return match[0]


def mojibake_in(text: str) -> list[re.Match[str]]:
    """The pieces of a text that are UTF-8 read as Windows-1252 or Latin-1, where they cannot be meant."""
    return [match for match in MOJIBAKE.finditer(text) if _is_mojibake(match, text)]


def _is_mojibake(match: re.Match[str], text: str) -> bool:
    piece = match[0]
    if repaired(match) == piece:
        return False
    if any("\x80" <= char <= "\x9f" for char in piece) or piece.startswith("\u00e2\u20ac"):
        return True  # no text has a C1 control on purpose, or this beginning of every quote and dash
    if len(piece) > 2:
        return not all(char in _PUNCTUATION for char in piece[1:])
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if piece[1] in _PUNCTUATION:
        # A letter before a closing quote or a dash is meant, as far as capitals and small letters fit.
        return ((before.isalpha() and not before.isupper()) or after.isalpha()) and piece[0] != "\u00df"
    return after.isalpha() or not before.isupper()


def mended_mojibake(text: str) -> str:
    """The text with its pieces of mojibake turned back into what they were, also where that happened several times."""
    mended = _mended_once(text)
    while mended != text:
        text, mended = mended, _mended_once(mended)
    return mended


def _mended_once(text: str) -> str:
    return MOJIBAKE.sub(lambda match: repaired(match) if _is_mojibake(match, text) else match[0], text)


def outside_markup(text: str) -> bool:
    """Whether a text holds no tags and no code and speaks of neither, so that entities in it are a mistake."""
    return not _MARKUP.search(text)


def needs_line_breaks(text: str) -> bool:
    """Whether the text's line breaks are written as backslash and n."""
    return text.count("\\n") >= 2 and "\n" not in text and not _BACKSLASHES.search(text)


class Encoding:
    """Wrong encodings, control and invisible characters, entities and escapes."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally() for kind in ENCODING}
        self._characters: Counter[str] = Counter()

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        whole = view.whole
        if CONTROLS.search(whole):
            self._each(number, pair, view, "control_characters", CONTROLS)
        if not whole.isascii():
            self._beyond_ascii(number, pair, view)
        if "&" in whole and ENTITY.search(whole):
            for side, text in view.texts():
                match = ENTITY.search(text)
                if match and outside_markup(text):
                    self._add("html_entities", number, pair, side, text, match)
        if "\\n" in whole:
            for side, text in view.texts():
                if needs_line_breaks(text):
                    detail = f"{side} reads {shown(text, 100)}"
                    self._tallies["escaped_newlines"].add(number, pair, detail)

    def _beyond_ascii(self, number: int, pair: Pair, view: View) -> None:
        whole = view.whole
        if _ODD.search(whole):
            for kind, pattern in _ODD_KINDS.items():
                self._each(number, pair, view, kind, pattern)
            for match in INVISIBLE.finditer(whole):
                self._characters[f"U+{ord(match[0]):04X}"] += 1
        if _MOJIBAKE_HINT.search(whole):
            for side, text in view.texts():
                pieces = mojibake_in(text)
                if pieces:
                    detail = (
                        f"{side} reads {around(text, *pieces[0].span())}, meant is {repaired(pieces[0])!r}"
                    )
                    self._tallies["mojibake"].add(number, pair, detail)

    def _each(self, number: int, pair: Pair, view: View, kind: str, pattern: re.Pattern[str]) -> None:
        for side, text in view.texts():
            match = pattern.search(text)
            if match:
                self._add(kind, number, pair, side, text, match)

    def _add(self, kind: str, number: int, pair: Pair, side: str, text: str, match: re.Match[str]) -> None:
        detail = f"{side} has {match[0]!a} in {around(text, *match.span())}"
        self._tallies[kind].add(number, pair, detail)

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        figures = {"invisible_characters": {"characters": dict(self._characters.most_common())}}
        return [
            finding
            for kind, tally in self._tallies.items()
            for finding in found(kind, tally, of, figures=figures.get(kind))
        ]
