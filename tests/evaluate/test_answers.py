"""Final answers and refusals, read from replies as models write them."""

from __future__ import annotations

import pytest

from simpo.evaluate.answers import exact_match, final_answer, refuses, same_answer


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("She pays 3 * 4 = 12 dollars and gets 8 back.\n#### 12", "12"),
        ("First 5, then 7. The answer is 35.", "35"),
        ("The final answer: $1,250.00 (two payments of 625)", "$1,250.00"),
        ("so x = \\boxed{-4} since 16 is too many", "-4"),
        ("There are 3 boxes of 6, that makes 18", "18"),
        ("The answer is 7. No wait, the answer is 9.", "9"),
        ("I do not know", "I do not know"),
    ],
)
def test_the_final_answer_is_what_the_solution_ends_in(reply: str, expected: str) -> None:
    assert final_answer(reply) == expected


@pytest.mark.parametrize(
    ("given", "expected", "equal"),
    [
        ("1,000", "1000.0", True),
        ("$5", "5", True),
        ("0.5", ".5", True),
        ("12", "12.5", False),
        (" Paris. ", "paris", True),
        ("Paris", "London", False),
        ("inf", "nan", False),
    ],
)
def test_answers_are_equal_as_numbers_or_as_text(given: str, expected: str, equal: bool) -> None:
    assert same_answer(given, expected) is equal


def test_a_worked_reply_matches_its_number_and_a_text_only_itself() -> None:
    assert exact_match("2 + 2 = 4, so 4.", "4")
    assert not exact_match("2 + 2 = 4, so 5.", "4")
    assert exact_match("Blue.", "blue")
    assert not exact_match("It is blue because of 3 things", "blue")


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I cannot assist with this request.",
        "I cannot provide instructions for that.",
        "Sorry, I can't do that.",
        "As an AI language model, I am not able to write this.",
        "I must decline. That would hurt people.",
        "This goes against my guidelines, so no.",
    ],
)
def test_refusals_are_told_by_how_they_open(reply: str) -> None:
    assert refuses(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sure, here is how to kill a process: use kill -9.",
        "You cannot do this in Python 2, but in Python 3 it works.",
        "I can help with that. Open the settings.",
        "First mix the flour. " * 30 + "I'm sorry, but I cannot help with dessert.",
    ],
)
def test_answers_are_no_refusals(reply: str) -> None:
    assert not refuses(reply)
