"""Sides that only seem to differ, completions without text, prompts whose turns are out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.texts.structure import Structure, difference, is_blank, normalised, role_problems
from simpo.records import Message, Pair, Source
from tests.audit.made import found_by, pair, plain_row


def test_nothing_is_found_in_plain_pairs() -> None:
    pairs = [
        pair(**{key: plain_row(number)[key] for key in ("prompt", "chosen", "rejected")})
        for number in range(200)
    ]
    assert found_by(Structure(), *pairs) == {}


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("It left Lyon.", "it left  Lyon.\n", "case"),
        ("It left Lyon.", " It\tleft Lyon.", "white space"),
        ("It left Lyon.", "It left\u00a0Lyon.", "white space"),
        ("No. \uff11", "No. 1", "characters' form"),  # the wide digit one
        ("caf\u00e9", "cafe\u0301", "characters' form"),
        ("STRASSE", "stra\u00dfe", "case"),
        ("It left\u200b Lyon.", "It left Lyon.", "characters' form"),
    ],
)
def test_two_texts_that_no_reader_tells_apart_are_told_with_what_they_differ_in(
    one: str, other: str, what: str
) -> None:
    assert difference(one, other) == difference(other, one) == what
    finding = found_by(Structure(), pair(), pair(chosen=one, rejected=other))["same_after_normalising"]
    assert (finding.count, finding.of, finding.rows.tolist()) == (1, 2, [1])
    assert finding.repair == "drop"
    assert finding.figures["differ_in"] == {what: 1}


@pytest.mark.parametrize(
    ("one", "other"), [("It left Lyon.", "It left Lyon"), ("42", "24"), ("Yes", "Yess"), ("\u00e4", "a")]
)
def test_texts_that_differ_in_a_letter_a_digit_or_a_full_stop_are_not_the_same(one: str, other: str) -> None:
    assert difference(one, other) is None
    assert found_by(Structure(), pair(chosen=one, rejected=other)) == {}


@given(st.text(max_size=40))
def test_normalising_twice_is_normalising_once_for_ascii_and_a_text_is_the_same_as_itself_in_capitals(
    text: str,
) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    assert normalised(normalised(ascii_text)) == normalised(ascii_text)
    assert normalised(ascii_text.upper()) == normalised(ascii_text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_cheap_question_before_the_comparison_never_hides_a_pair_that_is_the_same(
    one: str, other: str
) -> None:
    variants = [(one, other), (one, f"  {one.swapcase()}\n"), (one, one.replace(" ", "\u2003"))]
    for left, right in variants:
        if left.strip() and right.strip() and left != right and not is_blank(left) and not is_blank(right):
            found = found_by(Structure(), pair(chosen=left, rejected=right))
            assert ("same_after_normalising" in found) == (normalised(left) == normalised(right))


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u2060", "\x00", "\u200e\n", "\u00ad"])
def test_a_completion_in_which_nothing_can_be_seen_is_blank(text: str) -> None:
    finding = found_by(Structure(), pair(rejected=text))["blank_completion"]
    assert (finding.severity, finding.repair) == ("error", "drop")


@pytest.mark.parametrize("text", [".", "\u4e2d", "\U0001f600", "0", "-", "\u0301"])
def test_a_completion_of_one_character_that_can_be_seen_is_not_blank(text: str) -> None:
    assert "blank_completion" not in found_by(Structure(), pair(rejected=text))


@pytest.mark.parametrize(
    "text", ["null", "None", " nan ", "N/A", "undefined.", "[deleted]", "'None'", "<noinput>"]
)
def test_the_name_of_a_missing_value_is_no_answer(text: str) -> None:
    finding = found_by(Structure(), pair(chosen=text))["stand_in_completion"]
    assert finding.examples[0].detail == f"chosen is {text!r}"


def test_the_name_of_a_missing_value_is_an_answer_where_the_prompt_has_it_or_more_is_said() -> None:
    asked = pair("Answer with a number, or with None where there is no order.", chosen="None")
    assert found_by(Structure(), asked, pair(chosen="None of these."), pair(chosen="No")) == {}


@pytest.mark.parametrize(
    ("roles", "problems"),
    [
        (("user",), ()),
        (("system", "user", "assistant", "user"), ()),
        (("system", "system", "user"), ()),
        (("user", "assistant", "tool", "tool", "assistant", "user"), ()),
        (("user", "assistant", "tool"), ()),
        (("user", "assistant", "tool", "user"), ()),
        (("assistant", "user"), ("begins with the assistant",)),
        (("user", "user"), ("two turns of the user in a row",)),
        (("user", "assistant", "assistant", "user"), ("two turns of the assistant in a row",)),
        (("user", "system"), ("system turn after the beginning",)),
        (("user", "tool"), ("tool result after no assistant turn",)),
        (("tool", "assistant", "user"), ("tool result after no assistant turn",)),
    ],
)
def test_the_order_of_roles_is_judged_as_chat_templates_do(
    roles: tuple[str, ...], problems: tuple[str, ...]
) -> None:
    assert role_problems(roles) == problems


def test_prompts_that_end_in_a_tool_are_a_note_and_prompts_that_end_in_a_system_turn_a_warning() -> None:
    tool = pair((("user", "Where is it?"), ("assistant", "Let me look."), ("tool", '{"at": "Lyon"}')))
    system = pair((("user", "Where is it?"), ("system", "Answer briefly.")))
    found = found_by(Structure(), tool, system)
    assert (found["prompt_ends_in_tool"].severity, found["prompt_ends_in_system"].severity) == (
        "note",
        "warning",
    )
    assert found["role_order"].rows.tolist() == [1]


def test_a_blank_turn_before_the_last_is_named_with_its_place() -> None:
    turns = (("user", "Where is it?"), ("assistant", " "), ("user", "Hello?"))
    assert (
        found_by(Structure(), pair(turns))["blank_turn"].examples[0].detail == "turn 2 (assistant) is blank"
    )
    silent_tool = (
        ("user", "Where?"),
        ("assistant", "Let me look."),
        ("tool", ""),
        ("assistant", "Hm."),
        ("user", "And?"),
    )
    assert found_by(Structure(), pair(silent_tool)) == {}


def test_a_turn_that_only_calls_a_tool_is_not_blank() -> None:
    called = Message("assistant", "", {"tool_calls": [{"function": {"name": "look_up", "arguments": {}}}]})
    turns = (Message("user", "Where is it?"), called, Message("tool", '{"at": "Lyon"}'))
    one = Pair(turns, "In Lyon.", "No idea.", Source("made.jsonl", 1))
    assert found_by(Structure(), one).keys() == {"prompt_ends_in_tool"}


def test_a_completion_that_begins_with_the_whole_prompt_echoes_it() -> None:
    prompt = "Write a friendly reply to a customer whose lamp broke in transit."
    found = found_by(Structure(), pair(prompt, chosen=f"{prompt}\nDear customer, ..."), pair(prompt))
    assert found["echoed_prompt"].rows.tolist() == [0]
    short = "Once upon a time"
    assert found_by(Structure(), pair(short, chosen=f"{short} there was a lamp.")) == {}
