"""Differences of two texts, word by word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simpo.report.diff import MAX_WORDS, Difference, difference
from simpo.report.words import visible


def own(found: Difference) -> tuple[list[str], list[str]]:
    """The marked stretches of both sides."""
    first, second = ([piece.text for piece in side if piece.own] for side in (found.first, found.second))
    return first, second


def test_only_the_words_that_differ_are_marked() -> None:
    found = difference("It ships on Friday by DHL.", "It ships on Monday, with luck, by DHL.")
    assert own(found) == (["Friday"], ["Monday, with luck,"])


def test_a_word_is_not_split_and_signs_stand_alone() -> None:
    assert own(difference("Order H-4222 came.", "Order H-4223 came.")) == (["4222"], ["4223"])


def test_scripts_without_blanks_are_compared_sign_by_sign() -> None:
    assert own(difference("返品は三十日以内です", "返品は六十日以内です")) == (["三"], ["六"])


def test_equal_texts_have_no_marks() -> None:
    assert own(difference("the same", "the same")) == ([], [])


def test_texts_that_share_little_stay_unmarked() -> None:
    found = difference("Refund sent today.", "I cannot help with any of these questions, please call us")
    assert not found.marked and own(found) == ([], [])


def test_an_empty_side_and_a_very_long_one_stay_unmarked() -> None:
    assert not difference("", "words").marked
    assert not difference("a " * (MAX_WORDS + 1), "a " * (MAX_WORDS + 1)).marked


def test_what_cannot_be_seen_is_made_visible_and_plain_text_is_not_touched() -> None:
    assert visible("a\u200bb\x07c\u202ed") == "a[U+200B]b␇c[U+202E]d"
    assert visible("naïve 返品 ✓\n\ttab") == "naïve 返品 ✓\n\ttab"


@given(st.text(max_size=80), st.text(max_size=80))
def test_both_texts_come_back_whole(first: str, second: str) -> None:
    found = difference(first, second)
    assert "".join(piece.text for piece in found.first) == visible(first)
    assert "".join(piece.text for piece in found.second) == visible(second)
