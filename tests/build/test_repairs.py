"""Which repairs the words of a recipe ask for, and what each does to a pair."""

from __future__ import annotations

import numpy as np
import pytest

from simpo.audit.described import DESCRIBED
from simpo.audit.findings import Finding, Repair, Severity
from simpo.audit.mend import MENDS
from simpo.build.repairs import COPIES, apply, plan_repairs, repairable, swapped, wanted_repairs
from simpo.data.reasons import REASONS
from simpo.records import Message, Pair, Source

PAIR = Pair((Message("user", "Where is it?"),), "<|im_start|>On its way.", "No idea.", Source("a.jsonl", 3))


def finding(kind: str, repair: Repair | None, rows: list[int], severity: Severity = "warning") -> Finding:
    numbers = np.array(rows, dtype=np.int64)
    return Finding(kind, severity, "title", "action", len(rows), 9, rows=numbers, repair=repair)


FOUND = [
    finding("secret", "drop", [1], "error"),
    finding("contradiction", "drop", [1, 2]),
    finding("near_duplicate", "drop", [3]),
    finding("control_tokens", "mend", [0, 2]),
    finding("label_against_votes", "swap", [0], "error"),
    finding("html_entities", "mend", [4], "note"),
    finding("suspected_flip", "drop", [4]),
    finding("role_order", None, [5]),
]


def test_every_kind_that_the_audit_can_repair_can_be_named() -> None:
    """But for rows that were never read, and what only a model can tell."""
    offered = {kind for kind, about in DESCRIBED.items() if about.repair is not None}
    assert offered - repairable().keys() == {kind for kind in REASONS if kind in offered} | {"unrenderable"}
    assert {kind for kind, repair in repairable().items() if repair == "mend"} == set(MENDS)
    assert set(COPIES) < repairable().keys()


def test_the_default_is_what_the_audit_advises_but_for_notes_and_guesses() -> None:
    assert wanted_repairs(["default"]).actions(FOUND) == {
        "exact_duplicate": "drop",
        "secret": "drop",
        "contradiction": "drop",
        "near_duplicate": "drop",
        "control_tokens": "mend",
    }


def test_copies_are_dropped_by_default_however_few_they_are() -> None:
    few = [finding("near_duplicate", "drop", [3], "note"), finding("html_entities", "mend", [4], "note")]
    assert wanted_repairs(["default"]).actions(few) == {"exact_duplicate": "drop", "near_duplicate": "drop"}
    assert wanted_repairs(["default", "near_duplicate=keep"]).actions(few) == {"exact_duplicate": "drop"}


@pytest.mark.parametrize(
    ("words", "actions"),
    [
        (["none"], {}),
        (["secret"], {"secret": "drop"}),
        (["control_tokens"], {"control_tokens": "mend"}),
        (["control_tokens=drop", "secret=keep"], {"control_tokens": "drop"}),
        (["label_against_votes"], {"label_against_votes": "swap"}),
        (["suspected_flip", "none", "suspected_flip=swap"], {"suspected_flip": "swap"}),
        (["secret", "none", "html_entities"], {"html_entities": "mend"}),
        (["default", "none", "exact_duplicate"], {"exact_duplicate": "drop"}),
    ],
)
def test_kinds_can_be_named_with_what_is_done_about_them(words: list[str], actions: dict[str, str]) -> None:
    assert wanted_repairs(words).actions(FOUND) == actions


def test_a_named_kind_wins_over_the_default() -> None:
    words = ["default", "near_duplicate=keep", "contradiction=keep", "label_against_votes=drop"]
    actions = wanted_repairs(words).actions(FOUND)
    assert actions == {
        "exact_duplicate": "drop",
        "secret": "drop",
        "control_tokens": "mend",
        "label_against_votes": "drop",
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("near_duplicates", "did you mean near_duplicate?"),
        ("qqq", "the kinds are benchmark_prompt,"),
        ("secret=burn", "a repair is one of drop, swap, mend, keep"),
        ("secret=mend", "secret cannot be repaired by mend"),
        ("exact_duplicate=swap", "exact_duplicate cannot be repaired by swap"),
    ],
)
def test_a_word_that_means_nothing_is_refused_with_what_was_meant(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        wanted_repairs([word])


def test_the_plan_lists_what_happens_to_each_pair_in_the_order_of_the_findings() -> None:
    plan = plan_repairs(FOUND, wanted_repairs(["default", "label_against_votes"]).actions(FOUND))
    assert dict(plan.steps) == {
        0: [("control_tokens", "mend"), ("label_against_votes", "swap")],
        1: [("secret", "drop"), ("contradiction", "drop")],
        2: [("contradiction", "drop"), ("control_tokens", "mend")],
    }  # copies are found anew, among the pairs that are kept


def test_a_pair_is_mended_and_then_swapped() -> None:
    outcome = apply([("label_against_votes", "swap"), ("control_tokens", "mend")], PAIR)
    assert outcome.pair is not None
    assert (outcome.pair.chosen, outcome.pair.rejected) == ("No idea.", "On its way.")
    assert outcome.done == (("control_tokens", "mend", ""), ("label_against_votes", "swap", ""))


def test_two_reasons_to_swap_swap_once() -> None:
    outcome = apply([("label_against_votes", "swap"), ("other", "swap")], PAIR)
    assert outcome.pair is not None and outcome.pair.chosen == "No idea."
    assert outcome.done == (("label_against_votes", "swap", ""),)


def test_one_reason_to_drop_is_enough_and_the_first_is_counted() -> None:
    outcome = apply([("control_tokens", "mend"), ("secret", "drop"), ("near_duplicate", "drop")], PAIR)
    assert outcome.pair is None and outcome.done == (("secret", "drop", ""),)


def test_a_mend_that_changes_nothing_is_not_counted() -> None:
    plain = Pair(PAIR.prompt, "On its way.", "No idea.", PAIR.source)
    assert apply([("control_tokens", "mend")], plain).done == ()


def test_a_pair_of_which_mending_leaves_no_pair_is_dropped_and_says_why() -> None:
    same = Pair(PAIR.prompt, "<|im_start|>No.", "No.", PAIR.source)
    outcome = apply([("control_tokens", "mend")], same)
    assert outcome.pair is None
    assert outcome.done == (
        ("control_tokens", "drop", 'cannot be mended: "chosen" and "rejected" are equal'),
    )


def test_a_swap_turns_round_what_the_other_columns_say_of_the_replies() -> None:
    extra = {
        "score_chosen": 7.5,
        "score_rejected": 2,
        "chosen_model": "a",
        "rejected_model": "b",
        "chosen_by": "x",
        "ticket": 4,
        "annotations": [
            {"annotator": "ann", "first": "chosen", "choice": "first"},
            {"annotator": "bob", "first": "rejected", "choice": "tie"},
            "unread",
        ],
    }
    pair = Pair(PAIR.prompt, PAIR.chosen, PAIR.rejected, PAIR.source, "billing", extra)
    turned = swapped(pair)
    assert turned.extra == {
        "score_rejected": 7.5,
        "score_chosen": 2,
        "rejected_model": "a",
        "chosen_model": "b",
        "rejected_by": "x",
        "ticket": 4,
        "annotations": [
            {"annotator": "ann", "first": "rejected", "choice": "first"},
            {"annotator": "bob", "first": "chosen", "choice": "tie"},
            "unread",
        ],
    }
    assert swapped(turned).extra == extra and swapped(turned).id == pair.id
