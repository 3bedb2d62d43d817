"""Train one run in a process of its own: its peak memory is its own, and if it dies, others go on.

    python -m simpo.study.child RECIPE

The process speaks JSON lines on its standard output: `{"event": ...}` as the run writes them, `{"progress": [what,
done, total]}`, and at last `{"done": run}` or `{"error": {...}}`. A run that was killed is gone on with. When its
standard input ends, so has the process that started it: then it saves its state and stops.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

from simpo.errors import Interrupted, RecipeError, RunFailed, SimpoError

LOCK_PATIENCE_S = 60.0  # for a process whose starter was killed, which is about to save and stop

Listener = Callable[[dict[str, Any]], None]
Progress = Callable[[str, int, int], None]


class Train(Protocol):
    """Train the run that a recipe file describes, or go on with it; errors as of `train_in_child`."""

    def __call__(
        self,
        recipe: Path,
        *,
        listen: Listener | None,
        progress: Progress | None,
        environment: Mapping[str, str] | None,
    ) -> None: ...


def train_in_child(
    recipe: Path,
    *,
    listen: Listener | None = None,
    progress: Progress | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Train (or go on with) the run of a recipe file and wait for it.

    Raises RunFailed with the child's own words where it failed, or with its signal where it was killed; Interrupted
    after SIGINT or SIGTERM to this process, once the child has saved its state.
    """
    command = [sys.executable, "-m", "simpo.study.child", str(recipe)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,  # held open while we live
        text=True,
        encoding="utf-8",
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # a Ctrl-C reaches it once, through us, and not twice
    )
    with process as child, _Forwarding(child) as asked:
        error = _relay(cast(IO[str], child.stdout), listen, progress)
        status = child.wait()
    if asked.stopped:
        raise Interrupted(
            "interrupted; what was trained is saved",
            where=str(recipe),
            fix="the same command goes on from there",
        )
    if error is not None:
        raise RunFailed(str(error["message"]), where=error.get("where"), fix=error.get("fix"))
    if status != 0:
        raise RunFailed(_death(status), where=str(recipe))


class _Forwarding:
    """Hands SIGINT and SIGTERM on to the child while the block runs; a second one kills it."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child, self.stopped = child, False

    def __enter__(self) -> _Forwarding:
        self._before = {
            number: signal.signal(number, self._forward) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.child.poll() is None:  # we leave by an error of our own
            self.child.kill()
            self.child.wait()

    def _forward(self, number: int, _: object) -> None:
        self.child.send_signal(signal.SIGKILL if self.stopped else number)
        self.stopped = True


def _relay(lines: IO[str], listen: Listener | None, progress: Progress | None) -> dict[str, Any] | None:
    error: dict[str, Any] | None = None
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # a library that prints
            continue
        if not isinstance(message, dict):
            continue
        if "event" in message and listen is not None:
            listen(message["event"])
        elif "progress" in message and progress is not None:
            progress(*message["progress"])
        error = message.get("error", error)
    return error


def _death(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if -status == signal.SIGKILL else ""
        return f"the training process was killed by {name}{hint}"
    return f"the training process ended with status {status}; its output above says why"


def main(arguments: Sequence[str]) -> int:
    """The child's side: train the recipe's run, or resume it where it was begun; the status is the error's."""
    from simpo.recipe import load_recipe
    from simpo.runs.folder import is_run_folder
    from simpo.train.run import resume, train

    (path,) = arguments
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no message of ours

    def say(**message: Any) -> None:
        try:
            out.write(json.dumps(message) + "\n")
            out.flush()
        except BrokenPipeError:  # nobody listens any more: `_stop_with_starter` ends us, state saved
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())

    def listen(event: dict[str, Any]) -> None:
        say(event=event)

    def progress(what: str, done: int, total: int) -> None:
        say(progress=[what, done, total])

    threading.Thread(target=_stop_with_starter, daemon=True).start()
    try:
        loaded = load_recipe(path)
        if is_run_folder(Path(loaded.recipe.output)):
            _wait_for_lock(loaded.recipe.output)
            resume(loaded.recipe.output, listen=listen, progress=progress)
        else:
            train(loaded, listen=listen, progress=progress)
    except SimpoError as error:
        say(error={"message": error.message, "where": error.where, "fix": error.fix})
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    say(done=loaded.recipe.output)
    return 0


def _stop_with_starter() -> None:
    while os.read(0, 1024):  # past Python's own stream, whose lock would be held at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_lock(run: str) -> None:
    from simpo.runs.folder import RunFolder

    until = time.monotonic() + LOCK_PATIENCE_S
    while time.monotonic() < until:
        try:
            with RunFolder(run).locked():
                return
        except RecipeError:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
