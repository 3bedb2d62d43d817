"""Ranked answers become the pairs that the policy says, ties never, and each keeps what is known of its answers."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.data.pairing import PAIRINGS, merged, pairs_of, stated_margin
from simpo.data.read import read_rows
from simpo.data.reasons import BadRow
from simpo.data.shapes import Answer, Opinion, Pairing, Parts, Ranked
from simpo.errors import DataError, RecipeError
from simpo.records import Message
from tests.data.written import GOOD, error_of, put

PROMPT = (Message("user", "Hi"),)


def ranked(*scores: float | None, **options: Any) -> Ranked:
    answers = (Answer(f"answer {index}", f"[{index}]", score) for index, score in enumerate(scores))
    return Ranked(PROMPT, tuple(answers), **options)


def compared(item: Ranked, pairing: Pairing, min_margin: float = 0.0) -> list[tuple[int, int]]:
    """The pairs as indices, better first."""
    index = {answer.text: place for place, answer in enumerate(item.answers)}
    found = pairs_of(item, pairing, min_margin)
    return [(index[one.completions[0]], index[one.completions[1]]) for one in found if isinstance(one, Parts)]


def reason_of(item: Ranked, pairing: Pairing = "best_worst", min_margin: float = 0.0) -> str:
    with pytest.raises(BadRow) as bad:
        pairs_of(item, pairing, min_margin)
    return bad.value.reason


# Scores 3, 5, 1, 5: the order is 1, 3, 0, 2.
@pytest.mark.parametrize(
    ("pairing", "min_margin", "expected"),
    [
        ("best_worst", 0, [(1, 2)]),
        ("all", 0, [(1, 0), (1, 2), (3, 0), (3, 2), (0, 2)]),
        ("adjacent", 0, [(3, 0), (0, 2)]),
        ("all", 3, [(1, 2), (3, 2)]),
        ("best_worst", 4, [(1, 2)]),
    ],
)
def test_each_policy_compares_the_answers_that_it_names(
    pairing: Pairing, min_margin: float, expected: list[tuple[int, int]]
) -> None:
    assert compared(ranked(3, 5, 1, 5), pairing, min_margin) == expected


def test_a_margin_is_not_missed_by_a_rounding_error() -> None:
    assert compared(ranked(0.9, 0.4), "all", 0.5) == [(0, 1)]


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_why_no_pair_is_left_is_said(pairing: Pairing) -> None:
    assert reason_of(ranked(2, 2, 2), pairing) == "tie"
    assert reason_of(ranked(2, 1), pairing, 1.5) == "small_margin"
    assert reason_of(ranked(2), pairing) == "unranked"
    assert reason_of(ranked(None, None), pairing) == "unlabelled"
    same = Ranked(PROMPT, (Answer("a", "[0]", 1), Answer("a", "[1]", 2)))
    assert reason_of(same, pairing) == "identical"
    blank = Ranked(PROMPT, (Answer(" ", "[0]", 1), Answer("a", "[1]", 2)))
    assert reason_of(blank, pairing) == "empty_answer"


def test_an_empty_answer_among_others_is_counted_and_costs_no_other() -> None:
    item = Ranked(PROMPT, (Answer("a", "[0]", 1), Answer("", "[1]", 9), Answer("b", "[2]", 2)))
    pair, blank = pairs_of(item, "best_worst", 0)
    assert isinstance(pair, Parts) and pair.completions == ("b", "a")
    assert isinstance(blank, BadRow) and str(blank) == "[1] is empty"


@given(st.lists(st.integers(0, 4), min_size=2, max_size=7), st.integers(0, 4))
def test_all_pairs_are_those_with_margin_and_the_other_policies_are_among_them(
    scores: list[int], min_margin: int
) -> None:
    item = ranked(*scores)
    wanted = {
        (better, worse)
        for one in combinations(range(len(scores)), 2)
        for better, worse in (one, one[::-1])
        if scores[better] - scores[worse] >= max(min_margin, 1)
    }
    found = {}
    for pairing in PAIRINGS:
        try:
            found[pairing] = compared(item, pairing, min_margin)
        except BadRow as bad:
            assert bad.reason in ("tie", "small_margin")
            found[pairing] = []
    assert sorted(found["all"]) == sorted(wanted)
    assert set(found["best_worst"]) | set(found["adjacent"]) <= wanted
    assert len(found["best_worst"]) == bool(wanted)


def test_of_two_answers_more_than_half_of_the_opinions_decide_and_of_more_their_mean() -> None:
    def of(*scores: tuple[float, ...]) -> Ranked:
        opinions = tuple(Opinion(str(index), one) for index, one in enumerate(scores))
        return ranked(*[None] * len(scores[0]), opinions=opinions)

    assert compared(of((0, 1), (0, 1), (1, 0)), "best_worst") == [(1, 0)]
    # Two for the second and two ties: half is not more than half.
    assert reason_of(of((0, 1), (0, 1), (0, 0), (0, 0))) == "tie"
    assert compared(of((-1, -2, -3), (-2, -3, -1)), "all") == [(0, 2), (0, 1), (2, 1)]


def test_annotations_say_who_saw_which_reply_first_and_took_which() -> None:
    opinions = (Opinion("ann", (0, 1, 2)), Opinion("bob", (3, 1, 3), ordered=False))
    item = ranked(5, 1, 9, opinions=opinions)
    pair, *_ = pairs_of(item, "all", 0)
    assert isinstance(pair, Parts) and pair.completions == ("answer 2", "answer 0")
    assert pair.extra["annotations"] == [
        {"annotator": "ann", "first": "rejected", "choice": "second"},
        {"annotator": "bob", "first": "rejected", "choice": "tie", "order": "unknown"},
    ]


def test_every_good_reply_is_paired_with_every_bad_one_and_one_rated_both_ways_with_none() -> None:
    def rated(text: str, good: bool) -> Ranked:
        return Ranked(PROMPT, (Answer(text, '"completion"', float(good)),), key=PROMPT, rated=True)

    pieces = [
        rated(*one)
        for one in (("a", True), ("b", False), ("c", True), ("d", False), ("e", True), ("e", False))
    ]
    pairs = [one.completions for one in pairs_of(merged(pieces), "best_worst", 0) if isinstance(one, Parts)]
    assert pairs == [("a", "b"), ("a", "d"), ("c", "b"), ("c", "d")]


def rate(prompt: str, completion: str, label: object, **others: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label, **others}


def test_ratings_keep_their_lines_and_what_both_rows_say_and_lone_ones_are_counted(tmp_path: Path) -> None:
    rows = [
        rate("p", "good", True, category="billing", id="1"),
        rate("q", "alone", True),
        rate("p", "bad", False, category="billing", id="2"),
    ]
    dataset = read_rows(put(tmp_path, "\n".join(map(json.dumps, rows))))
    (pair,) = dataset.rows
    assert (pair.completions, pair.category, pair.source.line) == (("good", "bad"), "billing", 1)
    assert pair.extra == {"category": "billing", "line_chosen": 1, "line_rejected": 3}
    (lone,) = dataset.dropped
    assert (lone.reason, lone.source.line, lone.detail) == (
        "unpaired", 2, "the prompt has only good ratings (prompt 'q')",
    )  # fmt: skip


def test_ratings_without_any_pair_say_what_would_make_one(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(rate("p", "a", True)) + "\n" + json.dumps(rate("q", "b", False)))
    assert error_of(path).startswith(
        "train.jsonl: no row can be used (2 unpaired); the first, train.jsonl:1: the prompt has only good ratings "
        "(prompt 'p')\n  fix: a pair needs a good and a bad reply to the same prompt, word for word: "
    )


def test_a_tie_stops_nothing_and_is_counted(tmp_path: Path) -> None:
    row = {"prompt": "p", "response1": "a", "response2": "b", "preference": 0}
    path = put(tmp_path, "\n".join(json.dumps({**row, "preference": lead}) for lead in (0, 2, -1)))
    dataset = read_rows(path)
    assert [one.completions for one in dataset.rows] == [("b", "a"), ("a", "b")]
    assert dataset.dropped_counts() == {"tie": 1}
    assert len(read_rows(path, min_margin=2).rows) == 1
    assert "lower data.min_margin" in error_of(path, min_margin=3)


@pytest.mark.parametrize(
    ("row", "margin"),
    [
        ({"score_chosen": 8, "score_rejected": 6.5}, 1.5),
        ({"chosen_score": "3", "rejected_score": "1"}, 2),
        ({"margin": 1.0}, 1),
        ({"score_chosen": 8}, None),
        ({"score_chosen": True, "score_rejected": False}, None),
        ({"score_chosen": "nan", "score_rejected": 1}, None),
        ({}, None),
    ],
)
def test_a_pair_that_is_given_with_scores_says_its_margin(row: dict[str, Any], margin: float | None) -> None:
    assert stated_margin(row) == margin


def test_given_pairs_are_taken_at_their_word_unless_a_margin_is_asked_for(tmp_path: Path) -> None:
    scores = [(5, 5), (7, 6), (9, 4), (3, 4)]
    rows = [{**GOOD, "score_chosen": one, "score_rejected": other} for one, other in scores]
    path = put(tmp_path, "\n".join(map(json.dumps, rows)))
    assert len(read_rows(path).rows) == 4
    dataset = read_rows(path, min_margin=2)
    assert [row.extra["score_chosen"] for row in dataset.rows] == [9]
    assert dataset.dropped_counts() == {"small_margin": 2, "tie": 1}


def test_a_margin_without_scores_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(GOOD))
    assert error_of(path, min_margin=0.5).startswith(
        "train.jsonl: min_margin 0.5 has no effect: no row says by how much a reply is better\n  fix: "
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairing": "best-worst"}, "pairing 'best-worst' is not one of best_worst, all, adjacent\n  fix: did you "
         "mean best_worst?"),
        ({"min_margin": -1.0}, "min_margin -1.0 is not a number from 0 on"),
        ({"min_margin": float("nan")}, "min_margin nan is not a number from 0 on"),
        ({"format": "alpaca_rankin"}, "there is no format 'alpaca_rankin' of pairs\n  fix: did you mean "
         "alpaca_ranking? The formats are "),
        ({"format": "alpaca"}, "the format alpaca holds examples, and pairs are needed"),
    ],
)  # fmt: skip
def test_an_option_that_is_none_is_refused_with_the_nearest(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        read_rows(put(tmp_path, json.dumps(GOOD)), **options)
    assert str(error.value).startswith(said)


def test_a_column_that_is_nowhere_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps({"question": "a", "chosen": "b", "rejected": "c"}))
    assert error_of(path, columns={"prompt": "questoin"}) == (
        "train.jsonl: data.columns names the column 'questoin', which is in none of the first 1 rows\n"
        "  fix: did you mean question? The columns are 'question', 'chosen', 'rejected'"
    )
    # A file that has the format's own name already needs no other.
    assert read_rows(path, columns={"prompt": "question", "chosen": "best"}).format == "trl_standard"


def test_columns_can_be_swapped_and_never_overwrite_one(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps({**GOOD, "best": "x"}))
    swapped = read_rows(path, columns={"chosen": "rejected", "rejected": "chosen"}).rows[0]
    assert swapped.completions == (GOOD["rejected"], GOOD["chosen"])
    with pytest.raises(DataError, match='makes "best" the "chosen" of a row that has a "chosen" too'):
        read_rows(path, columns={"chosen": "best"})
