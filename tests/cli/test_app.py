"""The outermost frame: every way a command ends, and what a person or a program is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simpo import __version__
from simpo.cli import app
from simpo.errors import CheckFailed, DataError, Interrupted, RecipeError, RunFailed, SimpoError

COMMAND = [sys.executable, "-m", "simpo.cli.app"]
PROBE = '''
"""A command that ends as it is told."""
from typing import Annotated
import typer
from simpo import errors
from simpo.cli.options import JsonOption
from simpo.cli.output import print_json

def command(how: Annotated[str, typer.Argument()], as_json: JsonOption = False) -> None:
    """End as told [B] times."""
    if how == "well":
        print_json({"how": how})
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "bug":
        raise ZeroDivisionError("one by nought")
    elif how == "pipe":
        raise BrokenPipeError
    else:
        raise getattr(errors, how)("it went [red]wrong[/red]\\x1b[2J", where="train.jsonl:812", fix="mend it")
'''


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A further command, `simpo probe HOW`, registered as any other: one file and one line."""
    (tmp_path / "simpo_probe.py").write_text(PROBE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(app, "COMMANDS", (*app.COMMANDS, app.Command("probe", "simpo_probe", "End as told.")))
    yield
    sys.modules.pop("simpo_probe", None)


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(
    ("kind", "status"),
    [(RecipeError, 2), (DataError, 3), (CheckFailed, 4), (RunFailed, 5), (Interrupted, 130)],
)
def test_an_error_that_a_user_can_mend_ends_with_its_status_and_one_message(
    kind: type[SimpoError], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["probe", kind.__name__]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "train.jsonl:812: it went [red]wrong[/red]\\x1b[2J\n  fix: mend it\n"


@pytest.mark.usefixtures("probe")
def test_with_json_an_error_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["probe", "DataError", "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "error": {
            "message": "it went [red]wrong[/red]\x1b[2J",
            "where": "train.jsonl:812",
            "fix": "mend it",
            "exit_status": 3,
            "kind": "DataError",
        }
    }


@pytest.mark.usefixtures("probe")
def test_a_bug_shows_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["probe", "bug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-2] == "ZeroDivisionError: one by nought"
    assert "please report it" in err.splitlines()[-1]


@pytest.mark.usefixtures("probe")
def test_a_bug_with_json_keeps_the_traceback_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["probe", "bug", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["kind"] == "Bug"
    assert "Traceback" in captured.err


@pytest.mark.usefixtures("probe")
def test_control_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["probe", "interrupt"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.usefixtures("probe")
def test_a_command_that_ends_well_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["probe", "well"]) == 0
    assert json.loads(capsys.readouterr().out) == {"how": "well"}


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["--nonsense"], ["recipe", "nonsense"], ["recipe", "show"], ["recipe", "list", "x"]],
)
def test_a_usage_error_ends_with_2_and_names_the_help_page(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("  fix: see `simpo")


def test_a_usage_error_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["recipe", "show", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_status"] == 2
    assert error["kind"] == "UsageError"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_every_command_with_its_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(words) == 0
    text = capsys.readouterr().out
    for entry in app.COMMANDS:
        assert f"  {entry.name} " in text
        assert " ".join(entry.help.split()[:4]) in text


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"simpo {__version__}\n"


@pytest.mark.parametrize("entry", app.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_answers_its_own_help(entry: app.Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([entry.name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: simpo {entry.name} ")


def test_help_answers_at_once_and_imports_no_tensor_library() -> None:
    script = (
        "import sys; from simpo.cli.app import main; main(['--help']);"
        "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'rich', 'yaml', 'datasets', 'matplotlib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*COMMAND, "recipe", "fields"], stdout=write_end, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_terminal_without_unicode_gets_escapes_and_no_crash(tmp_path: Path) -> None:
    missing = tmp_path / "küche.yaml"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [*COMMAND, "recipe", "check", str(missing)], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 2
    assert "k\\xfcche.yaml" in done.stderr
