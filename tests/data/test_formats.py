"""Each format reads its rows, is recognised by them alone, and says what is wrong with any other row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.data.formats import FORMATS, recognise
from simpo.data.reasons import REASONS, BadRow
from simpo.data.shapes import Found, Parts
from simpo.data.turns import split_texts
from simpo.records import Example, Message, Source

SOURCE = Source("any", 1)

words = st.text(max_size=30)
message = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), words)


def turns(prompt: tuple[Message, ...], *reply: str) -> list[dict[str, str]]:
    return [turn.as_dict() for turn in (*prompt, *(Message("assistant", text) for text in reply))]


def read_one(name: str, row: dict[str, Any]) -> list[Found]:
    (entry,) = (entry for formats in FORMATS.values() for entry in formats if entry.name == name)
    return list(entry.read(row))


def reason_of(name: str, row: dict[str, Any]) -> str:
    with pytest.raises(BadRow) as bad:
        read_one(name, row)
    return f"{bad.value.reason}: {bad.value.detail}"


def test_an_explicit_prompt_may_be_repeated_in_both_replies() -> None:
    prompt = (Message("system", "Be kind."), Message("user", "Hi"))
    row = {"prompt": turns(prompt), "chosen": turns(prompt, "Hello."), "rejected": turns(prompt, "What?")}
    assert read_one("trl_conversational", row) == [Parts(prompt, ("Hello.", "What?"))]


def test_ultrafeedback_rows_with_a_text_prompt_and_whole_dialogues_are_read() -> None:
    prompt = (Message("user", "Where is my parcel?"),)
    row = {
        "prompt": "Where is my parcel?",
        "chosen": turns(prompt, "On its way."),
        "rejected": turns(prompt, "No."),
        "messages": turns(prompt, "On its way."),
    }
    entry = recognise([row], "pairs")
    assert entry is not None and entry.name == "trl_conversational"
    assert list(entry.read(row)) == [Parts(prompt, ("On its way.", "No."))]


@given(chosen=st.text("ab \n", max_size=12), rejected=st.text("ab \n", max_size=12))
def test_texts_with_one_beginning_are_cut_before_white_space_and_lose_nothing(
    chosen: str, rejected: str
) -> None:
    try:
        prompt, first, second = split_texts(chosen, rejected)
    except BadRow as bad:
        assert bad.reason == "empty_prompt"
        return
    assert prompt + first == chosen and prompt + second == rejected
    assert prompt.strip() and prompt == prompt.rstrip()
    assert first[:1].isspace() and second[:1].isspace()


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", " blue.", " green.")),
        # "bl" is shared too, and is no prompt.
        ("The sky is blue.", "The sky is black.", ("The sky is", " blue.", " black.")),
        # One text continues the other: what follows the prompt must not be empty.
        ("Yes it is", "Yes it is so", ("Yes it", " is", " is so")),
        ("Q: 1+1?\n\nA: 2", "Q: 1+1?\n\nB: 3", ("Q: 1+1?", "\n\nA: 2", "\n\nB: 3")),
        ("same x", "same\ty", ("same", " x", "\ty")),
    ],
)
def test_the_prompt_of_two_texts_is_what_they_share(
    chosen: str, rejected: str, expected: tuple[str, str, str]
) -> None:
    assert split_texts(chosen, rejected) == expected


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    return draw(st.lists(message, min_size=1, max_size=8))


@settings(deadline=None)
@given(conversation=conversations())
def test_each_assistant_turn_is_one_example_or_counted_with_its_reason(conversation: list[Message]) -> None:
    row = {"messages": turns(tuple(conversation))}
    replies = [index for index, turn in enumerate(conversation) if turn.role == "assistant"]
    if not replies:
        assert reason_of("messages", row).startswith("no_reply")
        return
    parts = read_one("messages", row)
    assert len(parts) == len(replies)
    for index, part in zip(replies, parts, strict=True):
        if isinstance(part, Parts):
            assert part == Parts(tuple(conversation[:index]), (conversation[index].content,))
            Example(part.prompt, part.completions[0], SOURCE)
        else:
            assert isinstance(part, BadRow)
            assert part.reason in ("empty_completion", "empty_prompt", "prompt_ends_in_assistant")


def test_null_content_is_skipped_as_a_reply_and_kept_empty_in_later_prompts() -> None:
    row = {
        "messages": [
            {"role": "assistant", "content": "Hello, how can I help?"},
            {"role": "user", "content": "My order?"},
            {"role": "assistant", "content": None},
            {"role": "tool", "content": "shipped"},
            {"role": "assistant", "content": "It has shipped."},
        ]
    }
    first, second, third = read_one("messages", row)
    assert isinstance(first, BadRow) and first.reason == "empty_prompt"
    assert isinstance(second, BadRow) and str(second) == "messages[2] is empty"
    assert isinstance(third, Parts) and third.completions == ("It has shipped.",)
    assert third.prompt[2] == Message("assistant", "")


def test_a_turn_that_calls_tools_is_a_part_of_prompts_and_no_reply() -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": {}}}
    calling = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    turns = [
        {"role": "user", "content": "My order?"},
        calling,
        {"role": "tool", "content": "shipped"},
        {"role": "assistant", "content": "It has shipped."},
    ]
    first, second = read_one("messages", {"messages": turns})
    assert isinstance(first, BadRow) and first.reason == "tool_calls"
    said = Message("assistant", "Let me see.", {"tool_calls": [call]})
    assert second == Parts(
        (Message("user", "My order?"), said, Message("tool", "shipped")), ("It has shipped.",)
    )
    assert reason_of("trl_conversational", {"prompt": "x", "chosen": [calling], "rejected": "y"}).startswith(
        'tool_calls: "chosen" calls tools'
    )


def test_content_parts_and_newer_role_names_of_openai_are_read() -> None:
    row = {
        "prompt": [
            {
                "role": "developer",
                "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}],
            },
            {"role": "user", "content": "Hi"},
        ],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": "Hello."}]}],
    }
    assert read_one("prompt_completion", row) == [
        Parts((Message("system", "Be kind."), Message("user", "Hi")), ("Hello.",))
    ]


CHAT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("trl_standard", {"prompt": "a", "chosen": "b"}, 'missing_key: "rejected" is missing'),
        ("trl_standard", {"prompt": "a", "chosen": None, "rejected": "c"}, 'missing_key: "chosen" is null'),
        ("trl_standard", {"prompt": " ", "chosen": "b", "rejected": "c"}, "empty_prompt: the last turn"),
        ("trl_standard", {"prompt": "a", "chosen": "", "rejected": "c"}, 'empty_chosen: "chosen" is empty'),
        (
            "trl_standard",
            {"prompt": "a", "chosen": "b", "rejected": " \n"},
            "empty_rejected: \"rejected\" is empty: ' \\n'",
        ),
        ("trl_standard", {"prompt": "a", "chosen": "b", "rejected": "b"}, "identical: "),
        (
            "trl_standard",
            {"prompt": "a", "chosen": 7, "rejected": "b"},
            'wrong_type: "chosen" is a number, not text or a list of messages: 7',
        ),
        (
            "trl_standard",
            {"prompt": True, "chosen": "a", "rejected": "b"},
            'wrong_type: "prompt" is a boolean',
        ),
        (
            "trl_conversational",
            {"prompt": [], "chosen": "a", "rejected": "b"},
            "empty_prompt: there is no turn",
        ),
        (
            "trl_conversational",
            {"prompt": [*CHAT, {"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"},
            "prompt_ends_in_assistant: ",
        ),
        (
            "trl_conversational",
            {"prompt": [{"role": "bot", "content": "x"}], "chosen": "a", "rejected": "b"},
            "wrong_role: prompt[0] has role 'bot', not one of system, user, assistant, tool",
        ),
        (
            "trl_conversational",
            {"prompt": [{"role": ["x"], "content": "x"}], "chosen": "a", "rejected": "b"},
            "wrong_role: ",
        ),
        (
            "trl_conversational",
            {"prompt": [{"from": "human", "value": "x"}], "chosen": "a", "rejected": "b"},
            'missing_key: prompt[0] has no "role": ',
        ),
        (
            "trl_conversational",
            {"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"},
            'missing_key: prompt[0] has no "content": ',
        ),
        (
            "trl_conversational",
            {"prompt": ["Hi"], "chosen": "a", "rejected": "b"},
            "wrong_type: prompt[0] is text, not a message: 'Hi'",
        ),
        (
            "trl_conversational",
            {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "a", "rejected": "b"},
            "wrong_type: content of prompt[0] is a list, not text",
        ),
        (
            "trl_conversational",
            {"prompt": CHAT, "chosen": [{"role": "user", "content": "x"}], "rejected": "b"},
            "wrong_role: \"chosen\" is a turn of role 'user', not assistant",
        ),
        ("trl_conversational", {"prompt": CHAT, "chosen": CHAT, "rejected": "b"}, "no_reply: "),
        ("trl_conversational", {"prompt": CHAT, "chosen": [], "rejected": "b"}, "no_reply: "),
        (
            "trl_conversational",
            {"prompt": CHAT, "chosen": [{"role": "assistant", "content": "x"}] * 2, "rejected": "b"},
            "many_replies: ",
        ),
        (
            "trl_conversational",
            {"prompt": "other", "chosen": [*CHAT, {"role": "assistant", "content": "x"}], "rejected": "b"},
            'diverging_prompts: "chosen" repeats a prompt',
        ),
        (
            "trl_conversational_implicit",
            {
                "chosen": [*CHAT, {"role": "assistant", "content": "x"}],
                "rejected": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "y"}],
            },
            'diverging_prompts: "chosen" and "rejected" differ before the last assistant turn, from turn 1 on',
        ),
        (
            "trl_conversational_implicit",
            {"chosen": CHAT, "rejected": CHAT},
            'no_reply: "chosen" ends in a turn',
        ),
        (
            "trl_conversational_implicit",
            {
                "chosen": [{"role": "assistant", "content": "x"}],
                "rejected": [{"role": "assistant", "content": "y"}],
            },
            "empty_prompt: there is no turn before the reply",
        ),
        ("trl_standard_implicit", {"chosen": "blue", "rejected": "black"}, "empty_prompt: "),
        ("trl_standard_implicit", {"chosen": "a b", "rejected": "a b"}, "identical: "),
        ("trl_standard_implicit", {"chosen": "", "rejected": "a b"}, "empty_chosen: "),
        (
            "hh",
            {"chosen": "x", "rejected": "y"},
            'wrong_type: "chosen" does not begin with "\\n\\nHuman:": \'x\'',
        ),
        (
            "hh",
            {"chosen": "\n\nHuman: a\n\nAssistant: ", "rejected": "\n\nHuman: a\n\nAssistant: b"},
            "empty_chosen: ",
        ),
        (
            "hh",
            {
                "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c",
                "rejected": "\n\nHuman: a\n\nAssistant: b",
            },
            "no_reply: \"chosen\" ends in a turn of role 'user'",
        ),
        ("messages", {"messages": {}}, 'wrong_type: "messages" is an object, not a list of messages: {}'),
        ("prompt_completion", {"prompt": "a", "completion": "\t"}, 'empty_completion: "completion" is empty'),
    ],
)
def test_a_row_that_is_not_of_its_format_says_what_is_wrong(
    name: str, row: dict[str, Any], expected: str
) -> None:
    said = reason_of(name, row)
    assert said.startswith(expected)
    assert said.partition(":")[0] in REASONS


def test_white_space_in_text_is_kept() -> None:
    row = {"prompt": " a\n", "chosen": "\n b ", "rejected": "\tc"}
    assert read_one("trl_standard", row) == [Parts((Message("user", " a\n"),), ("\n b ", "\tc"))]


def test_hh_text_loses_one_space_after_a_marker_and_all_before_the_next() -> None:
    row = {
        "chosen": "\n\nHuman:  two\n \n\nAssistant: yes \n",
        "rejected": "\n\nHuman:  two\n \n\nAssistant: no",
    }
    assert read_one("hh", row) == [Parts((Message("user", " two"),), ("yes", "no"))]


@pytest.mark.parametrize("beside", ["input", "messages", "conversations", "query", "context", "history"])
def test_a_prompt_in_another_column_is_never_guessed_from_the_replies(beside: str) -> None:
    assert (
        recognise([{beside: "How do I pay?", "chosen": "By card.", "rejected": "By hand."}], "pairs") is None
    )


def test_the_prompt_of_a_pair_is_not_taken_for_a_conversation_to_imitate() -> None:
    row = {"messages": CHAT, "chosen": {"role": "assistant", "content": "a"}, "rejected": {}}
    assert recognise([row], "examples") is None
    found = recognise([{**row, "prompt": "Hi"}], "examples")
    assert (found and found.name) == "messages"


def test_ratings_of_single_replies_are_not_taken_for_examples_to_imitate() -> None:
    assert recognise([{"prompt": "a", "completion": "b", "label": False}], "examples") is None
    assert recognise([{"messages": CHAT, "label": True}], "examples") is None


def test_the_format_is_the_one_that_most_of_the_first_rows_have() -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    entry = recognise([{"chosen": "b", "rejected": "c"}, good, {}, good], "pairs")
    assert entry is not None and entry.name == "trl_standard"
    assert recognise([], "pairs") is None


def test_names_of_formats_are_distinct_and_so_are_the_other_names_they_go_by() -> None:
    for formats in FORMATS.values():
        names = [name for entry in formats for name in (entry.name, *entry.also)]
        assert len(set(names)) == len(names)
    pairs, examples = ({entry.name for entry in entries} for entries in FORMATS.values())
    assert not pairs & examples
