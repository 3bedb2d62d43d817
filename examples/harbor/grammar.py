"""A template language of three marks, enough to vary a sentence and to leave facts out of it.

<a|b>           one of the alternatives, picked by the generator
[order: text]   kept only where the fact `order` is wanted
{order}         the value of the slot `order`
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

_ALTERNATIVES = re.compile(r"<([^<>]*\|[^<>]*)>")
_OPTIONAL = re.compile(r"\[(\w+):([^\[\]]*)\]")
_MARKED = re.compile(r"[<\[{]")
_SLOT = re.compile(r"\{(\w+)\}")
_SPACE_BEFORE_STOP = re.compile(r" +([.,;:?!])")
_SPACES = re.compile(r"[ \t]+")
_WRONG_ARTICLE = re.compile(r"\b([Aa]) (?=[aeio])")
_SENTENCE_START = re.compile(r"(^|[.!?]\s+)([a-z])")


def render(template: str, slots: Mapping[str, str], rng: random.Random, facts: Collection[str]) -> str:
    """One text of a template, with only the optional parts whose fact is in `facts`."""
    if not _MARKED.search(template):
        return template
    text = _ALTERNATIVES.sub(lambda m: rng.choice(m[1].split("|")), template)
    text = _OPTIONAL.sub(lambda m: m[2] if m[1] in facts else "", text)
    return tidy(_SLOT.sub(lambda m: slots[m[1]], text))


def tidy(text: str) -> str:
    """Single spaces, none before a stop, `an` before a vowel, and a capital at each sentence start."""
    text = _WRONG_ARTICLE.sub(r"\1n ", text)
    text = _SPACE_BEFORE_STOP.sub(r"\1", _SPACES.sub(" ", text)).strip()
    return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)


def optional_facts(template: str) -> frozenset[str]:
    """Names of the facts a template can state or leave out."""
    return frozenset(m[1] for m in _OPTIONAL.finditer(template))


def pick(common: Sequence[T], reserved: Sequence[T], rng: random.Random, held_out: bool) -> T:
    """One entry: training sees `common` alone, held-out text draws half of its entries from `reserved`."""
    if held_out and reserved and rng.random() < 0.5:
        return rng.choice(reserved)
    return rng.choice(common)
