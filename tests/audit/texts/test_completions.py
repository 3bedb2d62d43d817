"""How completions begin, end and refuse, and on which side each trait stands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.tally import Sides, Tally, around
from simpo.audit.texts.openings import Openings, opening
from simpo.audit.texts.phrases import Phrases, placeholder, refuses
from simpo.audit.texts.truncation import Truncation, looks_cut
from simpo.audit.texts.view import view_of
from tests.audit.made import found_by, pair

PROSE = (
    "Thank you for writing to us about your order. I have looked it up, and the lamp left our store in Lyon on Monday. "
    "It should be with you on Friday at the latest. Please tell me if it is not. "
)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("We would like to make up for the wait and", "ends in the middle of a sentence"),
        ("We would like to offer you these things,", "ends in the middle of a sentence"),
        ("We would like to make up for the wait with a vouch", "ends without a full stop"),
        ("```python\nprint('order')\n", "an open code fence"),
    ],
)
def test_a_long_text_that_stops_in_the_middle_looks_cut(end: str, why: str) -> None:
    assert looks_cut(PROSE + end) is None or "`" not in end
    assert looks_cut(f"{PROSE}{chr(10) if '`' in end else ''}{end}") == why


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        f"{PROSE}\n\nKind regards,\nThe team of Harbor Support",
        f"{PROSE}\n\nBest wishes,",
        f"{PROSE}\n- the lamp with the green shade and\n- the kettle with the long cord",
        f"{PROSE}\n1. The lamp with the green shade that you ordered",
        f"{PROSE}\n```\nprint('order')\n```",
        f"{PROSE}\nTrack it at https://harbor.test/orders/with/a/long/path/to/it",
        f"{PROSE}#orders #lamps #delivery",
        f"{PROSE}You can reach me at: 42",
        "Roses are red\nViolets are blue\n" * 10 + "and this is a line of a poem that has no end",
        "It left Lyon and",
        "x" * 500,
        "",
    ],
)
def test_texts_that_end_as_they_should_and_short_ones_do_not_look_cut(text: str) -> None:
    assert looks_cut(text) is None


def test_cut_completions_are_a_warning_where_the_chosen_side_is_cut_often_or_the_cut_side_wins() -> None:
    cut = PROSE + "We would like to make up for the wait and"
    rarely = [pair(rejected=cut)] * 10 + [pair()] * 90
    assert found_by(Truncation(), *rarely)["truncated"].severity == "note"
    often = [pair(chosen=cut)] * 6 + [pair()] * 94
    assert found_by(Truncation(), *often)["truncated"].severity == "warning"
    wins = [pair(chosen=cut)] * 20 + [pair(rejected=cut)] * 3 + [pair()] * 477
    finding = found_by(Truncation(), *wins)["truncated"]
    assert finding.severity == "warning"
    # Wilson's interval of 20 in 23: 0.87 (0.679 to 0.955).
    assert (
        "of 23 pairs where one side alone does, it is the chosen side in 87 % (68 % to 95 %)" in finding.title
    )


def phrase_of(match: re.Match[str] | None) -> str | None:
    return None if match is None else match[0]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("I'm sorry, but I can't help with that.", "I'm sorry, but I can't"),
        ("I\u2019m sorry, I cannot provide this.", "I'm sorry, I cannot"),
        ("As an AI language model, I have no opinion.", "As an AI"),
        ("I apologize, but I am unable to assist you.", "I apologize, but I am unable to assist"),
        ("I am an AI and do not have a body.", "I am an AI"),
        ("Thank you. I won't write that for you.", "I won't write"),
    ],
)
def test_phrases_of_refusal_are_found_with_any_apostrophe(text: str, phrase: str) -> None:
    assert phrase_of(refuses(text)) == phrase


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry that your lamp broke. I can help.",
        "Customers cannot provide a receipt at times.",
        "You can't share a voucher.",
        "AI is a language model topic.",
        f"{'word ' * 70}I cannot help with that.",
    ],
)
def test_being_sorry_and_what_others_cannot_do_is_no_refusal(text: str) -> None:
    assert refuses(text) is None


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Dear {{name}},", "{{name}}"),
        ("Dear [Your Name],", "[Your Name]"),
        ("[Insert date here]", "[Insert date here]"),
        ("<YOUR_NAME>", "<YOUR_NAME>"),
        ("Lorem ipsum dolor", "Lorem ipsum"),
    ],
)
def test_placeholders_are_found_outside_of_code_alone(text: str, phrase: str) -> None:
    assert phrase_of(placeholder(text)) == phrase
    assert placeholder(f"Use this:\n```\n{text}\n```") is None
    assert "placeholders" in found_by(Phrases(), pair(rejected=text))


@pytest.mark.parametrize(
    "text",
    ["data[name]", "[1] and [2]", "[your link](https://harbor.test)", "f(x) = {{1, 2}, {3}}", "<b>", "[sic]"],
)
def test_indices_links_and_sets_are_no_placeholders(text: str) -> None:
    assert placeholder(text) is None


def test_openings_that_many_share_are_counted_on_both_sides() -> None:
    pairs = [
        pair(chosen=f"Sure, I'd be happy to help with {number}.", rejected=f"No. {number} is gone.")
        for number in range(6)
    ]
    pairs += [
        pair(chosen=f"{number} is on its way to you.", rejected="SURE, I'd be *happy*!")
        for number in range(94)
    ]
    finding = found_by(Openings(), *pairs)["common_openings"]
    (first, *_) = finding.figures["openings"]
    assert (first["opening"], first["chosen"], first["rejected"]) == ("sure i'd be happy", 6, 94)
    assert finding.title.startswith(
        "1 opening begins at least 2.0 % of the completions of a side; the commonest, "
    )
    different = [pair(chosen=f"{number} is on its way", rejected=f"{number} is gone") for number in range(30)]
    assert found_by(Openings(), *different) == {}


def test_the_openings_kept_are_bounded_and_a_common_one_is_never_forgotten() -> None:
    check, view = Openings(max_kept=100), view_of(pair())
    for number in range(3000):
        text = pair(
            chosen=f"{number} is rare" if number % 10 else "Sure, that is common.",
            rejected=f"{number % 300} no",
        )
        check.look(number, text, view)
        assert all(len(side) <= 100 for side in check.sides)
    assert check.sides[0]["sure that is common"] == 300


@given(st.text(max_size=120))
def test_an_opening_is_at_most_four_words_without_case(text: str) -> None:
    words = opening(text)
    assert words == words.casefold()
    assert len(words.split()) <= 4


def test_answers_that_a_program_can_check_are_told_by_their_column_or_their_mark() -> None:
    boxed = pair(chosen="So \\boxed{4}", rejected="So \\boxed{5}")
    one_side = pair(chosen="So \\boxed{4}", rejected="So five")
    marked = pair(chosen="2 + 2\n#### 4", rejected="2 + 2\n#### 5")
    finding = found_by(Phrases(), pair(), pair(answer="4"), pair(answer=None), boxed, one_side, marked)
    assert finding["verifiable_answers"].rows.tolist() == [1, 3, 5]
    assert finding["verifiable_answers"].figures == {"columns": {"answer": 1}}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_the_counts_of_the_sides_add_up(seen: list[tuple[bool, bool]]) -> None:
    sides = Sides()
    for chosen, rejected in seen:
        sides.see(chosen, rejected)
    both = sum(chosen and rejected for chosen, rejected in seen)
    assert sides.chosen == sides.only_chosen + both
    assert sides.rejected == sides.only_rejected + both
    assert sides.figures()["chosen"]["value"] == sum(chosen for chosen, _ in seen) / len(seen)
    swapped = Sides()
    for chosen, rejected in seen:
        swapped.see(rejected, chosen)
    assert swapped.figures()["only_chosen"] == sides.figures()["only_rejected"]


def test_a_tally_counts_a_pair_once_and_keeps_five_examples() -> None:
    tally = Tally()
    for number in (3, 3, 7, 8, 9, 10, 11):
        tally.add(number, pair(line=number), "seen")
    assert tally.rows.tolist() == [3, 7, 8, 9, 10, 11]
    assert [example.source.line for example in tally.examples] == [3, 7, 8, 9, 10]


@given(st.text(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_what_stands_around_a_place_is_one_short_line(text: str, one: int, other: int) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    shown = around(text, start, end)
    assert len(shown) <= 140
    assert "\n" not in shown
