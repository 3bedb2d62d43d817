"""The measurement of audits by size: what it writes and reads back, on few pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.audit_scale import bytes_a_pair, main, measure, with_copies
from benchmarks.reading import Figures


def test_the_pairs_hold_a_copy_and_a_near_copy_in_fifty() -> None:
    rows = list(with_copies(200))
    assert len(rows) == 200
    assert max(Counter(row["prompt"] for row in rows).values()) == 2
    assert sum(row["prompt"].endswith(" Thanks") for row in rows) == 4


def test_an_audit_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    figures, counts = measure(200, tmp_path, repeats=1)
    assert (counts["exact_duplicate"], counts["near_duplicate"]) == (4, 4)
    assert figures.rows == 200
    assert figures.peak_bytes > figures.start_bytes > 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_memory_a_pair_is_told_from_the_smallest_and_the_largest_size() -> None:
    one, other = (
        Figures("audit", rows, 0, (1, 1, 1), (1, 1, 1), 1, 0, peak)
        for rows, peak in ((100, 5000), (1100, 405000))
    )
    assert bytes_a_pair([one, other]) == 400
    assert bytes_a_pair([one]) is None


def test_the_growth_is_printed_under_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "100", "200", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["100", "200"]
    assert lines[3].startswith("growth exponent ")
