"""What mending a pair means, for each kind of finding whose repair is "mend"."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from simpo.audit.texts.encoding import CONTROLS, INVISIBLE, mended_mojibake, needs_line_breaks, outside_markup
from simpo.audit.texts.privacy import STAND_IN_ADDRESS, STAND_IN_PHONE, addresses, phones
from simpo.audit.texts.templates import without_control_tokens
from simpo.records import Pair


def _entities(text: str) -> str:
    return html.unescape(text) if outside_markup(text) else text


def _line_breaks(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t") if needs_line_breaks(text) else text


def _addresses(text: str) -> str:
    return _replaced(text, addresses(text), STAND_IN_ADDRESS)


def _phones(text: str) -> str:
    return _replaced(text, phones(text), STAND_IN_PHONE)


def _replaced(text: str, matches: Iterator[re.Match[str]], by: str) -> str:
    pieces, end = [], 0
    for match in matches:
        pieces += [text[end : match.start()], by]
        end = match.end()
    return "".join([*pieces, text[end:]])


MENDS: Mapping[str, Callable[[str], str]] = {
    "control_tokens": without_control_tokens,
    "mojibake": mended_mojibake,
    "control_characters": lambda text: CONTROLS.sub("", text),
    "invisible_characters": lambda text: INVISIBLE.sub("", text),
    "html_entities": _entities,
    "escaped_newlines": _line_breaks,
    "email_address": _addresses,
    "phone_number": _phones,
}


def mend(kind: str, pair: Pair) -> Pair:
    """The pair with the texts of its turns and its completions mended.

    Raises KeyError for a kind that is not mended, and ValueError where what is left is no pair: a side without text,
    both sides the same, or control tokens in the middle of a text, which no rule can take apart.
    """
    mended = MENDS[kind]
    prompt = tuple(replace(turn, content=mended(turn.content)) for turn in pair.prompt)
    chosen, rejected = mended(pair.chosen), mended(pair.rejected)
    if not chosen.strip() or not rejected.strip():
        raise ValueError(f"{pair.source}: nothing is left of a completion")
    if not prompt[-1].content.strip() and prompt[-1].role != "tool":
        raise ValueError(f"{pair.source}: nothing is left of the prompt")
    return replace(pair, prompt=prompt, chosen=chosen, rejected=rejected)
