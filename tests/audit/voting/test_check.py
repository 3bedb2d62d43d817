"""The check of annotators as an audit runs it: pair by pair, with the rows that were left out."""

from __future__ import annotations

from simpo.audit.voting.check import Reliability
from tests.audit.voting.voted import note, tie, voted_pair


def test_pairs_without_votes_make_no_finding() -> None:
    check = Reliability()
    check.see(0, voted_pair(0, []))
    assert check.findings() == []


def test_labels_against_their_votes_are_found_with_their_rows() -> None:
    check = Reliability()
    right = [note("x", "chosen", "first"), note("y", "rejected", "second")]
    wrong = [note("x", "chosen", "second"), note("y", "rejected", "first"), note("z", "chosen", "first")]
    for number, notes in enumerate((right, wrong, [], right, wrong)):
        check.see(number, voted_pair(number, notes))
    (found,) = (one for one in check.findings() if one.kind == "label_against_votes")
    assert (found.severity, found.repair, found.count, found.of) == ("error", "swap", 2, 4)
    assert found.rows.tolist() == [1, 4]
    assert [str(example.source) for example in found.examples] == ["made.jsonl:2", "made.jsonl:5"]


def test_ties_that_were_left_out_count_as_items() -> None:
    check = Reliability()
    check.see(0, voted_pair(0, [note("x", "chosen", "first"), note("y", "chosen", "first")]))
    check.see_dropped(tie(1, [{"annotator": "x", "choice": "first"}, {"annotator": "y", "choice": "second"}]))
    kinds = {one.kind: one for one in check.findings()}
    assert kinds["agreement"].of == 2
