"""`simpo audit`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simpo.cli import app
from tests.audit.made import plain_row, write_pairs


def test_the_verdict_stands_first_and_each_finding_names_its_first_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 200, {17: {"rejected": "\u200b"}})
    assert app.main(["audit", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Fit to train on once 1 repair is made."
    assert lines[1].startswith(
        f"{path} (trl_standard): 200 pairs of 200 prompts, 200 rows read, 0 left out; "
    )
    assert lines[lines.index("Errors") + 1] == f"  blank_completion  1  0.5 %  {path}:17"
    assert "    rejected is '\\u200b'" in lines
    assert lines[-2:] == ["  drop         1  blank_completion", f"  simpo build {path} --out DIR"]


def test_with_json_the_audit_is_one_object_and_the_same_is_written_with_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 120)
    assert app.main(["audit", str(path), "--json", "--out", str(tmp_path / "audit.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert (printed["schema"], printed["verdict"]["fit"], printed["data"]["pairs"]) == (1, "fit", 120)


def test_strict_ends_with_status_4_unless_the_data_is_fit_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_pairs(tmp_path / "whole.jsonl", 120)
    spoilt = write_pairs(tmp_path / "spoilt.jsonl", 120, {3: {"rejected": "\u200b"}})
    assert app.main(["audit", str(whole), "--strict"]) == 0
    assert app.main(["audit", str(spoilt), "--strict", "--json"]) == 4
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("\n{") :])["verdict"]["fit"] == "repair"


def test_columns_can_be_named_and_a_format_that_is_none_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"q": "Where is it?", "good": "On its way.", "bad": "No idea."}\n', encoding="utf-8")
    words = [
        "audit",
        str(path),
        "--map",
        "prompt=q",
        "--map",
        "chosen=good",
        "--map",
        "rejected=bad",
        "--json",
    ]
    assert app.main(words) == 0
    assert json.loads(capsys.readouterr().out)["data"]["pairs"] == 1
    assert app.main(["audit", str(path), "--format", "trl_standart"]) == 2
    assert "trl_standard" in capsys.readouterr().err


def test_a_text_cannot_colour_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pairs(
        tmp_path / "pairs.jsonl", 100, {5: {"chosen": "null", "rejected": "\x1b[31mred\x1b[0m"}}
    )
    assert app.main(["audit", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "control_characters" in printed
    assert "\x1b" not in printed


def test_with_html_the_audit_is_one_page_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 200, {17: {"rejected": "\u200b"}})
    assert app.main(["audit", str(path), "--html", str(tmp_path / "audit.html")]) == 0
    assert f"page   {tmp_path / 'audit.html'}" in capsys.readouterr().err
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "Fit to train on once 1 repair is made." in page and "line 17" in page


def test_a_page_that_cannot_be_written_is_an_error_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 120)
    assert app.main(["audit", str(path), "--html", str(tmp_path / "none" / "audit.html")]) == 5
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_held_out_files_are_looked_up_and_a_length_without_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, held_out = write_pairs(tmp_path / "pairs.jsonl", 120), write_pairs(tmp_path / "held_out.jsonl", 3)
    assert app.main(["audit", str(path), "--held-out", str(held_out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (leak,) = [finding for finding in result["findings"] if finding["kind"] == "leaked_prompt"]
    assert (leak["count"], leak["severity"]) == (3, "error")
    assert result["settings"]["held_out"] == [str(held_out)]
    assert app.main(["audit", str(path), "--max-length", "100"]) == 2
    assert "without a model" in capsys.readouterr().err


def test_with_a_model_the_pairs_are_measured_in_its_tokens(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 110)
    words = ["audit", str(path), "--model", str(tiny_model_dir), "--max-length", "90", "--json"]
    assert app.main(words) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    (lengths,) = [finding for finding in findings if finding["kind"] == "token_lengths"]
    assert lengths["figures"]["fit"] == 90


def test_what_to_do_repeats_how_the_files_were_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my pairs.jsonl"
    rows = [{**plain_row(number), "ticket": plain_row(number)["prompt"]} for number in range(120)]
    for row in rows:
        del row["prompt"]
    rows[4]["rejected"] = "\u200b"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["audit", str(path), "--map", "prompt=ticket", "--format", "trl_standard", "--limit", "110"]
    assert app.main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"  simpo build '{path}' --format trl_standard --limit 110 --map prompt=ticket --out DIR"


def test_a_dataset_version_is_audited_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, version = write_pairs(tmp_path / "pairs.jsonl", 150, {3: {"rejected": "\u200b"}}), tmp_path / "v1"
    assert app.main(["build", str(path), "--out", str(version), "--json"]) == 0
    capsys.readouterr()
    assert app.main(["audit", str(version), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["data"]["pairs"] == 149
    assert "blank_completion" not in {finding["kind"] for finding in result["findings"]}
