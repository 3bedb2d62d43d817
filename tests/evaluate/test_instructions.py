"""Every kind of instruction that is verified here: a reply that follows it and one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.evaluate.instructions import CHECKS, follows

EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "punctuation:no_comma": ({}, "One and two.", "One, two."),
    "startend:quotation": ({}, ' "All of it." ', 'He said "all of it"'),
    "startend:end_checker": ({"end_phrase": "Any questions?"}, "Done. any questions?", "Any questions? Yes."),
    "length_constraints:number_words": (
        {"relation": "less than", "num_words": 4}, "it's well-made work", "one two three four"
    ),
    "length_constraints:number_sentences": (
        {"relation": "at least", "num_sentences": 2}, "Dr. Who came. He left!", "Dr. Who came and Mr. Smith left."
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "First.\n***\nSecond.", "First.\n\nSecond."),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "later"},
        "One.\n\n\"Later\" it rained.", "Later.\n\nIt rained.",
    ),
    "keywords:existence": ({"keywords": ["war", "peace"]}, "War and peace.", "War and piece."),
    "keywords:forbidden_words": ({"forbidden_words": ["rock"]}, "A rocket.", "A ROCK!"),
    "keywords:frequency": ({"relation": "at least", "keyword": "no", "frequency": 2}, "No, no.", "No."),
    "keywords:letter_frequency": (
        {"let_relation": "less than", "letter": "t", "let_frequency": 2}, "The end", "The tent"
    ),
    "change_case:english_lowercase": ({}, "all lower.", "Not all"),
    "change_case:english_capital": ({}, "ALL UPPER 1.", "Not ALL"),
    "change_case:capital_word_frequency": (
        {"capital_relation": "at least", "capital_frequency": 2}, "NASA and ESA", "NASA and Esa"
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, "*one* and **two**", "*one* and * *"
    ),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a\n- b\n* c"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\nx\nSECTION 2\ny", "SECTION 1\nx"
    ),
    "detectable_format:title": ({}, "<<A title>>\ntext", "<< >> text"),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "a: 1"),
    "detectable_format:constrained_response": ({}, "My answer is no.", "No."),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name] of [place]", "[name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Bye.\nP.S. Call.", "Bye. P for Peter"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say hi."}, "Say hi.\nHi.", "Hi."),
    "combination:two_responses": ({}, "One.\n******\nTwo.", "One.\n******\nOne."),
}  # fmt: skip


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == set(CHECKS)


@pytest.mark.parametrize("kind", CHECKS)
def test_a_reply_that_follows_and_one_that_does_not(kind: str) -> None:
    arguments, good, bad = EXAMPLES[kind]
    assert follows(kind, good, arguments) is True
    assert follows(kind, bad, arguments) is False
    assert follows(kind, "  ", arguments) is False


def test_an_unknown_kind_or_unknown_arguments_are_not_checked() -> None:
    assert follows("language:response_language", "hallo", {"language": "de"}) is None
    assert follows("keywords:frequency", "no", {"keyword": "no"}) is None
    assert (
        follows("keywords:frequency", "no", {"relation": "around", "keyword": "no", "frequency": 1}) is None
    )


def test_nearly_all_instructions_of_a_published_set_can_be_checked(test_data: Path) -> None:
    lines = (test_data / "regression" / "ifeval.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    checks = [
        follows(kind, "A short reply.", {k: v for k, v in given.items() if v is not None})
        for row in rows
        for kind, given in zip(row["instruction_id_list"], row["kwargs"], strict=True)
    ]
    assert sum(check is None for check in checks) / len(checks) < 0.05
    assert {True, False} <= set(checks)
