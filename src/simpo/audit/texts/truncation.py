"""Completions that look cut off, by how they end, and which side they are on."""

from __future__ import annotations

import re

from simpo.audit.findings import Finding
from simpo.audit.kinds import found
from simpo.audit.tally import Sides, Tally
from simpo.audit.texts.view import View
from simpo.data.reasons import shown
from simpo.records import Pair

MAX_CUT_CHOSEN = 0.05  # of the chosen: more of it teaches the model not to end
MIN_PROSE = 200  # characters: shorter answers end without a full stop as often as with one
MIN_LAST_LINE = 25  # a shorter last line is a name, a greeting, a heading

_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
# The last line of a list, a table, a heading, code, a formula, a link, a signature, of hashtags.
_NOT_PROSE = re.compile(
    r"^\s*(?:[-*\u2022\u00b7>#|+$\\@{}<\[(]|\d{1,3}[.):]|[a-zA-Z][.)]\s|\(?[ivx]+[.)]|http|[A-Za-z ]{1,30}:|\t| {4})"
    r"|https?://\S+$|[=;{}<>|]|\w\(|#\w+$"
)
_OPEN_END = re.compile(
    r"(?:[,\-\u2013\u2014(\[{\u201c]|\b(?:and|or|but|the|a|an|of|to|in|for|with|that|which|is|are|was|as|by|from|on|at|"
    r"your|their|its|this|these|und|oder|der|die|das|et|ou|le|la|les|de|des|y|o|el|los|las))$",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"(?:[,\-\u2013\u2014(\[{\u201c]|\b(?:and|or|but|the|a|an|of|to|in|for|with|that|which|is|are|was|as|by|from|on|at|"
    r"your|their|its|this|these|und|oder|der|die|das|et|ou|le|la|les|de|des|y|o|el|los|las))$",
    re.IGNORECASE,
)


def looks_cut(text: str) -> str | None:
    """Why a completion looks cut off, or None: what its last characters say."""
    stripped = text.rstrip()
    if "```" in stripped or "~~~" in stripped:
        if len(_FENCE.findall(stripped)) % 2:
            return "an open code fence"
        if stripped.endswith(("```", "~~~")):
            return None
    if len(stripped) < MIN_PROSE or not (stripped[-1].isalpha() or stripped[-1] in ",-\u2013\u2014([{\u201c"):
        return None
    line = stripped[stripped.rfind("\n") + 1 :]
    if len(line) < MIN_LAST_LINE or _NOT_PROSE.search(line):
        return None
    if _OPEN_END.search(stripped[-20:]):
        return "ends in the middle of a sentence"
    if stripped[-1].islower() and _is_prose(stripped, line):
        return "ends without a full stop"
    return None


def _is_prose(text: str, line: str) -> bool:
    """Whether the lines before end in full stops, so that one that does not is odd: poems and lists have none."""
    before = [part.rstrip() for part in text[: len(text) - len(line)].split("\n") if part.strip()]
    inside = re.findall(r"[.!?][\"')\u201d]?\s+[A-Z\u00c0-\u00de]", line)
    ending = sum(part[-1] in ".!?:\"'\u201d)" for part in before)
    return bool(inside) if not before else ending >= 0.8 * len(before) and (len(before) > 1 or bool(inside))


class Truncation:
    """Completions that look cut off, and how the two sides compare."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._sides = Sides()

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        reasons = {
            side: looks_cut(text) for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected))
        }
        self._sides.see(reasons["chosen"] is not None, reasons["rejected"] is not None)
        for side, reason in reasons.items():
            if reason is not None:
                text = pair.chosen if side == "chosen" else pair.rejected
                self._tally.add(number, pair, f"{side} {reason}: {shown('...' + text.rstrip()[-60:], 90)}")

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        spoils = self._sides.wins() or self._sides.chosen >= MAX_CUT_CHOSEN * of
        return found("truncated", self._tally, of, sides=self._sides, severity="warning" if spoils else None)
