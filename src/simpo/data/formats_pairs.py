"""Formats whose rows are pairs already: TRL, Anthropic's HH, and the preference formats of other trainers."""

from __future__ import annotations

from typing import Any

from simpo.data.reasons import BadRow, kind_of, shown
from simpo.data.shapes import Format, Found, RawRow, are, empty, pair
from simpo.data.turns import (
    Turns,
    column,
    hh_turns,
    history,
    instruction,
    is_hh,
    messages,
    one_reply,
    prompt_turns,
    reply,
    said,
    sharegpt,
    split_dialogues,
    split_texts,
    text,
    with_system,
)
from simpo.records import Message

# A row with one of these beside `chosen` and `rejected` has its prompt there: it must not be guessed from the texts.
_PROMPT_COLUMNS = (
    *("prompt", "instruction", "input", "question", "query", "system", "context", "history"),
    *("messages", "conversation", "conversations"),
)
_REPLIES = (str, list, dict)


def _explicit(row: RawRow) -> list[Found]:
    prompt = prompt_turns(column(row, "prompt"))
    chosen, rejected = column(row, "chosen"), column(row, "rejected")
    return pair(prompt, reply(chosen, "chosen", prompt), reply(rejected, "rejected", prompt))


def _implicit_dialogues(row: RawRow) -> list[Found]:
    chosen, rejected = (messages(column(row, key), key) for key in ("chosen", "rejected"))
    return pair(*split_dialogues(chosen, rejected))


def _implicit_texts(row: RawRow) -> list[Found]:
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    for key, value in (("chosen", chosen), ("rejected", rejected)):
        if not value.strip():
            raise BadRow(f"empty_{key}", f'"{key}" is empty')
    if chosen == rejected:
        raise BadRow("identical", '"chosen" and "rejected" are equal')
    prompt, chosen, rejected = split_texts(chosen, rejected)
    return pair((Message("user", prompt),), chosen, rejected)


def _hh(row: RawRow) -> list[Found]:
    return pair(*split_dialogues(hh_turns(row, "chosen"), hh_turns(row, "rejected")))


def _hh_explicit(row: RawRow) -> list[Found]:
    prompt = hh_turns(row, "prompt")
    # The prompt ends in the marker of the reply, which reads as an assistant turn without text.
    if prompt[-1] == Message("assistant", ""):
        prompt = prompt[:-1]
    chosen, rejected = (text(row, key).removeprefix(" ").rstrip() for key in ("chosen", "rejected"))
    return pair(prompt, chosen, rejected)


def _texts(row: RawRow, prompt: str, chosen: str = "chosen", rejected: str = "rejected") -> list[Found]:
    """A pair of three columns of text, after the row's `system` and `history` where it has any."""
    asked = (*history(row), Message("user", prompt))
    return pair(with_system(row, asked), text(row, chosen), text(row, rejected))


def _replies(row: RawRow, prompt: Turns) -> list[Found]:
    replies = (one_reply(column(row, key), key) for key in ("chosen", "rejected"))
    return pair(with_system(row, prompt), *replies)


def _openai(row: RawRow) -> list[Found]:
    asked = column(row, "input")
    if not isinstance(asked, dict):
        raise BadRow("wrong_type", f'"input" is {kind_of(asked)}, not an object: {shown(asked)}')
    prompt = messages(column(asked, "messages"), "input.messages")
    chosen, rejected = (
        reply(column(row, key), key, prompt) for key in ("preferred_output", "non_preferred_output")
    )
    return pair(prompt, chosen, rejected)


def _swift(row: RawRow) -> list[Found]:
    turns = messages(column(row, "messages"), "messages")
    if not turns or turns[-1].role != "assistant":
        ends = f"ends in a turn of role {turns[-1].role!r}" if turns else "holds no message"
        raise BadRow("no_reply", f'"messages" {ends}, not in the chosen reply')
    if empty(row, "rejected_messages"):
        return pair(turns[:-1], said(turns[-1], 'the reply of "messages"'), text(row, "rejected_response"))
    rejected = messages(row["rejected_messages"], "rejected_messages")
    return pair(*split_dialogues(turns, rejected, ("messages", "rejected_messages")))


def _no_prompt(row: RawRow) -> bool:
    return empty(row, *_PROMPT_COLUMNS)


def _chosen_rejected(row: RawRow, types: Any = str) -> bool:
    return are(row, types, "chosen", "rejected")


_TRL = frozenset({"prompt", "chosen", "rejected"})
_RESPONSES = frozenset({"chosen_response", "rejected_response", "system"})
_ALPACA = frozenset({"instruction", "input", "chosen", "rejected", "system", "history"})

