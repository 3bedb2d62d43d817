"""The sample of pairs: all of a small file, a bounded part of a large one, by row number alone."""

from __future__ import annotations

from simpo.audit.labels.sample import PairSample
from simpo.records import Message, Pair, Source
from tests.audit.labels.labelled import pair
from tests.audit.voting.voted import note, voted_pair


def _seen(count: int, limit: int) -> PairSample:
    sample = PairSample(limit)
    for number in range(count):
        sample.see(number, pair(number, "yes", "no"))
    return sample


def test_a_small_file_is_kept_whole() -> None:
    sample = _seen(50, limit=50)
    assert sample.whole
    assert [one.number for one in sample.kept] == list(range(50))


def test_a_large_file_is_sampled_between_half_of_the_limit_and_the_limit() -> None:
    for count in (101, 350, 1000, 5000):
        sample = _seen(count, limit=100)
        assert not sample.whole
        assert 50 <= len(sample.kept) <= 100
        # From all over the file: no stretch of a tenth is without a pair.
        assert len({10 * one.number // count for one in sample.kept}) == 10


def test_the_same_file_gives_the_same_sample() -> None:
    assert [one.number for one in _seen(777, 60).kept] == [one.number for one in _seen(777, 60).kept]


def test_a_kept_pair_comes_back_with_its_texts_and_its_place() -> None:
    turns = (
        Message("system", "s"),
        Message("user", "u\ud800"),
        Message("assistant", "a"),
        Message("user", "v"),
    )
    original = Pair(turns, "chosen\x00text", "rejected", Source("f.jsonl", 7), "billing")
    sample = PairSample()
    sample.see(0, original)
    assert sample.pair(0) == original


def test_votes_are_kept_as_a_margin() -> None:
    sample = PairSample()
    sample.see(
        0,
        voted_pair(
            0, [note("x", "chosen", "first"), note("y", "chosen", "second"), note("z", "chosen", "first")]
        ),
    )
    sample.see(1, voted_pair(1, []))
    assert [(one.margin, one.num_votes) for one in sample.kept] == [(1, 3), (None, 0)]
