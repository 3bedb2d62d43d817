"""Position bias: found where it is, not found where it is not, never taken from votes whose order is unknown."""

from __future__ import annotations

import numpy as np

from simpo.audit.findings import Finding
from simpo.audit.voting.annotators import annotator_figures
from simpo.audit.voting.position import position_findings
from simpo.audit.voting.votes import VoteTable
from simpo.records import Pair
from tests.audit.voting.voted import note, simulated, table_of, voted_pair


def _findings(table: VoteTable) -> dict[str, Finding]:
    return {finding.kind: finding for finding in position_findings(table, annotator_figures(table))}


def test_the_first_shown_are_counted_by_hand() -> None:
    rows = [
        voted_pair(
            0, [note("x", "chosen", "first"), note("y", "rejected", "first"), note("z", "chosen", "tie")]
        ),
        voted_pair(1, [note("x", "chosen", "second"), note("y", "rejected", "first", order="unknown")]),
    ]
    found = _findings(table_of(rows))["position_bias"]
    assert (found.count, found.of, found.unit) == (2, 3, "votes")
    # Only the first row was seen in both orders, and the first reply won in both.
    assert found.figures["within_items"]["value"] == 1.0


def test_votes_of_unknown_order_say_nothing_of_position() -> None:
    rows = [voted_pair(number, [note("x", "chosen", "first", order="unknown")]) for number in range(50)]
    assert _findings(table_of(rows)) == {}


def test_an_annotator_without_errors_but_with_a_liking_for_the_first_is_found() -> None:
    rng = np.random.default_rng(0)
    rows = simulated(rng, 400, accuracy=[1.0, 0.9, 0.9], first_bias=[0.3, 0.0, 0.0])
    found = _findings(table_of(rows))["position_bias"]
    beyond = [row["annotator"] for row in found.figures["annotators"] if row["beyond_chance"]]
    assert beyond == ["annotator-0"]
    assert found.severity == "warning"


def test_annotators_without_a_liking_are_left_alone() -> None:
    # Overall and one by one together 5 % by design: more than 14 of 200 sets would come about once in 10 times, more
    # than 20 once in 1,000.
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(200):
        found = _findings(table_of(simulated(rng, 80, accuracy=[0.9, 0.75, 0.6, 0.8], votes_each=3)))[
            "position_bias"
        ]
        flagged += found.figures["beyond_chance"] or any(
            row["beyond_chance"] for row in found.figures["annotators"]
        )
    assert flagged <= 14


def test_where_quality_decides_the_order_the_effect_within_items_is_none() -> None:
    # The better reply stands first in 80 % of the cases and always wins: the share says 80 %, the items say 50 %.
    rng = np.random.default_rng(2)
    rows = []
    for number in range(300):
        orders = ["chosen" if rng.random() < 0.8 else "rejected" for _ in range(3)]
        votes = [
            note(f"a{at}", first, "first" if first == "chosen" else "second")
            for at, first in enumerate(orders)
        ]
        rows.append(voted_pair(number, votes))
    figures = _findings(table_of(rows))["position_bias"].figures
    assert figures["first"]["low"] > 0.75
    assert figures["within_items"]["value"] == 0.5


def test_an_order_that_never_varies_is_said_to_prove_little() -> None:
    rows = [voted_pair(number, [note("x", "chosen", "first")]) for number in range(60)]
    found = _findings(table_of(rows))["position_bias"]
    assert found.figures["within_items"] is None
    assert "No item was shown in both orders" in found.action


def _both_orders(number: int, first_verdict: str, second_verdict: str) -> list[Pair]:
    """Two rows of the same two replies; the second shows them the other way round."""
    one = voted_pair(number, [note("x", "chosen", first_verdict)], prompt=f"p{number}")
    two = voted_pair(number, [note("x", "rejected", second_verdict)], prompt=f"p{number}")
    return [one, two]


def test_verdicts_that_turn_with_the_order_are_counted() -> None:
    rows = [
        *_both_orders(0, "first", "first"),
        *_both_orders(1, "second", "second"),
        *_both_orders(2, "first", "second"),
        *_both_orders(3, "first", "tie"),
        voted_pair(9, [note("x", "chosen", "first")]),
    ]
    found = _findings(table_of(rows))["order_turns_verdict"]
    assert (found.count, found.of) == (2, 4)
    figures = found.figures
    assert (figures["first_both_times"], figures["second_both_times"]) == (1, 1)
    assert (figures["same"], figures["with_a_tie"]) == (1, 1)


def test_it_does_not_matter_which_row_calls_which_reply_chosen() -> None:
    # The same verdict for the good reply, once labelled chosen and once rejected, seen first and then second.
    one = voted_pair(0, [note("x", "chosen", "first")], prompt="p")
    two = voted_pair(1, [note("x", "chosen", "second")], prompt="p", chosen=one.rejected, rejected=one.chosen)
    found = _findings(table_of([one, two]))["order_turns_verdict"]
    assert (found.count, found.figures["same"]) == (0, 1)


def test_two_annotators_who_differ_turn_no_verdict() -> None:
    rows = [
        voted_pair(0, [note("x", "chosen", "first"), note("y", "rejected", "first")], prompt="p"),
    ]
    assert "order_turns_verdict" not in _findings(table_of(rows))
