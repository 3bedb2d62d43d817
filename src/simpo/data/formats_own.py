"""The format in which a dataset version holds its pairs, and one row of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from simpo.data.reasons import BadRow, kind_of, shown
from simpo.data.shapes import Format, Found, Parts, RawRow, are, pair
from simpo.data.turns import column, messages, one_reply, text
from simpo.records import Message, Pair

COLUMNS = ("id", "prompt", "chosen", "rejected", "category", "source", "group", "extra", "tools")
TURN_COLUMNS = ("role", "content", "tool_calls", "name", "tool_call_id")


def version_row(pair: Pair, *, source: str, group: str, extra: str, with_tools: bool) -> dict[str, Any]:
    """A pair as a version holds it: TRL's conversational form, with where it came from and its group of prompts.

    extra: the row's other columns as one JSON object in text, so that files of any columns stand in one table. Tools
    and calls of them are JSON text for the same reason; with_tools says whether any pair of the version has some, for
    all rows of a version have the same columns.
    """
    row = {
        "id": pair.id,
        "prompt": [_turn(turn, with_tools) for turn in pair.prompt],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "category": pair.category,
        "source": source,
        "group": group,
        "extra": extra,
    }
    return {**row, "tools": json.dumps(list(pair.tools)) if pair.tools else None} if with_tools else row


def has_tools(pair: Pair) -> bool:
    """Whether a prompt shows tools, calls of them or what they answered."""
    return bool(pair.tools) or any(turn.extra for turn in pair.prompt)


def _turn(turn: Message, with_tools: bool) -> dict[str, Any]:
    if not with_tools:
        return {"role": turn.role, "content": turn.content}
    calls = turn.extra.get("tool_calls")
    values = {**turn.as_dict(), "tool_calls": json.dumps(calls) if calls else None}
    return {key: values.get(key) for key in TURN_COLUMNS}


def row_digest(row: Mapping[str, Any]) -> str:
    """A hash of a whole row, all columns included, the same for every kind of file: 16 hexadecimal digits."""
    whole = json.dumps(row, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _read(row: RawRow) -> list[Found]:
    prompt = messages(column(row, "prompt"), "prompt")
    replies = [one_reply(column(row, key), key) for key in ("chosen", "rejected")]
    said = text(row, "extra")
    try:
        extra = json.loads(said)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise BadRow("wrong_type", f'"extra" is {kind_of(extra)}, not a JSON object in text: {shown(said)}')
    (whole,) = pair(prompt, *replies)
    return [Parts(whole.prompt, whole.completions, extra) if isinstance(whole, Parts) else whole]


VERSION_FORMAT = Format(
    "simpo_version",
    "id, group, source, extra (text), prompt, chosen, rejected (lists of messages)",
    frozenset(COLUMNS),
    lambda row: (
        are(row, str, "id", "group", "source", "extra") and are(row, list, "prompt", "chosen", "rejected")
    ),
    _read,
)

__all__ = ["COLUMNS", "TURN_COLUMNS", "VERSION_FORMAT", "has_tools", "row_digest", "version_row"]
