"""The formats that are read, one table each for pairs and for SFT examples. A new format is a new entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simpo.data.reasons import BadRow
from simpo.data.turns import (
    Turns,
    calls_tools,
    column,
    hh_turns,
    is_hh,
    messages,
    prompt_turns,
    reply,
    split_dialogues,
    split_texts,
    text,
)
from simpo.records import Message

Kind = Literal["pairs", "examples"]
RawRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a format finds in a row: a prompt and its completions, (chosen, rejected) or the one to imitate."""

    prompt: Turns
    completions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """One way in which files hold rows.

    `matches(row)` looks at keys and types alone. `read(row)` gives one `Parts` for each record of the row, in order,
    and a `BadRow` in the place of one that cannot be used; it raises `BadRow` where that is the whole row.
    `columns` are the columns it takes; all others travel as `extra`.
    """

    name: str
    looks: str
    columns: frozenset[str]
    matches: Callable[[RawRow], bool]
    read: Callable[[RawRow], Iterable[Parts | BadRow]]


# A row with one of these beside `chosen` and `rejected` has its prompt there: it must not be guessed from the texts.
_PROMPT_COLUMNS = (
    *("prompt", "instruction", "input", "question", "query", "system", "context", "history"),
    *("messages", "conversation", "conversations"),
)


def _pair(prompt: Turns, chosen: str, rejected: str) -> list[Parts]:
    _check_prompt(prompt)
    for key, value in (("chosen", chosen), ("rejected", rejected)):
        if not value.strip():
            raise BadRow(f"empty_{key}", f'"{key}" is empty{f": {value!r}" if value else ""}')
    if chosen == rejected:
        raise BadRow("identical", '"chosen" and "rejected" are equal')
    return [Parts(prompt, (chosen, rejected))]


def _example(prompt: Turns, completion: str, where: str = '"completion"') -> Parts:
    _check_prompt(prompt)
    if not completion.strip():
        raise BadRow("empty_completion", f"{where} is empty")
    return Parts(prompt, (completion,))


def _check_prompt(prompt: Turns) -> None:
    if not prompt:
        raise BadRow("empty_prompt", "there is no turn before the reply")
    last = prompt[-1]
    if last.role == "assistant":
        raise BadRow("prompt_ends_in_assistant", "the prompt ends in an assistant turn")
    # A tool may answer nothing; a user or a system turn that says nothing asks nothing.
    if last.role != "tool" and not last.content.strip():
        raise BadRow("empty_prompt", f"the last turn of the prompt (role {last.role}) is empty")


def _explicit(row: RawRow) -> list[Parts]:
    prompt = prompt_turns(column(row, "prompt"))
    chosen, rejected = column(row, "chosen"), column(row, "rejected")
    return _pair(prompt, reply(chosen, "chosen", prompt), reply(rejected, "rejected", prompt))


def _implicit_dialogues(row: RawRow) -> list[Parts]:
    chosen, rejected = (messages(column(row, key), key) for key in ("chosen", "rejected"))
    return _pair(*split_dialogues(chosen, rejected))


def _implicit_texts(row: RawRow) -> list[Parts]:
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    for key, value in (("chosen", chosen), ("rejected", rejected)):
        if not value.strip():
            raise BadRow(f"empty_{key}", f'"{key}" is empty')
    if chosen == rejected:
        raise BadRow("identical", '"chosen" and "rejected" are equal')
    prompt, chosen, rejected = split_texts(chosen, rejected)
    return _pair((Message("user", prompt),), chosen, rejected)


def _hh(row: RawRow) -> list[Parts]:
    return _pair(*split_dialogues(hh_turns(row, "chosen"), hh_turns(row, "rejected")))


def _hh_explicit(row: RawRow) -> list[Parts]:
    prompt = hh_turns(row, "prompt")
    # The prompt ends in the marker of the reply, which reads as an assistant turn without text.
    if prompt[-1] == Message("assistant", ""):
        prompt = prompt[:-1]
    chosen, rejected = (text(row, key).removeprefix(" ").rstrip() for key in ("chosen", "rejected"))
    return _pair(prompt, chosen, rejected)


