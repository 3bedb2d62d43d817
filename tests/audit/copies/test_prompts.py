"""What a prompt asks, which prompts ask nearly the same, and groups that hold when others come later."""

from __future__ import annotations

import json
import random
import string
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.audit.copies.minhash import NEAR, jaccard
from simpo.audit.copies.prompts import Asked, Prompts, asked
from simpo.audit.spool import Spool
from simpo.data.read import read_rows
from simpo.records import Message

RULES = "You answer for Harbor Support. Be short, be kind, never promise what the policy does not name. " * 3


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def said(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, text) for role, text in turns)


def groups_of(*prompts: tuple[Message, ...]) -> list[int]:
    """Of each prompt a number of its group."""
    known = Prompts()
    numbers = [known.add(asked(prompt)) for prompt in prompts]
    labels = known.near()[0].labels
    return [int(labels[number]) for number in numbers]


def together(texts: list[str], groups: list[int]) -> set[tuple[str, str]]:
    """All pairs of texts that are in one group."""
    pairs = combinations(sorted(set(zip(texts, groups, strict=True))), 2)
    return {(one, other) for (one, group), (other, its) in pairs if group == its}


def test_case_white_space_and_forms_of_characters_make_no_other_prompt() -> None:
    assert asked(user("Where  is my\nORDER?")) == asked(user("where is my order?"))
    assert asked(user("\uff37here is my order?")).key == asked(user("where is my order?")).key
    assert asked(user("where is my order")).key != asked(user("where is my order?")).key


def test_a_system_turn_tools_and_earlier_turns_make_another_prompt() -> None:
    plain = asked(user("Hello"))
    others = [
        asked(said(("system", "Be short."), ("user", "Hello"))),
        asked(user("Hello"), [{"name": "look_up"}]),
        asked(said(("assistant", "Hi, what can I do?"), ("user", "Hello"))),
        asked((Message("user", "Hello", {"name": "Ada"}),)),
    ]
    assert len({plain.key, *(other.key for other in others)}) == 5


def test_a_long_system_turn_that_all_prompts_share_makes_none_of_them_alike() -> None:
    ids = groups_of(
        said(("system", RULES), ("user", "Where is my parcel?")),
        said(("system", RULES), ("user", "Cancel my plan at once.")),
    )
    assert len(set(ids)) == 2


def test_the_same_question_over_other_facts_is_another_prompt() -> None:
    question = "Where is my order? It should be here by now."
    ids = groups_of(
        said(
            ("system", "Order H1 of Ada Lovelace left Lyon on May 2 with Swift Parcel."), ("user", question)
        ),
        said(("system", "The order was never paid: the card of Karl Marx has expired."), ("user", question)),
    )
    assert len(set(ids)) == 2


def test_the_same_question_with_and_without_a_system_turn_is_nearly_the_same_prompt() -> None:
    ids = groups_of(said(("system", RULES), ("user", "Where is my parcel?")), user("Where is my parcel?"))
    assert len(set(ids)) == 1


def test_dialogues_that_share_a_long_menu_are_told_apart_by_what_the_user_says() -> None:
    menu = "We have espresso, latte, cappuccino, mocha, tea, cocoa, cake and sandwiches, hot or cold. " * 5
    ids = groups_of(
        said(("assistant", menu), ("user", "Two large mochas with oat milk, please.")),
        said(("assistant", menu), ("user", "Is there anything without caffeine?")),
        said(("assistant", menu), ("user", "Two large mochas with oat milk, please!")),
    )
    assert ids[0] == ids[2] != ids[1]


def test_a_typing_error_makes_a_nearly_equal_prompt_and_another_question_does_not() -> None:
    ids = groups_of(
        user("My card shows two payments of $48.95 for the same order."),
        user("My card shows two paymnets of $48.95 for the same order."),
        user("My parcel was left in the rain and everything in it is wet."),
    )
    assert ids[0] == ids[1] != ids[2]


def variants(rng: random.Random) -> list[str]:
    """Some texts, and copies of them with one character changed."""
    texts = ["".join(rng.choices(string.ascii_lowercase + " ", k=rng.randrange(30, 90))) for _ in range(12)]
    for text in texts[:8]:
        at = rng.randrange(len(text))
        texts.append(text[:at] + rng.choice("xyz") + text[at + 1 :])
    return texts


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_the_prompts(rng: random.Random) -> None:
    texts = variants(rng)
    first = together(texts, groups_of(*map(user, texts)))
    again = rng.sample(texts, len(texts)) * 2
    assert together(again, groups_of(*map(user, again))) == first


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_prompts_that_come_later_take_no_group_apart(rng: random.Random) -> None:
    texts = variants(rng)
    half = together(texts[:14], groups_of(*map(user, texts[:14])))
    assert half <= together(texts, groups_of(*map(user, texts)))


def test_the_key_of_a_prompt_is_the_same_on_any_machine() -> None:
    assert f"{asked(user('Where is my order?')).key:016x}" == "47855f450538b3a4"


def test_links_between_real_prompts_are_those_that_comparing_all_with_all_gives(test_data: Path) -> None:
    prompts = Prompts()
    numbers: list[int] = []
    texts: list[Asked] = []
    for row in read_rows(test_data / "support_taskmaster_pairs.jsonl").rows:
        number = prompts.add(asked(row.prompt))
        if number == len(texts):
            texts.append(asked(row.prompt))
            numbers.append(number)
    links = [
        (one, other)
        for one, other in combinations(numbers, 2)
        if jaccard(texts[one].user, texts[other].user) >= NEAR
        and jaccard(texts[one].dialogue, texts[other].dialogue) >= NEAR
    ]
    labels = prompts.near()[0].labels
    assert len(links) > 5
    assert [labels[one] == labels[other] for one, other in links].count(False) <= len(links) // 50
    joined = {(one, other) for one, other in combinations(numbers, 2) if labels[one] == labels[other]}
    assert {pair for pair in joined if pair not in links} <= chained(links)


def chained(links: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """All pairs that links join, by going from one to the next."""
    group: dict[int, set[int]] = {}
    for one, other in links:
        both = group.get(one, {one}) | group.get(other, {other})
        for member in both:
            group[member] = both
    return {(min(a, b), max(a, b)) for both in group.values() for a, b in combinations(both, 2)}


@given(st.lists(st.lists(st.text(st.characters()), min_size=1, max_size=4), max_size=20))
def test_a_spool_gives_back_every_text_that_was_set_aside(records: list[list[str]]) -> None:
    spool = Spool()
    for number, record in enumerate(records):
        assert spool.append(record) == number
    assert [spool[number] for number in range(len(spool))] == records
    assert json.dumps(records)  # surrogates among them do not get lost on the way


def test_a_spool_can_be_read_while_it_grows() -> None:
    spool = Spool()
    spool.append(["a" * 2_000_000, ""])
    spool.append(["b"])
    assert spool[0] == ["a" * 2_000_000, ""]
    spool.append(["c\ud800"])
    assert [spool[1], spool[2]] == [["b"], ["c\ud800"]]


@pytest.mark.parametrize("count", [0, 1])
def test_no_prompt_and_a_single_one_are_in_no_ones_company(count: int) -> None:
    prompts = Prompts()
    for _ in range(count):
        prompts.add(asked(user("Hello")))
    assert prompts.near()[0].labels.tolist() == list(range(count))
