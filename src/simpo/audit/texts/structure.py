"""What is wrong with a pair as a whole: sides that only seem to differ, blank completions, turns out of order."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from simpo.audit.findings import Finding
from simpo.audit.kinds import STRUCTURE, found
from simpo.audit.tally import Tally
from simpo.audit.texts.view import View
from simpo.data.reasons import shown
from simpo.records import Message, Pair

STAND_INS = frozenset(
    """
    null none nan n/a undefined nooutput #n/a #value! [deleted] [removed] [empty] [none] [null] <null> <none>
    (null) (none) <nooutput> <noinput>
    """.split()  # noqa: SIM905
) | {"no response", "[no response]", "no output", "[object object]"}
MAX_STAND_IN = max(len(word) for word in STAND_INS) + 2
MIN_ECHO = 40  # characters; a shorter prompt is often the honest beginning of its answer

_INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\x00-\x08\x0e-\x1b\x7f]"
)


def normalised(text: str) -> str:
    """The text in NFKC, case folded, without invisible characters, each run of white space one blank."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(text.casefold().split())


def difference(one: str, other: str) -> str | None:
    """In what two texts that are the same after `normalised` differ, or None where they are not the same."""
    if normalised(one) != normalised(other):
        return None
    if one.split() == other.split():
        return "white space"
    return (
        "case"
        if " ".join(one.casefold().split()) == " ".join(other.casefold().split())
        else "characters' form"
    )


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen."""
    return all(
        char.isspace() or unicodedata.category(char) in ("Cc", "Cf", "Cn", "Co", "Cs") for char in text
    )


@lru_cache(maxsize=4096)
def role_problems(roles: tuple[str, ...]) -> tuple[str, ...]:
    """What is wrong with the order of a prompt's roles."""
    problems = []
    turns = list(roles)
    while turns and turns[0] == "system":
        turns.pop(0)
    if turns and turns[0] == "assistant":
        problems.append("begins with the assistant")
    for before, after in zip([None, *turns], turns, strict=False):
        if after == "system":
            problems.append("system turn after the beginning")
        elif after == before and after in ("user", "assistant"):
            problems.append(f"two turns of the {after} in a row")
        elif after == "tool" and before in ("user", None):
            problems.append("tool result after no assistant turn")
    return tuple(dict.fromkeys(problems))


class Structure:
    """Sides that only seem to differ, completions without text, and prompts whose turns are out of order."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally() for kind in STRUCTURE}
        self._differences: Counter[str] = Counter()
        self._orders: Counter[str] = Counter()

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        self._completions(number, pair)
        self._turns(number, pair)
        last = view.last
        if len(last) >= MIN_ECHO:
            head = last[:MIN_ECHO]
            for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                if head in text[: MIN_ECHO + 8] and _echoes(text, last):
                    detail = f"{side} begins with the prompt: {shown(text, 60)}"
                    self._tallies["echoed_prompt"].add(number, pair, detail)

    def _completions(self, number: int, pair: Pair) -> None:
        chosen, rejected = pair.chosen, pair.rejected
        for side, text in (("chosen", chosen), ("rejected", rejected)):
            if len(text) <= MAX_STAND_IN or not text.isascii():
                if text.strip(" \t\r\n.'\"").casefold() in STAND_INS and not _mentioned(text, pair.prompt):
                    self._tallies["stand_in_completion"].add(number, pair, f"{side} is {shown(text)}")
                elif (len(text) < 100 or not text[:50].isascii()) and is_blank(text):
                    self._tallies["blank_completion"].add(number, pair, f"{side} is {shown(text)}")
        if _may_be_same(chosen, rejected):
            differs = difference(chosen, rejected)
            if differs is not None:
                self._differences[differs] += 1
                detail = f"they differ in {differs} alone: {shown(chosen, 50)} and {shown(rejected, 50)}"
                self._tallies["same_after_normalising"].add(number, pair, detail)

    def _turns(self, number: int, pair: Pair) -> None:
        prompt = pair.prompt
        last = prompt[-1].role
        if len(prompt) == 1 and last == "user":
            return
        if last in ("tool", "system"):
            self._tallies[f"prompt_ends_in_{last}"].add(
                number, pair, f"the last turn: {shown(prompt[-1].content)}"
            )
        roles = tuple(turn.role for turn in prompt)
        problems = role_problems(roles)
        if problems:
            self._orders.update(problems)
            self._tallies["role_order"].add(number, pair, f"{'; '.join(problems)}: {', '.join(roles[:12])}")
        for index, turn in enumerate(prompt[:-1]):
            if not turn.content.strip() and turn.role in ("user", "assistant") and not turn.extra:
                self._tallies["blank_turn"].add(number, pair, f"turn {index + 1} ({turn.role}) is blank")

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        figures = {
            "same_after_normalising": {"differ_in": dict(self._differences.most_common())},
            "role_order": {"problems": dict(self._orders.most_common())},
        }
        return [
            finding
            for kind, tally in self._tallies.items()
            for finding in found(kind, tally, of, figures=figures.get(kind))
        ]


def _may_be_same(one: str, other: str) -> bool:
    """Whether two texts can be the same after `normalised`: cheap, and true too often rather than too rarely."""
    if one.isascii() and other.isascii():
        left, right = one.lstrip(), other.lstrip()
        return (
            left[:1].lower() == right[:1].lower()
            and left.rstrip()[-1:].lower() == right.rstrip()[-1:].lower()
        )
    left, right = normalised(one[:64]), normalised(other[:64])
    return min(len(left), len(right)) < 24 or left[:16] == right[:16]


def _echoes(text: str, prompt: str) -> bool:
    whole = text.lstrip()
    return whole.startswith(prompt) and len(whole) > len(prompt)


def _mentioned(text: str, prompt: tuple[Message, ...]) -> bool:
    word = text.strip(" \t\r\n.'\"").casefold()
    return any(word in turn.content.casefold() for turn in prompt)
