"""Labels that look turned: how likely each is, by its score and its votes, and how that is said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import expit

from simpo.audit.findings import Finding
from simpo.audit.labels.flips import MAX_TEXT, NUM_RANKED, flip_findings, suspicion
from simpo.audit.labels.judged import Judged, judge
from simpo.audit.labels.sample import Kept, PairSample
from simpo.core.intervals import Floats
from simpo.records import Pair, Source
from tests.audit.labels.labelled import by_quality, pair


def _kept(count: int, margin: int | None = None, num_votes: int = 0) -> list[Kept]:
    return [Kept(at, Source("a.jsonl", at + 1), at, None, margin, num_votes, at) for at in range(count)]


def _scores(rng: np.random.Generator, count: int, turned: float) -> tuple[Floats, np.ndarray]:
    """Scores that are log-odds, as they should be, of labels of which a share was turned."""
    log_odds = rng.normal(0.0, 4.0, count)
    clean = np.where(rng.random(count) < expit(log_odds), log_odds, -log_odds)
    flipped = rng.random(count) < turned
    return np.where(flipped, -clean, clean), flipped


def _sample(pairs: Sequence[Pair]) -> PairSample:
    sample = PairSample()
    for number, one in enumerate(pairs):
        sample.see(number, one)
    return sample


def _finding(pairs: Sequence[Pair]) -> Finding:
    sample = _sample(pairs)
    (finding,) = flip_findings(judge(sample), sample)
    return finding


def test_a_turned_label_is_likelier_the_surer_its_score_is_against_it() -> None:
    scores, flipped = _scores(np.random.default_rng(0), 4000, 0.1)
    found = suspicion(scores, _kept(4000), np.arange(4000, dtype=np.uint64))
    assert found.counted and found.noise.rate.low <= 0.1 <= found.noise.rate.high
    assert (np.diff(found.wrong[np.argsort(scores)]) <= 0).all()
    assert flipped[found.wrong >= 0.5].mean() > 0.7
    # The chances are calibrated: they add up to the number that is turned.
    assert found.wrong.sum() == pytest.approx(flipped.sum(), rel=0.1)


def test_contested_labels_have_a_rate_of_their_own() -> None:
    rng = np.random.default_rng(1)
    sure, doubtful = _scores(rng, 3000, 0.01)[0], _scores(rng, 3000, 0.3)[0]
    kept = [*_kept(3000, 3, 3), *_kept(3000, 1, 3)]
    found = suspicion(np.concatenate([sure, doubtful]), kept, np.arange(6000, dtype=np.uint64))
    assert set(found.groups) == {"unanimous", "contested"}
    assert found.groups["unanimous"].rate.value < 0.03 < 0.25 < found.groups["contested"].rate.value
    weak = np.full(1, -0.5)
    assert found.groups["contested"].wrong(weak)[0] > found.groups["unanimous"].wrong(weak)[0]


def test_a_group_too_small_for_a_rate_goes_by_that_of_all() -> None:
    scores, _ = _scores(np.random.default_rng(2), 2500, 0.1)
    kept = [*_kept(2000, 3, 3), *_kept(500, 1, 3)]
    found = suspicion(scores, kept, np.arange(2500, dtype=np.uint64))
    assert set(found.groups) == {"unanimous"}
    np.testing.assert_allclose(found.wrong[2000:], found.noise.wrong(scores[2000:]))


def test_fewer_than_five_hundred_labels_are_ranked_and_not_counted() -> None:
    pairs, turned = by_quality(np.random.default_rng(3), 400, turned=0.1)
    found = _finding(pairs)
    assert (found.count, found.severity, found.repair, len(found.rows)) == (0, "note", None, 0)
    first = [row["row"] for row in found.figures["ranked"][: int(turned.sum() / 2)]]
    assert turned[first].mean() > 0.9


def test_where_the_suspected_are_not_like_the_rest_in_length_it_is_said() -> None:
    pairs, turned = by_quality(np.random.default_rng(4), 1500, turned=0.08)
    more = " and so on" * 10
    longer = [
        pair(at, one.chosen + more * (not flipped), one.rejected + more * bool(flipped))
        if at % 10
        else pair(at, one.chosen + more * bool(flipped), one.rejected + more * (not flipped))
        for at, (one, flipped) in enumerate(zip(pairs, turned, strict=True))
    ]
    found = _finding(longer)
    shares = found.figures["shorter_chosen"]
    assert shares["suspected"] > 0.7 > 0.3 > shares["all"] > shares["without_suspected"]
    assert f"in {100 * shares['suspected']:.0f} % of them the shorter reply is chosen" in found.action


def test_the_ranked_list_is_short_and_its_texts_are_cut() -> None:
    pairs, _ = by_quality(np.random.default_rng(5), 600, turned=0.1)
    chances = [row["probability"] for row in _finding(pairs).figures["ranked"]]
    assert len(chances) == NUM_RANKED and chances == sorted(chances, reverse=True)
    long = [pair(at, one.chosen + " x" * 2000, one.rejected + " x" * 2000) for at, one in enumerate(pairs)]
    ranked = _finding(long).figures["ranked"]
    assert all(len(row[side]) == MAX_TEXT + 3 for row in ranked for side in ("chosen", "rejected"))


def test_scores_that_say_nothing_make_no_finding() -> None:
    sample = _sample(by_quality(np.random.default_rng(6), 300, turned=0.0)[0])
    judged = judge(sample)
    silent = Judged(judged.features, judged.by_marks, judged.by_words, np.zeros(300), None)
    assert flip_findings(silent, sample) == []
