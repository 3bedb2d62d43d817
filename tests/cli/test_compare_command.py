"""`simpo compare`: refusals before anything is trained, and a killed comparison that goes on to the same figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simpo.cli.app import main
from simpo.study.compare.run import compare
from tests.study.conftest import Bench, bench, no_waiting_for_disks, own_cache

__all__ = ["bench", "no_waiting_for_disks", "own_cache"]


def recipes(bench: Bench) -> list[str]:
    files = []
    for name in ("simpo", "dpo"):
        path = bench.folder / f"{name}.yaml"
        path.write_text(bench.recipe(method={"name": name}).to_yaml(), encoding="utf-8")
        files.append(str(path))
    return files


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["compare", *arguments, "--json"]) != 0
    error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
    return error


def test_a_mistake_is_told_before_anything_is_written(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    simpo, dpo = recipes(bench)
    out = str(bench.folder / "out")
    for arguments, words in (
        ([simpo], "two methods"),
        ([simpo, simpo], "named twice"),
        ([simpo, dpo, "--seeds", "0,x"], "not numbers"),
        ([simpo, dpo, "--seeds", "-1"], "0 or larger"),
        ([simpo, dpo, "--equal", "steps"], "none of pairs"),
        ([simpo, str(bench.folder)], "not a run folder"),
        ([simpo, dpo, "--set", "train.lr=fast"], "train.lr"),
        ([simpo, dpo, "--data", "gone.jsonl"], "no such file"),
        ([simpo, dpo, "--set", "evaluate.regression=[gone.jsonl]"], "no such file"),
    ):
        error = refused(capsys, *arguments, "--out", out)
        assert words in error["message"]
        assert error["exit_status"] in (2, 3)
    assert not Path(out).exists()


def test_runs_are_shown_side_by_side_with_a_verdict(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    plan = bench.plan()
    bench.train(plan)
    folders = [str(run.folder) for one in plan.contenders for run in one.runs]
    assert main(["compare", *folders, "--out", str(bench.folder / "again"), "--cost-steps", "0"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Each model alone", "accuracy, own reward", "SimPO - DPO, own reward", "drift on chosen", "What training costs",
        "One seed only (SimPO, DPO)",
    ):  # fmt: skip
        assert words in shown
    report = json.loads((bench.folder / "again" / "compare.json").read_text(encoding="utf-8"))
    assert report["verdict"]["paragraph"] in shown


def test_a_killed_comparison_goes_on_to_the_figures_of_an_undisturbed_one(bench: Bench) -> None:
    whole = bench.plan(out="whole")
    bench.train(whole)
    expected = compare(whole, cost_steps=0)
    command = [
        sys.executable, "-m", "simpo.cli.app", "compare", *recipes(bench), "--out", str(bench.folder / "killed"),
        "--seeds", "0", "--cost-steps", "0", "--json",
    ]  # fmt: skip
    events = bench.folder / "killed" / "runs" / "simpo-seed0" / "events.jsonl"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with first:
        assert first.stderr is not None
        for _ in first.stderr:  # its notes and progress
            if events.exists() and '"step"' in events.read_text(encoding="utf-8"):
                os.kill(first.pid, signal.SIGKILL)
                break
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    for key in ("preference", "generation", "drift", "regression", "data"):
        assert report[key] == expected[key], key
