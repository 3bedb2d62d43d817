"""A JSON array of rows, read piece by piece: only the row at hand and what came with it are in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from simpo.data.parse import Decoder, complaint
from simpo.data.reasons import BadRow
from simpo.data.tables import MAX_ROW_BYTES, NumberedRow
from simpo.errors import DataError

_BLANKS = re.compile(r"[ \t\r\n]*")
_NO_UTF8 = re.compile("[\udc80-\udcff]")
# Where a value is cut off, the reader stumbles within an escape or a word of its end, or over a string without one.
_AT_THE_END = 16
_SHOWN_BEFORE = 20  # characters that errors show before the place of what is wrong


def array_rows(pieces: Iterable[bytes], name: str) -> Iterator[NumberedRow]:
    """The rows of the array that these bytes are, counted from 1.

    Raises `DataError` where they are none, with the line at which that is seen: the rows before it came whole.
    """
    text, decoder, number = _Text(pieces, name), Decoder(), 0
    if text.next() != "[":
        raise text.broken("Expecting '['")
    text.place += 1
    while (mark := text.next()) != "]" or number == 0:
        if mark == "]":
            break
        if number:
            if mark != ",":
                raise text.broken("Expecting ',' delimiter")
            text.place += 1
            text.next()
        number += 1
        yield number, _row(text, decoder)
    text.place += 1
    if text.next():
        raise text.broken("Extra data")


def _row(text: _Text, decoder: Decoder) -> dict[str, Any] | BadRow:
    while True:
        start = text.place
        try:
            row, end = decoder.row_at(text.held, start)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos > len(text.held) - _AT_THE_END
            if not cut or not text.more():
                raise text.broken(error.msg, error.pos) from None
        except RecursionError:
            raise text.broken(None) from None
        else:
            # A number may go on in the next piece.
            if end < len(text.held) or not text.more():
                text.place = end
                odd = _NO_UTF8.search(text.held, start, end) if text.odd else None
                return (
                    BadRow("bad_encoding", f"not valid UTF-8: byte 0x{ord(odd[0]) - 0xDC00:02x}")
                    if odd
                    else row
                )


class _Text:
    """The text of some bytes, of which `held` is in memory and has been read up to `place`.

    Bytes that are no UTF-8 are lone surrogates in it, which no valid bytes give; `odd` says whether there were any.
    """

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self.held, self.place, self.odd = "", 0, False
        self._pieces: Iterator[bytes] | None = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._name = name
        self._lines = self._columns = 0  # line breaks before `held`, and how much of its first line
        self.more()
        self.held = self.held.removeprefix("\ufeff")

    def more(self) -> bool:
        """Take in at least as much as is still to be read, and forget what was; False at the end."""
        forgotten = max(0, self.place - _SHOWN_BEFORE)
        rest = self.held[forgotten:]
        wanted, taken = max(1, len(rest)), [rest]
        if len(rest) > MAX_ROW_BYTES:
            raise DataError(f"a row of more than {MAX_ROW_BYTES >> 20} MiB", where=self._name)
        while wanted > 0 and self._pieces is not None:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
            taken.append(self._decoder.decode(piece or b"", final=piece is None))
            wanted -= len(taken[-1])
            self.odd = self.odd or (not taken[-1].isascii() and _NO_UTF8.search(taken[-1]) is not None)
        if len(taken) == 1 or not any(taken[1:]):
            return False
        self._lines, self._columns = self._position(forgotten)
        self.held, self.place = "".join(taken), self.place - forgotten
        return True

    def next(self) -> str:
        """The next character that is not blank, which stays to be read; nothing at the end."""
        while True:
            found = _BLANKS.match(self.held, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.held) or not self.more():
                return self.held[self.place : self.place + 1]

    def broken(self, message: str | None, place: int | None = None) -> DataError:
        """The error that this is no array, seen at a place of `held`; without a message it is nested too deeply."""
        place = self.place if place is None else place
        line, column = self._position(place)
        said = "nested too deeply" if message is None else complaint(message, column + 1, self.held, place)
        return DataError(f"not a valid JSON array: {said}", where=f"{self._name}:{line + 1}")

    def _position(self, place: int) -> tuple[int, int]:
        """How many line breaks stand before a place of `held`, and how many characters after the last of them."""
        breaks = self.held.count("\n", 0, place)
        if not breaks:
            return self._lines, self._columns + place
        return self._lines + breaks, place - self.held.rfind("\n", 0, place) - 1


__all__ = ["array_rows"]
