"""What a command prints: results on stdout as text, tables or one JSON object; progress and notes on stderr."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich costs 40 ms, and `simpo --help` and `--json` print nothing with it
    from rich.console import Console, RenderableType


@dataclass(frozen=True, slots=True)
class Failure:
    """What the frame says of an error, as text or under the key `error`."""

    message: str
    where: str | None = None
    fix: str | None = None
    exit_status: int = 1
    kind: str = "Interrupted"


def tolerate_odd_text() -> None:
    """Print what the terminal's encoding lacks as escapes: a message must not die of the text it quotes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """The text with control characters escaped: a row of data must not move the cursor or colour the screen."""
    return "".join(
        char if char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160) else f"\\x{ord(char):02x}"
        for char in text
    )


def speaks() -> bool:
    """Whether this process prints: of several ranks of one run the first does."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def print_text(text: str) -> None:
    """A line (or several) of the result, on stdout, as it is: no markup, no wrapping."""
    sys.stdout.write(printable(text) + "\n")


def note(text: str) -> None:
    """A line for the person who waits, on stderr: where a model came from, what is being done."""
    if speaks():
        _to_stderr(text)


def _to_stderr(text: str) -> None:
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def print_json(result: Mapping[str, Any]) -> None:
    """The result as one JSON object on stdout; a number that is not finite becomes null, paths become text."""
    sys.stdout.write(json.dumps(_plain(result), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None
) -> None:
    """A table on stdout; columns of numbers stand to the right. Cells are text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(value))) for value in row))
    _print_rich(table)


def print_styled(*parts: RenderableType) -> None:
    """Rich text (or what renders to it) on stdout, in colour where there is a terminal that shows any."""
    for part in parts:
        _print_rich(part)


def _print_rich(what: RenderableType) -> None:
    console = _console(sys.stdout)
    with console.capture() as captured:  # rich would end the process by itself where the reader has gone
        console.print(what)
    text = captured.get()
    if not sys.stdout.isatty():  # what pads a screen is noise in a file
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    sys.stdout.write(text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _console(stream: Any) -> Console:
    from rich.console import Console

    # Away from a terminal nothing is wrapped at 80 columns: the reader is a file or a program.
    width = None if stream.isatty() else 200
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def print_error(failure: Failure, as_json: bool) -> None:
    """The error as JSON on stdout, or for a person on stderr: `where: message`, then what to do."""
    if as_json:
        print_json({"error": asdict(failure)})
        return
    head = f"{failure.where}: {failure.message}" if failure.where else failure.message
    sys.stdout.flush()
    if not sys.stderr.isatty():
        _to_stderr(head + (f"\n  fix: {failure.fix}" if failure.fix else ""))
        return
    from rich.text import Text

    text = Text(printable(head), style="bold red")
    if failure.fix:
        text.append(f"\n  fix: {printable(failure.fix)}", style="not bold default")
    _console(sys.stderr).print(text, soft_wrap=True)


class Progress:
    """How far a long command is: a bar on a terminal, now and then a plain line elsewhere; always on stderr.

        with Progress("train", total=375, unit="pairs") as progress:
            ...
            progress.update(step, num=32, text="loss 0.693")

    total: steps in all, None where nobody knows. start: steps done before this process began (a resumed run); they do
    not count in the rate.
    """

    LINE_EVERY_S = 10.0

    def __init__(
        self,
        title: str,
        *,
        total: int | None,
        unit: str,
        start: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.unit, self.start = title, total, unit, start
        self._clock = clock
        self._began = self._last_line = clock()
        self._items = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and speaks():
            self._bar = self._make_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.start, words="")
        self._began = self._last_line = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, *, num: int = 0, text: str = "") -> None:
        """`done` steps of `total` are done; `num` items (pairs, replies) were handled since the last call."""
        self._items += num
        now = self._clock()
        words = self._words(done, now, text)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, words=words)
        elif now - self._last_line >= self.LINE_EVERY_S or done == self.total:
            self._last_line = now
            of = "" if self.total is None else f"/{self.total}"
            note(f"{self.title} {done}{of}  {words}")

    def _words(self, done: int, now: float, text: str) -> str:
        parts = [printable(text)] if text else []
        elapsed = now - self._began
        if elapsed > 0.2 and self._items:  # before that a rate says nothing
            parts.append(f"{self._items / elapsed:.3g} {self.unit}/s")
        if elapsed > 0 and self.total is not None and self.start < done < self.total:
            parts.append(f"{duration(elapsed * (self.total - done) / (done - self.start))} left")
        return "  ".join(parts)

    def _make_bar(self) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        words = TextColumn("{task.fields[words]}", markup=False)
        title = TextColumn("{task.description}", markup=False)
        done = TextColumn("{task.completed:,}") if self.total is None else MofNCompleteColumn()
        return Bar(title, BarColumn(bar_width=24), done, words, console=_console(sys.stderr))


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `8 s`, `2:05`, `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
