"""Processes to be signalled and killed, forked from a parent that imports the libraries once and computes nothing.

A process then costs tenths of a second instead of many. Test and parent speak by lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
END_S = 120.0


class Parent:
    """The parent as a test sees it: `python -m MODULE`, which answers `questions()`."""

    def __init__(self, module: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        )

    def ask(self, question: dict[str, Any]) -> Any:
        """The next answer after this question."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> Any:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the parent of the forked processes has died"
        return json.loads(line)

    def close(self) -> None:
        """End the parent; what it forked and nobody waited for goes on."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait(END_S)
        self.process.stdin.close()
        self.process.stdout.close()


def questions() -> Iterator[dict[str, Any]]:
    """In the parent: import the libraries, then take what is asked."""
    import accelerate
    import peft
    import transformers.models.llama.modeling_llama

    assert all((accelerate, peft, transformers))
    os.fsync = lambda fd: None  # as in the tests' own process: no test cuts the power
    while line := sys.stdin.readline():
        yield json.loads(line)


def answer(value: Any) -> None:
    """In the parent: tell the test."""
    print(json.dumps(value), flush=True)


def fork(work: Callable[[], int]) -> int:
    """In the parent: a child that does the work and ends with the status it returns; its process id."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = sys.stderr  # stdout is for answers
        os._exit(work())
    return pid
