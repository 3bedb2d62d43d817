"""What a command prints, for people and for programs."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest

from simpo.cli import output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_numbers_that_json_lacks_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": math.nan, "b": [math.inf, 1.5], "path": Path("x/y"), "text": "東"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "path": "x/y", "text": "東"}
    assert "東" in text


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert output.printable("a\x1b[2Jb\x07\r\x9b\n\tc") == "a\\x1b[2Jb\\x07\\x0d\\x9b\n\tc"


def test_a_table_shows_markup_as_text_and_no_line_is_cut_away_from_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_table(("name", "value"), [("[bold]x[/bold]", 0.25), ("y" * 120, None)], title="[i]t[/i]")
    text = capsys.readouterr().out
    assert "[i]t[/i]" in text
    assert "[bold]x[/bold]" in text
    assert "0.25" in text
    assert "y" * 120 in text


def test_on_a_terminal_an_error_is_shown_without_interpreting_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    output.print_error(output.Failure("[red]no[/red] :smile: \x1b[2J", "a.jsonl:3", "mend it"), as_json=False)
    assert terminal.getvalue() == "a.jsonl:3: [red]no[/red] :smile: \\x1b[2J\n  fix: mend it\n"


def test_progress_away_from_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with output.Progress("train", total=40, unit="pairs", clock=clock) as progress:
        for step in range(1, 41):
            clock.now += 3.0
            progress.update(step, num=6, text="loss 0.693")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    # Every fourth step is 12 s after the line before.
    assert lines[0] == "train 4/40  loss 0.693  2 pairs/s  1:48 left"
    assert lines[-1] == "train 40/40  loss 0.693  2 pairs/s"
    assert len(lines) == 10


def test_progress_of_a_resumed_run_does_not_count_what_was_done_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with output.Progress("train", total=100, unit="pairs", start=90, clock=clock) as progress:
        clock.now += 20.0
        progress.update(92, num=10)
    assert capsys.readouterr().err == "train 92/100  0.5 pairs/s  1:20 left\n"


def test_progress_on_a_terminal_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    clock = Clock()
    with output.Progress("train", total=2, unit="pairs", clock=clock) as progress:
        clock.now += 1.0
        progress.update(1, num=4, text="loss [0.5]")
    assert "1/2" in terminal.getvalue()
    assert "loss [0.5]" in terminal.getvalue()
    assert "4 pairs/s" in terminal.getvalue()


def test_progress_whose_end_nobody_knows_counts_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    with output.Progress("audit", total=None, unit="rows", clock=clock) as progress:
        clock.now += 20.0
        progress.update(5000, num=5000)
    assert capsys.readouterr().err == "audit 5000  250 rows/s\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with output.Progress("audit", total=None, unit="rows", clock=clock) as progress:
        clock.now += 1.0
        progress.update(5000, num=5000)
    assert "5,000" in terminal.getvalue()
    assert "/?" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")]
)
def test_a_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text
