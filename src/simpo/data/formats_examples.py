"""Formats of SFT examples: a prompt and the reply to imitate, or a conversation with several."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simpo.data.reasons import BadRow
from simpo.data.shapes import Format, Found, RawRow, are, empty, example
from simpo.data.turns import (
    Turns,
    column,
    history,
    instruction,
    messages,
    prompt_turns,
    reply,
    said,
    sharegpt,
    text,
    with_system,
)
from simpo.records import Message


def _conversation(row: RawRow, key: str, read: Callable[[object, str], Turns]) -> Iterator[Found]:
    """Each assistant turn after a prompt of all the turns before it; one that calls tools is only a part of prompts."""
    turns = read(column(row, key), key)
    before = len(turns)
    if key == "conversations":
        turns = with_system(row, turns)
    if not any(turn.role == "assistant" for turn in turns):
        raise BadRow("no_reply", f'"{key}" holds no assistant turn')
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            where = f"{key}[{index - len(turns) + before}]"
            try:
                yield example(turns[:index], said(turn, where), where)
            except BadRow as bad:
                yield bad


def _prompt_completion(row: RawRow) -> list[Found]:
    prompt = prompt_turns(column(row, "prompt"))
    return [example(prompt, reply(column(row, "completion"), "completion", prompt))]


def _instruction(row: RawRow, completion: str, beside: str) -> list[Found]:
    prompt = (*history(row), Message("user", instruction(row, beside)))
    return [example(with_system(row, prompt), text(row, completion), f'"{completion}"')]


def is_rating(row: RawRow) -> bool:
    """Whether the row rates one reply (KTO): one that was rated bad is none to imitate."""
    label = row.get("label", row.get("kto_tag"))
    return isinstance(label, int) or (isinstance(label, str) and label.lower() in ("true", "false"))


EXAMPLE_FORMATS: tuple[Format, ...] = (
    Format(
        "messages",
        "messages (a conversation)",
        frozenset({"messages"}),
        # With chosen and rejected beside them, and no prompt, the messages are the prompt of a pair.
        lambda row: (
            are(row, list, "messages")
            and not is_rating(row)
            and (empty(row, "chosen", "rejected") or not empty(row, "prompt"))
        ),
        lambda row: _conversation(row, "messages", messages),
        also=("openai",),
    ),
    Format(
        "prompt_completion",
        "prompt, completion (text or lists of messages)",
        frozenset({"prompt", "completion"}),
        lambda row: are(row, (str, list), "prompt", "completion") and not is_rating(row),
        _prompt_completion,
    ),
    Format(
        "sharegpt",
        "conversations (from, value), also system",
        frozenset({"conversations", "system"}),
        lambda row: (
            are(row, list, "conversations") and not is_rating(row) and empty(row, "chosen", "rejected")
        ),
        lambda row: _conversation(row, "conversations", sharegpt),
    ),
    Format(
        "alpaca",
        "instruction, output (text), also input, system, history",
        frozenset({"instruction", "input", "output", "system", "history"}),
        lambda row: are(row, str, "instruction", "output") and not is_rating(row),
        lambda row: _instruction(row, "output", "input"),
    ),
    Format(
        "instruction_response",
        "instruction, response (text), also context",
        frozenset({"instruction", "context", "response", "system", "history"}),
        lambda row: are(row, str, "instruction", "response"),
        lambda row: _instruction(row, "response", "context"),
        also=("bitext", "dolly"),
    ),
)
