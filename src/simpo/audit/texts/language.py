"""Which language a text is in, where that is clear: by its script, and by stop words where scripts are shared."""

from __future__ import annotations

import re
from collections import Counter

from simpo.audit.findings import Finding, Witness
from simpo.audit.kinds import KINDS, found, percent
from simpo.audit.tally import Sides, Tally, witness
from simpo.audit.texts.stop_words import SCRIPT_LANGUAGES, SCRIPTS, SPEAKS_OF_LANGUAGES, STOP_WORDS
from simpo.audit.texts.view import View
from simpo.data.reasons import shown
from simpo.records import Pair

HEAD = 1500  # characters that are looked at
MIN_LETTERS, MIN_SHARE = 8, 0.6  # of a script, among all letters
MIN_STOP_WORDS, MIN_WORDS, MIN_DENSITY, MIN_LEAD = (
    4,
    3,
    0.1,
    1.5,
)  # hits, distinct ones, of all words, over the next

_SCRIPT = re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in SCRIPTS.items()))
_BEYOND_LATIN = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u2c00-\ud7ff\uf900-\ufdff\U00010000-\U0010ffff]+")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_SPEAKS_OF_LANGUAGES = re.compile(SPEAKS_OF_LANGUAGES, re.IGNORECASE)
# Any three of these say English, without counting words.
_PLAINLY_ENGLISH = (" the ", " and ", " of ", " is ", " to ", " you ", " that ", " are ", " with ", " your ")

_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _language, _words in STOP_WORDS.items():
    for _word in _words:
        _LANGUAGES_OF[_word] = (*_LANGUAGES_OF.get(_word, ()), _language)


def language_of(text: str) -> str | None:
    """The language (or script) of a text, or None where it is too short or mixed to be sure."""
    head = text[:HEAD]
    others = 0 if head.isascii() else sum(map(len, _BEYOND_LATIN.findall(head)))
    if others < 0.1 * len(head) and _plainly_english(head):
        return "English"
    if not others:
        return _by_stop_words(head)
    scripts: Counter[str] = Counter()
    for match in _SCRIPT.finditer(head):
        scripts[str(match.lastgroup)] += len(match[0])  # each way to match has a name
    others, letters = scripts.total(), sum(map(str.isalpha, head))
    if others <= (1 - MIN_SHARE) * letters:
        return _by_stop_words(head)
    return _by_script(scripts, head) if others >= max(MIN_LETTERS, MIN_SHARE * letters) else None


def _plainly_english(text: str) -> bool:
    hits = 0
    for word in _PLAINLY_ENGLISH:
        if word in text:
            hits += 1
            if hits == 3:
                return True
    return False


def _by_script(scripts: Counter[str], text: str) -> str | None:
    script, most = scripts.most_common(1)[0]
    if script in ("Kana", "Han") and scripts["Kana"] >= 0.1 * (scripts["Kana"] + scripts["Han"]):
        return "Japanese"
    if most < MIN_SHARE * scripts.total():
        return None
    return (_by_stop_words(text) or "Cyrillic script") if script == "Cyrillic" else SCRIPT_LANGUAGES[script]


def _by_stop_words(text: str) -> str | None:
    """The language whose frequent words the text has; a word of n languages counts 1/n for each."""
    hits: Counter[str] = Counter()
    scores: dict[str, float] = {}
    different: dict[str, set[str]] = {}
    words = _WORD.findall(text)
    for word in words:
        languages = _LANGUAGES_OF.get(word.lower(), ())
        for language in languages:
            hits[language] += 1
            scores[language] = scores.get(language, 0.0) + 1 / len(languages)
            different.setdefault(language, set()).add(word.lower())
    if not scores:
        return None
    best, *rest = sorted(scores, key=lambda language: -scores[language])
    if hits[best] < max(MIN_STOP_WORDS, MIN_DENSITY * len(words)) or len(different[best]) < MIN_WORDS:
        return None
    return None if rest and scores[best] < MIN_LEAD * scores[rest[0]] else best


def asks_in(pair: Pair) -> str:
    """The text whose language the answer should be in: the last turn of the user, or the last turn of all."""
    return next(
        (turn.content for turn in reversed(pair.prompt) if turn.role == "user"), pair.prompt[-1].content
    )


class Language:
    """The languages of prompts, and completions that answer in another one."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._sides = Sides()
        self._pairs: Counter[str] = Counter()
        self._prompts: Counter[str] = Counter()
        self._first: dict[str, Witness] = {}

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        text = asks_in(pair)
        asked = language_of(text)
        if asked is None:
            self._sides.see(False, False)
            return
        self._prompts[asked] += 1
        if asked not in self._first:
            self._first[asked] = witness(pair, f"the prompt is {asked}: {shown(text, 80)}")
        chosen, rejected = (_other(asked, completion, view) for completion in pair.completions)
        self._sides.see(chosen is not None, rejected is not None)
        if chosen is not None:
            self._pairs[f"{asked} to {chosen}"] += 1
            detail = f"the prompt is {asked}, chosen is {chosen}: {shown(pair.chosen, 60)}"
            self._tally.add(number, pair, detail)

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        from_to = {"from_to": dict(self._pairs.most_common(20))}
        listed = found("language_mismatch", self._tally, of, sides=self._sides, figures=from_to)
        return [*listed, self._mixed()] if len(self._prompts) > 1 else listed

    def _mixed(self) -> Finding:
        (main, most), *others = self._prompts.most_common()
        count = sum(number for _, number in others)
        clear = most + count
        about = KINDS["mixed_languages"]
        parts = ", ".join(f"{language} {number:,}" for language, number in others[:5])
        return Finding(
            "mixed_languages",
            about.severity,
            f"Of {clear:,} prompts whose language is clear {percent(most / clear)} are {main}; others: {parts}.",
            about.action,
            count,
            clear,
            "prompts",
            tuple(self._first[language] for language, _ in others[:5]),
            figures={"languages": dict(self._prompts.most_common())},
        )


def _other(asked: str, completion: str, view: View) -> str | None:
    """The language of a completion where it is clear, another one than that of the prompt, and not asked for."""
    answered = language_of(completion)
    if answered is None or answered == asked or _SPEAKS_OF_LANGUAGES.search(view.prompt):
        return None
    return answered
