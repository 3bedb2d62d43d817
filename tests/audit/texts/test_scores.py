"""Scores that the rows carry, against their labels."""

from __future__ import annotations

from simpo.audit.texts.scores import Scores
from tests.audit.made import found_by, pair


def test_equal_and_opposite_scores_are_found_and_rows_without_scores_say_nothing() -> None:
    pairs = [
        pair(),
        pair(score_chosen=8, score_rejected=5),
        pair(score_chosen=7.5, score_rejected=7.5),
        pair(chosen_rating="4", rejected_rating="5"),
        pair(margin=0.0),
        pair(margin="much"),
        pair(score_chosen=9, score_rejected=None),
        pair(margin=2),
    ]
    found = found_by(Scores(), *pairs)
    assert found["equal_scores"].rows.tolist() == [2, 4]
    assert found["score_against_label"].rows.tolist() == [3]
    assert (found["equal_scores"].repair, found["score_against_label"].repair) == ("drop", "swap")
    assert found["scored_pairs"].rows.tolist() == [1, 2, 3, 4, 7]
    # Margins -1, 0, 0, 2, 3.
    assert found["scored_pairs"].figures["margin"]["median"] == 0
    assert found["scored_pairs"].severity == "note"


def test_where_most_scores_are_against_the_labels_lower_is_rather_better() -> None:
    pairs = [pair(score_chosen=1, score_rejected=2)] * 3 + [pair(score_chosen=2, score_rejected=1)] * 2
    assert found_by(Scores(), *pairs)["score_against_label"].severity == "note"
    assert found_by(Scores(), *pairs[1:])["score_against_label"].severity == "error"


def test_without_any_score_nothing_is_said() -> None:
    assert found_by(Scores(), pair(), pair(answer="4")) == {}
