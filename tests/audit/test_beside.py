"""The texts checked in a process of their own: the same findings, and no file that changes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from simpo.audit.beside import WORTH_IT_BYTES, Beside, worth_it
from simpo.audit.run import audit
from simpo.errors import DataError, RunFailed
from tests.audit.made import write_pairs

SPOILT = {3: {"rejected": "\u200b"}, 5: {"chosen": "It left.<|im_end|>"}, 7: {"rejected": ""}}


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 150, SPOILT)
    alone, both = audit(path), audit(path, beside=True)
    assert [finding.to_json() for finding in both.findings] == [
        finding.to_json() for finding in alone.findings
    ]
    assert [finding.rows.tolist() for finding in both.findings] == [
        finding.rows.tolist() for finding in alone.findings
    ]
    assert both.data == alone.data
    assert both.settings == alone.settings


def test_a_file_that_changed_between_the_two_readings_is_an_error(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 20)
    with Beside(str(path), {}) as other, pytest.raises(DataError, match="changed while it was read"):
        other.findings({path: "0" * 64})


def test_a_second_process_that_cannot_read_is_no_silence(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.jsonl")
    with Beside(missing, {}) as other, pytest.raises(RunFailed, match="ended with status 3"):
        other.findings({})


def test_the_second_process_ends_with_the_first(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 20)
    other = Beside(str(path), {})
    with pytest.raises(KeyboardInterrupt), other:
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="closed file"):
        other.findings({})


def test_only_large_files_that_can_be_read_twice_are_worth_a_process(tmp_path: Path) -> None:
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    small.write_text("{}", encoding="utf-8")
    with large.open("wb") as file:
        file.truncate(WORTH_IT_BYTES)
    assert not worth_it((small,))
    assert not worth_it((large, Path("/dev/stdin")))
    assert not worth_it((large, tmp_path / "missing.jsonl"))
