"""Texts set aside in a file without a name, so that a check may look at some of them again."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Sequence

_BETWEEN = b"\xff"  # stands in no UTF-8
_WAITING = 1 << 20  # bytes that wait to be written


class Spool:
    """Records of several texts each, numbered from 0: eight bytes of memory a record, its texts in a temporary file.

    The file goes with the object, or with the process. Any text can be held, lone surrogates too.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="simpo-")  # noqa: SIM115 - it lives as long as the object
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])
        self._waiting: list[bytes] = []
        self._written = 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, texts: Sequence[str]) -> int:
        """Set a record aside; its number."""
        packed = _BETWEEN.join([text.encode("utf-8", "surrogatepass") for text in texts])
        self._waiting.append(packed)
        self._ends.append(self._ends[-1] + len(packed))
        if self._ends[-1] - self._written > _WAITING:
            self._write()
        return len(self) - 1

    def __getitem__(self, number: int) -> list[str]:
        """The texts of a record."""
        if self._waiting:
            self._write()
        start = self._ends[number]
        packed = os.pread(self._file.fileno(), self._ends[number + 1] - start, start)
        return [part.decode("utf-8", "surrogatepass") for part in packed.split(_BETWEEN)]

    def _write(self) -> None:
        self._file.write(b"".join(self._waiting))
        self._file.flush()
        self._waiting.clear()
        self._written = self._ends[-1]