OTHER_TRAINERS: tuple[Format, ...] = (
    Format(
        "openai_preference",
        "input.messages, preferred_output, non_preferred_output (lists of messages)",
        frozenset({"input", "preferred_output", "non_preferred_output"}),
        lambda row: are(row, dict, "input") and are(row, list, "preferred_output", "non_preferred_output"),
        _openai,
        also=("openai", "azure_preference"),
    ),
    Format(
        "swift_rejected",
        "messages (ending in the chosen reply), rejected_response (text) or rejected_messages",
        frozenset({"messages", "rejected_response", "rejected_messages"}),
        lambda row: (
            are(row, list, "messages")
            and (are(row, str, "rejected_response") or are(row, list, "rejected_messages"))
        ),
        _swift,
        also=("ms_swift", "swift"),
    ),
    Format(
        "axolotl_chat_template",
        "messages (the prompt), chosen, rejected (one message each)",
        frozenset({"messages", "chosen", "rejected", "system"}),
        lambda row: are(row, list, "messages") and _chosen_rejected(row, _REPLIES) and empty(row, "prompt"),
        lambda row: _replies(row, messages(column(row, "messages"), "messages")),
        also=("llamafactory_openai",),
    ),
    Format(
        "llamafactory_sharegpt",
        "conversations (the prompt: from, value), chosen, rejected (one turn each)",
        frozenset({"conversations", "chosen", "rejected", "system"}),
        lambda row: (
            are(row, list, "conversations") and _chosen_rejected(row, _REPLIES) and empty(row, "prompt")
        ),
        lambda row: _replies(row, sharegpt(column(row, "conversations"), "conversations")),
        also=("sharegpt_ranking",),
    ),
    Format(
        "axolotl_argilla",
        "instruction, chosen_response, rejected_response (text), also system",
        _RESPONSES | {"instruction"},
        lambda row: are(row, str, "instruction", "chosen_response", "rejected_response"),
        lambda row: _texts(row, text(row, "instruction"), "chosen_response", "rejected_response"),
    ),
    Format(
        "nemo_responses",
        "prompt, chosen_response, rejected_response (text), also system",
        _RESPONSES | {"prompt"},
        lambda row: are(row, str, "prompt", "chosen_response", "rejected_response"),
        lambda row: _texts(row, text(row, "prompt"), "chosen_response", "rejected_response"),
    ),
    Format(
        "alpaca_ranking",
        "instruction, chosen, rejected (text), also input, system, history",
        _ALPACA,
        lambda row: are(row, str, "instruction") and _chosen_rejected(row) and empty(row, "prompt"),
        lambda row: _texts(row, instruction(row)),
        also=("llamafactory_alpaca",),
    ),
    Format(
        "axolotl_intel",
        "question, chosen, rejected (text), also system",
        frozenset({"question", "chosen", "rejected", "system"}),
        lambda row: are(row, str, "question") and _chosen_rejected(row) and empty(row, "prompt"),
        lambda row: _texts(row, text(row, "question")),
        also=("orca", "intel_orca"),
    ),
    Format(
        "axolotl_prompt_pairs",
        "system, prompt, chosen, rejected (text)",
        _TRL | {"system"},
        lambda row: are(row, str, "prompt", "system") and _chosen_rejected(row) and not empty(row, "system"),
        lambda row: _texts(row, text(row, "prompt")),
        also=("prompt_pairs",),
    ),
)

TRL: tuple[Format, ...] = (
    Format(
        "hh_explicit",
        'prompt "\\n\\nHuman: ...\\n\\nAssistant:", chosen, rejected (text)',
        _TRL,
        lambda row: is_hh(row.get("prompt")) and _chosen_rejected(row),
        _hh_explicit,
    ),
    Format(
        "trl_standard",
        "prompt, chosen, rejected (text)",
        _TRL,
        lambda row: are(row, str, "prompt") and _chosen_rejected(row),
        _explicit,
    ),
    Format(
        "ultrafeedback_binarized",
        "prompt (text), chosen, rejected (whole dialogues), score_chosen, score_rejected",
        _TRL | {"messages"},
        lambda row: (
            are(row, str, "prompt")
            and _chosen_rejected(row, list)
            and are(row, (int, float), "score_chosen", "score_rejected")
        ),
        _explicit,
    ),
    Format(
        "trl_conversational",
        "prompt, chosen, rejected (text or lists of messages)",
        _TRL,
        lambda row: are(row, (str, list), "prompt", "chosen", "rejected"),
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
        lambda row: _chosen_rejected(row, list) and _no_prompt(row),
        _implicit_dialogues,
        also=("openrlhf",),
    ),
    Format(
        "trl_standard_implicit",
        "chosen, rejected (text with one beginning)",
        _TRL,
        lambda row: _chosen_rejected(row) and _no_prompt(row),
        _implicit_texts,
    ),
)
