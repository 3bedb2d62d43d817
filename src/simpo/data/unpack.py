"""The bytes of a file as it was when it was opened: of files, pipes, gzip and zstd, with a digest of them all."""

from __future__ import annotations

import errno
import gzip
import io
import os
import select
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from simpo.data.reasons import shown
from simpo.errors import DataError

BUFFER_BYTES = 1 << 20
_HEAD_BYTES = 16  # what is looked at to tell what a file is
_WAIT_S = 5.0  # for somebody to open the other end of a pipe
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SAID = {".gz": "gzip", ".zst": "zstd"}
_AGAIN = "copy or download it again"


class Digest(Protocol):
    """What takes in the bytes of a file, as `hashlib`'s digests do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in the next bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The bytes inside a file. path: the file itself, where what is in it can be opened once more and sought in."""

    handle: io.BufferedReader[Any]
    path: Path | None

    @property
    def head(self) -> bytes:
        """The first bytes, which stay to be read."""
        return self.handle.peek(_HEAD_BYTES)[:_HEAD_BYTES]


class _Stream(io.RawIOBase):
    """`before`, then the bytes of `raw`, `limit` of them at most; the first ones all at once however they arrive."""

    def __init__(
        self, raw: Any, *, limit: int | None = None, digest: Digest | None = None, before: bytes = b""
    ) -> None:
        self._raw, self._left, self._digest, self._before, self._begun = raw, limit, digest, before, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer) if self._left is None else memoryview(buffer)[: self._left]
        count = len(self._before)
        view[:count], self._before = self._before, b""
        while view[count:] and (more := self._raw.readinto(view[count:])):
            count += more
            if self._begun or count >= _HEAD_BYTES:
                break
        self._begun = True
        if self._left is not None:
            self._left -= count
        if self._digest is not None:
            self._digest.update(view[:count])
        return count


@contextmanager
def unpacked(path: Path, digest: Digest | None = None) -> Iterator[Unpacked]:
    """The bytes of a file, of gzip or zstd (told by its first bytes) those inside it.

    A file that grows meanwhile is read as it was. `digest` has seen all its bytes, as they are stored, once the block
    has ended. A pipe is read as it comes, once somebody writes to it. Raises `DataError` for what cannot be read or is
    none of these, and where the bytes turn out to be damaged.
    """
    name = str(path)
    with _reading(name):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            regular, before = stat.S_ISREG(status.st_mode), b""
            if not regular:
                _require_pipe(status.st_mode, name)
                before = _await_writer(descriptor, name)
            # What the system makes up as it is read (in /proc) says that it holds nothing.
            limit = status.st_size if regular and status.st_size else None
            raw = io.BufferedReader(_Stream(file, limit=limit, digest=digest, before=before), BUFFER_BYTES)
            inside = _inside(raw, path.suffix, name)
            yield Unpacked(inside, path if regular and inside is raw else None)
            while raw.read(BUFFER_BYTES):  # what a table's reader, which opens the file itself, has not taken
                pass


def _inside(raw: io.BufferedReader[Any], suffix: str, name: str) -> io.BufferedReader[Any]:
    head = raw.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    if head.startswith(_GZIP):
        return io.BufferedReader(_Stream(gzip.GzipFile(fileobj=raw)), BUFFER_BYTES)
    if head.startswith(_ZSTD):
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        return io.BufferedReader(_Stream(stream), BUFFER_BYTES)
    said = _SAID.get(suffix)
    if said and head:
        begins = shown(head[:12].decode("latin-1"))
        raise DataError(f"not {said}, though its name says so (begins with {begins})", where=name)
    return raw


def _require_pipe(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise DataError("a folder, not a file", where=name, fix="name a file")
    if not stat.S_ISFIFO(mode):
        raise DataError("a device, not a file", where=name, fix="give a file, or a pipe of one")


def _await_writer(descriptor: int, name: str) -> bytes:
    """The first bytes of a pipe, none where its writer has not come to them yet.

    Waits until somebody has opened the other end: without a writer, reading would never come back.
    """
    events = select.poll()
    events.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + _WAIT_S
    first = b""
    while True:
        try:
            first = os.read(descriptor, _HEAD_BYTES)
        except BlockingIOError:  # there is a writer
            break
        if first or events.poll(0):  # it has written, or come and gone
            break
        if time.monotonic() > deadline:
            raise DataError(
                f"a pipe into which nobody writes ({_WAIT_S:g} s waited)",
                where=name,
                fix="start what writes into it first, or give a file",
            )
        time.sleep(0.02)
    os.set_blocking(descriptor, True)
    return first


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What the system and the unpackers raise, as a `DataError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("no such file", where=name) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"the gzip file is damaged or cut short ({error})", where=name, fix=_AGAIN) from error
    except OSError as error:
        if error.errno is None and error.strerror is None:  # of pyarrow, which unpacks zstd
            raise DataError(
                f"the zstd file is damaged or cut short ({error})", where=name, fix=_AGAIN
            ) from error
        if error.errno == errno.ENXIO:
            raise DataError("a socket, not a file", where=name) from error
        raise DataError(f"cannot be read: {error.strerror or error}", where=name) from error


__all__ = ["BUFFER_BYTES", "Digest", "Unpacked", "unpacked"]
