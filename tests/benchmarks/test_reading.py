"""The measurement of reading: its pairs, its files, its exponent and its table."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest

from benchmarks.reading import FORMS, Figures, as_dialogues, exponent, measure, pairs, result, table
from simpo.data.read import read_rows


def figures(rows: int, cpu_s: float) -> Figures:
    return Figures(
        "lines", rows, rows * 1000, (cpu_s,) * 3, (cpu_s, 0.5, 2.0), rows / cpu_s, 1 << 20, 3 << 20
    )


def test_pairs_are_about_a_kilobyte_and_the_same_every_time() -> None:
    made = list(islice(pairs(300), 300))
    assert 950 < mean(len(json.dumps(row, ensure_ascii=False).encode()) for row in made) < 1150
    assert made == list(pairs(300)) and len({row["prompt"] for row in made}) == 300


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_file_holds_the_same_pairs(form: str, tmp_path: Path) -> None:
    name, write = FORMS[form]
    write(tmp_path / name, pairs(20))
    dataset = read_rows(tmp_path / name)
    rows = [row["chosen"] for row in (as_dialogues(pairs(20)) if form == "dialogues" else pairs(20))]
    wanted = [row if isinstance(row, str) else row[0]["content"] for row in rows]
    assert [row.completions[0] for row in dataset.rows] == wanted and dataset.dropped == ()


def test_the_exponent_is_the_slope_in_logarithms() -> None:
    assert exponent([figures(10, 2.0), figures(1000, 200.0)]) == pytest.approx(1)
    assert exponent([figures(10, 1.0), figures(100, 100.0), figures(1000, 10_000.0)]) == pytest.approx(2)
    assert exponent([figures(10, 1.0)]) is None


def test_a_file_is_read_by_a_process_of_its_own_and_removed(tmp_path: Path) -> None:
    found = measure("lines", 40, tmp_path, repeats=1)
    assert (found.form, found.rows) == ("lines", 40) and found.file_bytes > 30_000
    assert found.cpu_s[0] > 0 and found.peak_bytes >= found.start_bytes > 1 << 20
    assert list(tmp_path.iterdir()) == []
    assert result([found], 1)["growth_exponents"] == {"lines": None}
    assert table([found]).splitlines()[1].split()[:2] == ["lines", "40"]
