"""What can be seen of a reply without understanding it: marks of style, words of the prompt, hashed pairs of words.

Cheap on purpose. A model of these figures is what a label has to beat to have said more than "longer" or "has a list".
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from simpo.records import Message

MAX_CHARS = 20_000  # of each text: what comes after does not change the picture
NUM_BUCKETS = 1 << 18  # of hashed words and word pairs

Floats32 = npt.NDArray[np.float32]
Buckets = npt.NDArray[np.int32]

# Marks of style: name, what it counts.
MARKS: tuple[tuple[str, str], ...] = (
    ("list_items", "lines that begin with a bullet or a number"),
    ("bold", "pieces in **bold**"),
    ("headings", "lines that begin with # signs"),
    ("code_blocks", "``` fences"),
    ("paragraphs", "blank lines between paragraphs"),
    ("greeting", "a greeting at the beginning"),
    ("courtesy", "please, thanks, sorry, glad, happy to ..."),
    ("refusal", "I cannot, unable to, as an AI ..."),
    ("exclamations", "exclamation marks"),
    ("emoji", "emoji"),
    ("question_at_end", "a question as the last sentence"),
)
# What ties a reply to its prompt, and how it is written; only for the model of all features.
TEXTURE: tuple[str, ...] = (
    "length",
    "words_of_prompt_used",
    "words_from_prompt",
    "new_words",
    "numbers_of_prompt",
    "new_numbers",
    "names_of_prompt",
    "new_names",
    "distinct_words",
    "repeated_word_pairs",
    "word_length",
    "questions",
    "commas",
    "clean_end",
    "other_alphabets",
)

_LIST = re.compile(r"^[ \t]*(?:[-*\u2022\u2013]|\d{1,3}[.)])[ \t]", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_GREETING = re.compile(
    r"\W*(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day)|thanks? (?:you )?for)\b",
    re.IGNORECASE,
)
_COURTESY = re.compile(
    r"\b(?:please|thank|thanks|sorry|apologi[sz]e|apologies|appreciate|glad|happy to|welcome)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:I (?:cannot|can['\u2019]t|am unable|am not able|do not have)|I['\u2019]m not able|unable to|as an AI)\b",
    re.IGNORECASE,
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_NUMBER = re.compile(r"\d(?:[\d.,:/-]*\d)?")
_NAME = re.compile(r"\b[A-Z][a-z]+\b")
# A letter of a script without blanks between words is a word.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|\w+|[^\w\s]")
_WORD = re.compile(r"\w+")
_ENDS = ".!?)]\"'`}:\u3002\uff01\uff1f"
_COMMON_TEXT = (
    "the a an of to and in is it you i for that this on with be are was as at or not your my we have has will can do "
    "if by from"
)
_COMMON = frozenset(_COMMON_TEXT.split())


@dataclass(frozen=True, slots=True)
class PromptWords:
    """What of a prompt its replies are compared with."""

    text: str
    words: frozenset[str]
    numbers: frozenset[str]

    @classmethod
    def of(cls, prompt: Sequence[Message]) -> PromptWords:
        """The words and numbers of all turns."""
        text = "\n".join(turn.content for turn in prompt)[-MAX_CHARS:]
        words = frozenset(_WORD.findall(text.lower())) - _COMMON
        return cls(text, words, frozenset(_NUMBER.findall(text)))


def marks(text: str) -> list[float]:
    """How much of each of `MARKS` a reply has: counts, and 0 or 1 for those that are there or not."""
    text = text[:MAX_CHARS]
    end = text.rstrip()
    return [
        len(_LIST.findall(text)),
        text.count("**") // 2,
        len(_HEADING.findall(text)) if "#" in text else 0,
        text.count("```") // 2,
        text.count("\n\n"),
        float(_GREETING.match(text) is not None),
        len(_COURTESY.findall(text)),
        len(_REFUSAL.findall(text)),
        text.count("!"),
        0 if text.isascii() else len(_EMOJI.findall(text)),
        float(end.endswith(("?", "\uff1f"))),
    ]


def texture(text: str, prompt: PromptWords) -> list[float]:
    """The figures of `TEXTURE`, counts by their logarithm."""
    length = math.log(len(text) + 1)
    text = text[:MAX_CHARS]
    words = _WORD.findall(text.lower())
    count = max(1, len(words))
    content = frozenset(words) - _COMMON
    shared = len(content & prompt.words)
    numbers, names = frozenset(_NUMBER.findall(text)), frozenset(_NAME.findall(text))
    known = sum(name in prompt.text for name in names)
    return [
        length,
        shared / max(1, len(prompt.words)),
        shared / max(1, len(content)),
        math.log1p(len(content) - shared),
        math.log1p(len(numbers & prompt.numbers)),
        math.log1p(len(numbers - prompt.numbers)),
        math.log1p(known),
        math.log1p(len(names) - known),
        len(frozenset(words)) / count,
        1 - len(frozenset(pairwise(words))) / max(1, len(words) - 1) if len(words) > 1 else 0.0,
        sum(map(len, words)) / count,
        math.log1p(text.count("?")),
        text.count(",") / count,
        float(text.rstrip()[-1:] in _ENDS),
        0.0 if text.isascii() else 1 - len(text.encode("ascii", "ignore")) / len(text),
    ]


class Hasher:
    """Words and pairs of neighbouring words as numbers below `NUM_BUCKETS`: the same on any machine."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}

    def difference(self, chosen: str, rejected: str) -> tuple[Buckets, Floats32]:
        """log(1 + count) in chosen less that in rejected, of each bucket where they differ, scaled to length 1."""
        first, second = self._buckets(chosen), self._buckets(rejected)
        buckets, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        counts = [
            np.bincount(part, minlength=len(buckets)) for part in (places[: len(first)], places[len(first) :])
        ]
        values = np.log1p(counts[0]) - np.log1p(counts[1])
        differing = np.flatnonzero(values)
        norm = float(np.sqrt((values**2).sum())) or 1.0
        return buckets[differing].astype(np.int32), (values[differing] / norm).astype(np.float32)

    def _buckets(self, text: str) -> npt.NDArray[np.uint32]:
        known = self._words
        if len(known) > 1_000_000:
            known.clear()
        tokens = _TOKEN.findall(text[:MAX_CHARS].lower())
        for token in tokens:
            if token not in known:
                known[token] = zlib.crc32(token.encode("utf-8", "surrogatepass"))
        words = np.array([known[token] for token in tokens], dtype=np.uint32)
        # Any fixed odd factor: "a b" and "b a" become different numbers.
        pairs = words[:-1] * np.uint32(0x9E3779B1) ^ words[1:]
        return np.concatenate([words, pairs]) % np.uint32(NUM_BUCKETS)
