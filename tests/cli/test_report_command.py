"""`simpo report`: the page of a run, a sweep, a comparison and an audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.cli.app import main
from simpo.runs.folder import write_json
from tests.audit.made import write_pairs
from tests.report.synthetic_compare import comparison
from tests.report.synthetic_run import write_run
from tests.report.synthetic_sweep import sweep


def test_a_run_gets_its_page_and_its_closing_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main(["report", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == str(run / "report.html") and (run / "report.html").is_file()
    assert printed["summary"][0]["label"] == "Held-out pairwise accuracy"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("sweep.json", sweep("staged"), "Go on with"), ("compare.json", comparison(), "Cut over to SimPO")],
)
def test_a_study_gets_its_page(
    name: str, content: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / name, content)
    assert main(["report", str(tmp_path)]) == 0
    page = tmp_path / "report.html"
    assert f"report  {page}" in capsys.readouterr().err
    assert words in page.read_text(encoding="utf-8")


def test_an_audit_gets_its_page_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, audit = write_pairs(tmp_path / "pairs.jsonl", 120), tmp_path / "audit.json"
    assert main(["audit", str(pairs), "--out", str(audit)]) == 0
    capsys.readouterr()
    assert main(["report", str(audit), "--json"]) == 0
    page = tmp_path / "audit.html"
    assert json.loads(capsys.readouterr().out) == {"path": str(audit), "report": str(page)}
    assert "What to do next" in page.read_text(encoding="utf-8")


def test_what_has_no_page_is_refused_with_what_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "other.json", {"a": 1})
    assert main(["report", str(tmp_path / "other.json")]) == 2
    error = capsys.readouterr().err
    assert "other.json: this is no audit: data: Field required" in error and "simpo audit FILES" in error
    assert main(["report", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
