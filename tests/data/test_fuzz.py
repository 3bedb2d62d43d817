"""A few thousand spoilt files a run; `python -m tests.data.fuzz` reads as many as wanted, by the same rules."""

from __future__ import annotations

from pathlib import Path

from tests.data.fuzz import run


def test_spoilt_files_are_read_counted_or_refused(tmp_path: Path) -> None:
    tally = run(2500, 0, tmp_path)
    assert tally.broken == {}
    # The files are spoilt so that both happen, in nearly every format.
    assert tally.read > 700 and tally.refused > 700 and tally.cases == 2500
    assert tally.records > 500 and len(tally.formats) > 30 and len(tally.dropped) > 12
