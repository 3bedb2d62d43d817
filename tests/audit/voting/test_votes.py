"""Votes as arrays: what each annotation says, in which order, and that no annotation of another form stops an audit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.voting.votes import TIE, UNKNOWN, A, B, label_margin
from tests.audit.voting.voted import note, table_of, tie, voted_pair

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["first", "chosen", "tie"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["annotator", "first", "choice", "order"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def test_a_is_the_reply_that_the_first_vote_saw_first() -> None:
    notes = [note("x", "rejected", "second"), note("y", "chosen", "first"), note("z", "rejected", "tie")]
    table = table_of([voted_pair(0, notes)])
    # A is the rejected reply: x saw it first and took the other one, y saw the other one first and took it.
    assert table.took.tolist() == [B, B, TIE]
    assert table.first.tolist() == [A, B, A]
    assert table.chosen.tolist() == [B]
    assert table.counts().tolist() == [[0, 2, 1]]


def test_names_of_the_replies_do_not_depend_on_the_label() -> None:
    right = voted_pair(0, [note("x", "chosen", "first"), note("y", "rejected", "first")])
    turned = voted_pair(
        0,
        [note("x", "rejected", "first"), note("y", "chosen", "first")],
        chosen=right.rejected,
        rejected=right.chosen,
    )
    one, other = table_of([right]), table_of([turned])
    assert one.took.tolist() == other.took.tolist()
    assert one.key.tolist() == other.key.tolist()
    assert one.a_low.tolist() == other.a_low.tolist()


def test_a_vote_of_unknown_order_is_a_vote_without_a_place() -> None:
    table = table_of([voted_pair(0, [note("x", "rejected", "second", order="unknown")])])
    assert table.first.tolist() == [UNKNOWN]
    assert table.took.tolist() == [B]


def test_votes_on_a_tie_are_kept_with_the_places_of_its_row() -> None:
    notes = [
        {"annotator": "x", "choice": "first"},
        {"annotator": "y", "choice": "second", "order": "unknown"},
    ]
    table = table_of([], [tie(3, notes)])
    assert table.took.tolist() == [A, B]
    assert table.first.tolist() == [A, UNKNOWN]
    assert (table.pair.tolist(), table.chosen.tolist()) == ([UNKNOWN], [TIE])


@pytest.mark.parametrize(("chosen", "longer"), [("long reply", A), ("s", B), ("equal", UNKNOWN)])
def test_the_longer_reply_is_known(chosen: str, longer: int) -> None:
    table = table_of([voted_pair(0, [note("x", "chosen", "first")], chosen=chosen, rejected="other")])
    assert table.longer.tolist() == [longer]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        {"annotator": "x", "choice": "first"},
        {"annotator": "x", "choice": ["first"], "first": "chosen"},
        {"annotator": None, "choice": "first", "first": "chosen"},
        {"annotator": "x", "choice": "third", "first": "chosen"},
        {"annotator": "x", "choice": "first", "first": "left"},
    ],
)
def test_an_annotation_of_another_form_is_passed_over_and_counted(bad: Any) -> None:
    table = table_of([voted_pair(0, [bad, note("x", "chosen", "first")])])
    assert (len(table.took), table.num_unread) == (1, 1)


@given(anything)
def test_no_annotations_stop_the_reading(annotations: Any) -> None:
    pair = voted_pair(0, annotations if isinstance(annotations, list) else [annotations])
    table = table_of([pair], [tie(1, pair.extra["annotations"])])
    assert len(table.took) + table.num_unread == 2 * len(pair.extra["annotations"])


def test_rows_of_the_same_replies_in_either_order_share_a_key() -> None:
    rows = [
        voted_pair(0, [note("x", "chosen", "first")], prompt="p"),
        voted_pair(
            1, [note("x", "chosen", "first")], prompt="p", chosen="a poor reply", rejected="a good reply"
        ),
        voted_pair(2, [note("x", "chosen", "first")], prompt="another"),
    ]
    keys = table_of(rows).key.tolist()
    assert keys[0] == keys[1] != keys[2]


def test_the_margin_of_a_label_counts_its_votes() -> None:
    notes = [note("x", "chosen", "second"), note("y", "rejected", "first"), note("z", "chosen", "first")]
    assert label_margin(voted_pair(0, notes)) == -1
    assert label_margin(voted_pair(0, [note("x", "chosen", "tie")])) == 0
    assert label_margin(voted_pair(0, [])) is None
