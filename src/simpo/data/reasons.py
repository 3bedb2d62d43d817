"""Why a row cannot be used: the words that are counted, and the exception that carries one of them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

REASONS = {
    "bad_json": "the row is not valid JSON",
    "bad_csv": "the row is not valid CSV, or has another number of fields than the header",
    "bad_encoding": "bytes that are not UTF-8, or text that cannot be written so (a lone surrogate such as \\ud800)",
    "duplicate_key": "one JSON object gives the same key twice",
    "not_an_object": "the row is not a JSON object",
    "missing_key": "a column that the format needs is missing or null",
    "wrong_type": "a column holds something else than the format says",
    "wrong_role": "a turn's role is unknown, or the reply is not the assistant's",
    "tool_calls": "the reply calls tools, which text alone cannot hold, or a call or a description of tools is broken",
    "empty_prompt": "there is no prompt, or its last turn is blank",
    "empty_chosen": '"chosen" is empty or blank',
    "empty_rejected": '"rejected" is empty or blank',
    "empty_completion": "the completion is empty or blank",
    "identical": '"chosen" and "rejected" are equal',
    "diverging_prompts": "the two dialogues differ before the last assistant turn",
    "prompt_ends_in_assistant": "the prompt ends in an assistant turn, so there is nothing to answer",
    "no_reply": "there is no assistant turn where the reply should be",
    "many_replies": "the reply is several turns",
    "empty_answer": "one of the answers that are compared is empty or blank",
    "tie": "no answer is better than another",
    "small_margin": "the scores of the answers differ by less than min_margin",
    "unranked": "the row compares fewer than two answers",
    "unlabelled": "no annotator compared the answers",
    "unpaired": "the prompt has only good or only bad ratings, so that no two replies can be compared",
    "rated_both_ways": "the same reply to the same prompt is rated both good and bad",
    "passed_over": "the pairing compares other replies to the same prompt, which stand in other rows",
}
# A whole row that makes no pair: left out and counted, but no reason to stop.
NO_PAIR = frozenset(
    {"tie", "small_margin", "unranked", "unlabelled", "unpaired", "rated_both_ways", "passed_over"}
)

TO_UTF8 = "iconv -f LATIN1 -t UTF-8"


class BadRow(Exception):
    """A row (or one turn of it) that cannot be used: `reason` is a key of `REASONS`, `detail` a sentence.

    extra: what is known of the row all the same, such as the `annotations` of a tie.
    """

    def __init__(self, reason: str, detail: str, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.extra: Mapping[str, Any] = {} if extra is None else extra


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80
_repr.maxdict = _repr.maxlist = 3
_repr.maxlevel = 3


def shown(value: object, width: int = 80) -> str:
    """`repr(value)` in at most `width` characters, for messages; cheap for a value of any size."""
    text = repr(value[: width + 1]) if isinstance(value, str) else _repr.repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def not_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    """Which byte of a line is not UTF-8."""
    return f"not valid UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}"


def kind_of(value: object) -> str:
    """What a JSON value is, in a reader's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