def _conversation(row: RawRow) -> Iterator[Parts | BadRow]:
    """Each assistant turn after a prompt of all the turns before it."""
    turns, tool_call = _turns_before_tool_call(column(row, "messages"))
    if tool_call is None and not any(turn.role == "assistant" for turn in turns):
        raise BadRow("no_reply", '"messages" holds no assistant turn')
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            try:
                yield _example(turns[:index], turn.content, f"messages[{index}]")
            except BadRow as bad:
                yield bad
    if tool_call is not None:
        yield tool_call


def _turns_before_tool_call(value: object) -> tuple[Turns, BadRow | None]:
    """The turns up to one that calls tools, and what is wrong with that one: every later prompt would hold it."""
    try:
        return messages(value, "messages"), None
    except BadRow as bad:
        if bad.reason != "tool_calls" or not isinstance(value, list):
            raise
        calls = next(index for index, item in enumerate(value) if calls_tools(item))
        return messages(value[:calls], "messages"), bad


def _prompt_completion(row: RawRow) -> list[Parts]:
    prompt = prompt_turns(column(row, "prompt"))
    return [_example(prompt, reply(column(row, "completion"), "completion", prompt))]


def _are(row: RawRow, types: type | tuple[type, ...], *keys: str) -> bool:
    return all(isinstance(row.get(key), types) for key in keys)


def _no_prompt(row: RawRow) -> bool:
    return all(row.get(key) is None for key in _PROMPT_COLUMNS)


def _is_rating(row: RawRow) -> bool:
    """Whether the row rates one reply (KTO): one that was rated bad is none to imitate."""
    return isinstance(row.get("label"), int)


_TRL = frozenset({"prompt", "chosen", "rejected"})

PAIR_FORMATS: tuple[Format, ...] = (
    Format(
        "hh_explicit",
        'prompt "\\n\\nHuman: ...\\n\\nAssistant:", chosen, rejected (text)',
        _TRL,
        lambda row: is_hh(row.get("prompt")) and _are(row, str, "chosen", "rejected"),
        _hh_explicit,
    ),
    Format(
        "trl_standard",
        "prompt, chosen, rejected (text)",
        _TRL,
        lambda row: _are(row, str, "prompt", "chosen", "rejected"),
        _explicit,
    ),
    Format(
        "trl_conversational",
        "prompt, chosen, rejected (text or lists of messages)",
        _TRL,
        lambda row: _are(row, (str, list), "prompt", "chosen", "rejected"),
        _explicit,
    ),
    Format(
        "hh",
        'chosen, rejected (whole dialogues "\\n\\nHuman: ...\\n\\nAssistant: ...")',
        _TRL,
        lambda row: is_hh(row.get("chosen")) and is_hh(row.get("rejected")) and _no_prompt(row),
        _hh,
    ),
    Format(
        "trl_conversational_implicit",
        "chosen, rejected (whole dialogues as lists of messages)",
        _TRL,
        lambda row: _are(row, list, "chosen", "rejected") and _no_prompt(row),
        _implicit_dialogues,
    ),
    Format(
        "trl_standard_implicit",
        "chosen, rejected (text with one beginning)",
        _TRL,
        lambda row: _are(row, str, "chosen", "rejected") and _no_prompt(row),
        _implicit_texts,
    ),
)

EXAMPLE_FORMATS: tuple[Format, ...] = (
    Format(
        "messages",
        "messages (a conversation)",
        frozenset({"messages"}),
        lambda row: _are(row, list, "messages") and not _is_rating(row),
        _conversation,
    ),
    Format(
        "prompt_completion",
        "prompt, completion (text or lists of messages)",
        frozenset({"prompt", "completion"}),
        lambda row: _are(row, (str, list), "prompt", "completion") and not _is_rating(row),
        _prompt_completion,
    ),
)

FORMATS: dict[Kind, tuple[Format, ...]] = {"pairs": PAIR_FORMATS, "examples": EXAMPLE_FORMATS}


def recognise(rows: Sequence[RawRow], kind: Kind) -> Format | None:
    """The format of the first rows of a file: the one that most of them match, or None where none does.

    A row counts for the first entry of the table that it matches, so entries go from narrow to wide.
    """
    votes: dict[str, int] = {}
    formats = FORMATS[kind]
    for row in rows:
        for entry in formats:
            if entry.matches(row):
                votes[entry.name] = votes.get(entry.name, 0) + 1
                break
    return max(
        (entry for entry in formats if entry.name in votes), key=lambda entry: votes[entry.name], default=None
    )
