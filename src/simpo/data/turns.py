"""JSON values to turns and replies: the pieces that every format is put together from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from simpo.data.reasons import BadRow, kind_of, shown
from simpo.data.toolcalls import answer_of, called, calls_of
from simpo.records import ROLES, Message

Turns = tuple[Message, ...]

# OpenAI's newer and older names for roles that chat templates know under another one, and other trainers' names.
_ROLE_ALIASES = {
    "developer": "system",
    **dict.fromkeys(("function", "tool_response", "observation", "ipython"), "tool"),
}
_CALLING = ("tool_call", "function_call")  # roles of turns whose text is a call (ms-swift, ShareGPT)
_SHAREGPT_ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bing", "bard"), "assistant"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function_response"), "tool"),
    "system": "system",
}
_HH_MARKER = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


def column(row: Mapping[str, Any], key: str) -> Any:
    """The value of a column that must be there and not null."""
    value = row.get(key)
    if value is None:
        raise BadRow("missing_key", f'"{key}" is {"null" if key in row else "missing"}')
    return value


def text(row: Mapping[str, Any], key: str) -> str:
    """The value of a column that must be text."""
    value = column(row, key)
    if not isinstance(value, str):
        raise BadRow("wrong_type", f'"{key}" is {kind_of(value)}, not text: {shown(value)}')
    return value


def objects(row: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The value of a column that must be a list of objects."""
    value = column(row, key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRow("wrong_type", f'"{key}" is {kind_of(value)}, not a list of objects: {shown(value)}')
    return value


def message(value: object, where: str) -> Message:
    """One `{"role", "content"}` object; `where` names it in errors, for example `chosen[0]`.

    Null content reads as empty, as published chat data writes assistant turns that only called a tool; it may be left
    out beside such calls. A list of text parts (OpenAI) reads as their concatenation.
    """
    if not isinstance(value, dict):
        raise BadRow("wrong_type", f"{where} is {kind_of(value)}, not a message: {shown(value)}")
    role = value.get("role")
    if role in _CALLING and "content" in value:
        return Message("assistant", "", {"tool_calls": called(value["content"], where)})
    calls = calls_of(value, where) if role == "assistant" else []
    if role is None or ("content" not in value and not calls):
        missing = '"role"' if role is None else '"content"'
        raise BadRow("missing_key", f"{where} has no {missing}: {shown(value)}")
    known = _ROLE_ALIASES.get(role, role) if isinstance(role, str) else role
    if known not in ROLES:
        raise BadRow("wrong_role", f"{where} has role {shown(role)}, not one of {', '.join(ROLES)}")
    content = _content(value.get("content"), where)
    if calls:
        return Message(known, content, {"tool_calls": calls})
    extra = answer_of(value) if known == "tool" else None
    return Message(known, content, extra) if extra else Message(known, content)


def said(turn: Message, where: str) -> str:
    """The text of a turn that is a reply, which must be all that the assistant produced."""
    if turn.extra.get("tool_calls"):
        raise BadRow("tool_calls", f"{where} calls tools, which text alone cannot hold: {shown(turn.extra)}")
    return turn.content


def _content(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(_is_text_part(part) for part in value):
        return "".join(part["text"] for part in value)
    raise BadRow("wrong_type", f"content of {where} is {kind_of(value)}, not text: {shown(value)}")


def _is_text_part(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def messages(value: object, key: str) -> Turns:
    """A column that holds a list of messages."""
    if not isinstance(value, list):
        raise BadRow("wrong_type", f'"{key}" is {kind_of(value)}, not a list of messages: {shown(value)}')
    return tuple(message(item, f"{key}[{index}]") for index, item in enumerate(value))


def sharegpt_message(value: object, where: str) -> Message:
    """One `{"from", "value"}` object (ShareGPT); `{"role", "content"}` stands in its place at times."""
    if not isinstance(value, dict) or "from" not in value:
        return message(value, where)
    speaker = value["from"]
    if "value" not in value:
        raise BadRow("missing_key", f'{where} has no "value": {shown(value)}')
    if speaker in _CALLING:
        return Message("assistant", "", {"tool_calls": called(value["value"], where)})
    role = _SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        known = ", ".join((*_SHAREGPT_ROLES, *_CALLING))
        raise BadRow("wrong_role", f"{where} is from {shown(speaker)}, not one of {known}")
    return Message(role, _content(value["value"], where))


def sharegpt(value: object, key: str) -> Turns:
    """A column that holds a ShareGPT conversation."""
    if not isinstance(value, list):
        raise BadRow("wrong_type", f'"{key}" is {kind_of(value)}, not a list of turns: {shown(value)}')
    return tuple(sharegpt_message(item, f"{key}[{index}]") for index, item in enumerate(value))


def one_reply(value: object, key: str) -> str:
    """A completion given as text or as one message of the assistant, in either way of writing messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    elif isinstance(value, list):
        raise BadRow(
            "many_replies" if value else "no_reply", f'"{key}" holds {len(value)} turns, not one reply'
        )
    turn = sharegpt_message(value, f'"{key}"')
    if turn.role != "assistant":
        raise BadRow("wrong_role", f'"{key}" is a turn of role {turn.role!r}, not assistant')
    return said(turn, f'"{key}"')


def with_system(row: Mapping[str, Any], turns: Turns) -> Turns:
    """The turns after the row's own `system` text, where it has one and they do not begin with a system turn."""
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise BadRow("wrong_type", f'"system" is {kind_of(system)}, not text: {shown(system)}')
    if not system or not system.strip() or (turns and turns[0].role == "system"):
        return turns
    return (Message("system", system), *turns)


def instruction(row: Mapping[str, Any], beside: str = "input", between: str = "\n") -> str:
    """The `instruction` of a row, and on the next line what it is about, where the row says so beside it."""
    asked = text(row, "instruction")
    about = row.get(beside)
    if about is not None and not isinstance(about, str):
        raise BadRow("wrong_type", f'"{beside}" is {kind_of(about)}, not text: {shown(about)}')
    # LLaMA-Factory joins whatever is not empty, and so does an instruction that is only an input.
    return between.join(part for part in (asked, about) if part)


def history(row: Mapping[str, Any]) -> Turns:
    """The `history` of a row, [[question, answer], ...], as turns."""
    past = row.get("history")
    if past is None or past == "":
        return ()
    if not isinstance(past, list) or not all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
        for turn in past
    ):
        raise BadRow("wrong_type", f'"history" is not a list of [question, answer]: {shown(past)}')
    return tuple(
        Message(role, text) for turn in past for role, text in zip(("user", "assistant"), turn, strict=True)
    )


def prompt_turns(value: object, key: str = "prompt") -> Turns:
    """A prompt given as text (one user turn) or as a list of messages."""
    if isinstance(value, str):
        return (Message("user", value),)
    if isinstance(value, list):
        return messages(value, key)
    raise BadRow("wrong_type", f'"{key}" is {kind_of(value)}, not text or a list of messages: {shown(value)}')


def reply(value: object, key: str, prompt: Turns) -> str:
    """A completion given as text or as messages: one assistant turn, alone or after the prompt's own turns."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise BadRow(
            "wrong_type", f'"{key}" is {kind_of(value)}, not text or a list of messages: {shown(value)}'
        )
    turns = messages(value, key)
    if turns[: len(prompt)] == prompt:
        turns = turns[len(prompt) :]
    elif len(turns) > 1 and turns[0].role != "assistant":
        raise BadRow("diverging_prompts", f'"{key}" repeats a prompt that is not the one in "prompt"')
    if not turns:
        raise BadRow("no_reply", f'"{key}" holds no turn after the prompt')
    if len(turns) > 1:
        raise BadRow("many_replies", f'"{key}" holds {len(turns)} turns after the prompt, not one reply')
    if turns[0].role != "assistant":
        raise BadRow("wrong_role", f'"{key}" is a turn of role {turns[0].role!r}, not assistant')
    return said(turns[0], f'"{key}"')


def split_dialogues(
    chosen: Turns, rejected: Turns, keys: tuple[str, str] = ("chosen", "rejected")
) -> tuple[Turns, str, str]:
    """Two whole dialogues to their shared prompt and the two last assistant turns; `keys` name them in errors."""
    for key, turns in zip(keys, (chosen, rejected), strict=True):
        if not turns or turns[-1].role != "assistant":
            ends = f"ends in a turn of role {turns[-1].role!r}" if turns else "holds no message"
            raise BadRow("no_reply", f'"{key}" {ends}, not in an assistant turn')
    if chosen[:-1] != rejected[:-1]:
        turn = _first_difference(chosen[:-1], rejected[:-1])
        raise BadRow(
            "diverging_prompts",
            f'"{keys[0]}" and "{keys[1]}" differ before the last assistant turn, from turn {turn + 1} on',
        )
    replies = [said(turns[-1], f'"{key}"') for key, turns in zip(keys, (chosen, rejected), strict=True)]
    return chosen[:-1], replies[0], replies[1]


def _first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def is_hh(value: object) -> bool:
    """Whether a text is a dialogue as Anthropic's HH data writes it."""
    return isinstance(value, str) and value.startswith("\n\nHuman:") and "\n\nAssistant:" in value


def hh_turns(row: Mapping[str, Any], key: str) -> Turns:
    r"""A column of text `\n\nHuman: ...\n\nAssistant: ...` as turns.

    One space after a marker and the white space before the next belong to the markers, not to the turn.
    """
    before, *parts = _HH_MARKER.split(text(row, key))
    if before.strip() or not parts:
        raise BadRow("wrong_type", f'"{key}" does not begin with "\\n\\nHuman:": {shown(row[key])}')
    return tuple(
        Message(_HH_ROLES[marker], content.removeprefix(" ").rstrip())
        for marker, content in zip(parts[::2], parts[1::2], strict=True)
    )


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Two texts with one beginning: the prompt is what they share, up to white space.

    The cut falls before white space, which then begins both completions: a shared part of a word ("bl" of "blue" and
    "black") is no prompt, and no prompt ends in a blank that a chat template would strip.
    """
    shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        shared += 1
    cut = shared
    if not (chosen[cut : cut + 1].isspace() and rejected[cut : cut + 1].isspace()):
        while cut and not chosen[cut - 1].isspace():
            cut -= 1
    prompt = chosen[:cut].rstrip()
    if not prompt.strip():
        raise BadRow(
            "empty_prompt", '"chosen" and "rejected" share no beginning, and there is no "prompt" column'
        )
    return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
