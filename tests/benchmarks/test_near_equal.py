"""The comparison of ways to find nearly equal texts, on texts written here."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.near_equal import all_with_all, main, ours, texts_of
from simpo.audit.copies.minhash import NEAR, jaccard, shingle_set
from tests.audit.made import write_pairs


def test_the_sparse_product_finds_the_pairs_that_comparing_two_by_two_finds(tmp_path: Path) -> None:
    texts = texts_of([str(write_pairs(tmp_path / "pairs.jsonl", 30))], most=60, share=0.5)
    truth = all_with_all([shingle_set(text) for text in texts])
    expected = {
        (one, other): index
        for one, other in combinations(range(len(texts)), 2)
        if (index := jaccard(texts[one], texts[other])) >= NEAR
    }
    assert truth == pytest.approx(expected)
    assert len(truth) > 10
    assert len(truth.keys() & ours(texts, [])) >= 0.95 * len(truth)


def test_what_is_found_is_printed_beside_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(write_pairs(tmp_path / "pairs.jsonl", 30)), "--most", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert "nearly equal pairs" in lines[0]
    assert [line.split()[0] for line in lines[2:4]] == ["all", "ours"]
