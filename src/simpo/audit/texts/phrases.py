"""What completions hold that a reader would rather not see, or that a program can check."""

from __future__ import annotations

import re
from collections import Counter

from simpo.audit.findings import Finding
from simpo.audit.kinds import found
from simpo.audit.tally import Sides, Tally, around
from simpo.audit.texts.view import View
from simpo.records import Pair

HEAD = 300  # characters in which a refusal stands

# Apostrophes are made straight before the search.
_CANNOT = r"(?:cannot|can't|can not|could not|couldn't|won't|will not|(?:am|'m) (?:unable|not able) to)"
_DO = (
    r"(?:help|assist|provide|fulfill|fulfil|comply|create|generate|write|give|offer|answer|engage|support|"
    r"participate|condone|promote|share|do that|continue|complete|recommend|browse|access)"
)
_MODEL = r"(?:AI|artificial intelligence|(?:large )?language model)"
REFUSAL = re.compile(
    rf"\bI(?: apologi[sz]e,? but I)? ?{_CANNOT} {_DO}\b|"
    rf"\bI(?:'m| am) (?:very |so )?(?:sorry|afraid),? (?:but )?I ?{_CANNOT}\b|"
    rf"\bI(?:'m| am) (?:just |only )?(?:an? )?{_MODEL}\b|\b[Aa]s an? {_MODEL}\b|"
    r"\bit(?:'s| is) (?:not appropriate|against my|inappropriate)\b"
)
_REFUSAL_HINTS = ("not", "n't", "unable", "n AI", "anguage model", "rtificial", "appropriate", "against my")

# Each with what it cannot do without.
PLACEHOLDERS = {
    "{{": re.compile(r"\{\{ ?[A-Za-z][\w .'-]{0,40} ?\}\}"),
    "[": re.compile(
        r"\[(?<![\w\]].)(?:(?i:your|insert|enter|add)[ _][^\[\]\n]{1,50}|"
        r"(?:Recipient|Sender|Customer|Client|Company|Hiring Manager|Name|Date|Address|Phone|Email|City|State|Title|"
        r"Product|Employer|Candidate|Contact|NAME|DATE|ADDRESS|COMPANY)(?:['\u2019]s|s)?(?: [^\[\]\n]{1,40})?)\](?!\()"
    ),
    "<": re.compile(r"<(?:YOUR|INSERT|ENTER)[_ -][A-Z_ -]{2,30}>"),
    "orem ipsum": re.compile(r"\b[Ll]orem ipsum\b"),
}
_CODE = re.compile(r"```[\s\S]*?(?:```|\Z)|`[^`\n]*`|\{%|\\begin\{|<template|v-for|ng-")

_ANSWER_COLUMNS = frozenset(
    (
        "answer",
        "gold",
        "gold_answer",
        "solution",
        "ground_truth",
        "target",
        "tests",
        "test_cases",
        "reference_answer",
    )
)
_MARKED_ANSWER = re.compile(r"\\boxed\{|(?:^|\n)#### ?-?[\d$]")


def refuses(text: str) -> re.Match[str] | None:
    """The phrase by which a completion refuses or speaks of itself as a model, in its first 300 characters."""
    head = text[:HEAD].replace("\u2019", "'")
    if not any(hint in head for hint in _REFUSAL_HINTS):
        return None
    return REFUSAL.search(head)


def placeholder(text: str) -> re.Match[str] | None:
    """A placeholder of a completion that stands outside of code."""
    for needed, pattern in PLACEHOLDERS.items():
        if needed in text:
            match = pattern.search(text)
            if match and _CODE.search(text):
                match = pattern.search(_CODE.sub(" ", text))
            if match:
                return match
    return None


class Phrases:
    """Refusals, placeholders and answers that a program can check, each with the side it stands on."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally() for kind in ("refusals", "placeholders", "verifiable_answers")}
        self._sides = {kind: Sides() for kind in ("refusals", "placeholders")}
        self._columns: Counter[str] = Counter()

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        self._sided("refusals", number, pair, refuses(pair.chosen), refuses(pair.rejected))
        self._sided("placeholders", number, pair, placeholder(pair.chosen), placeholder(pair.rejected))
        columns = _ANSWER_COLUMNS.intersection(pair.extra)
        if any(pair.extra[column] not in (None, "", []) for column in columns):
            self._columns.update(columns)
            self._tallies["verifiable_answers"].add(number, pair, f"the row has {', '.join(sorted(columns))}")
        elif ("\\boxed" in view.whole or "####" in view.whole) and all(
            map(_MARKED_ANSWER.search, pair.completions)
        ):
            self._tallies["verifiable_answers"].add(number, pair, "both completions mark their answer")

    def _sided(
        self, kind: str, number: int, pair: Pair, chosen: re.Match[str] | None, rejected: re.Match[str] | None
    ) -> None:
        self._sides[kind].see(chosen is not None, rejected is not None)
        for side, match in (("chosen", chosen), ("rejected", rejected)):
            if match is not None:
                self._tallies[kind].add(number, pair, f"{side} has {around(match.string, *match.span())}")

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        listed = [
            finding
            for kind, sides in self._sides.items()
            for finding in found(kind, self._tallies[kind], of, sides=sides)
        ]
        columns = {"columns": dict(self._columns)}
        return [
            *listed,
            *found("verifiable_answers", self._tallies["verifiable_answers"], of, figures=columns),
        ]
