"""Whoever wants to stop a run: the user at the keyboard, or a scheduler with SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by SIGINT or SIGTERM.

    While `patient` is set, the first signal only asks: the training loop sees it between two steps, saves and stops. A
    second signal, and any while nothing patient is going on, raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.patient = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.requested or not self.patient:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request while the block runs; outside the main thread they stay as they are."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which Python cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
