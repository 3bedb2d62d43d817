"""JSON text to rows, with what Python's reader lets pass said out loud: NaN, repeated keys, lone surrogates."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from simpo.data.reasons import BadRow, kind_of, shown

# Deeper than any real row, and far from where Python's own recursion ends, so that whoever writes a row again can.
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a text is not one JSON value: a sentence, and the line of the text (from 1)."""

    text: str
    line: int


class Decoder:
    """Reads JSON strictly. What is wrong inside a value leaves a `BadRow` in its place, found by `checked`."""

    def __init__(self) -> None:
        self._flagged = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_int=self._integer,
            parse_float=self._float,
        )

    def row(self, line: str) -> dict[str, Any] | BadRow:
        """One line as a row."""
        self._flagged = False
        try:
            value = self._decoder.decode(line)
        except (json.JSONDecodeError, RecursionError) as error:
            return BadRow("bad_json", f"not valid JSON: {_problem(line, error).text}")
        return self._accepted(value, line, 0, len(line))

    def row_at(self, text: str, place: int) -> tuple[dict[str, Any] | BadRow, int]:
        """The value that begins at a place of a text as a row, and where it ends.

        Raises json's own errors where there is none: what follows may only be missing as yet.
        """
        self._flagged = False
        value, end = self._decoder.raw_decode(text, place)
        return self._accepted(value, text, place, end), end

    def _accepted(self, value: object, text: str, start: int, end: int) -> dict[str, Any] | BadRow:
        """A value as a row; it is looked into where its text could hold what the parser lets pass."""
        if (
            self._flagged
            or text.find("\\ud", start, end) >= 0
            or text.find("\\uD", start, end) >= 0
            or text.count("[", start, end) + text.count("{", start, end) > _MAX_DEPTH
        ):
            return self.checked(value)
        return value if isinstance(value, dict) else _not_an_object(value)

    def document(self, text: str) -> tuple[Any, Problem | None]:
        """A whole text as one value, and what is wrong where it is none."""
        try:
            return self._decoder.decode(text), None
        except (json.JSONDecodeError, RecursionError) as error:
            return None, _problem(text, error)

    def is_whole(self, text: str) -> bool:
        """Whether a text is one JSON value."""
        return self.document(text)[1] is None

    def checked(self, value: object) -> dict[str, Any] | BadRow:
        """A parsed value as a row, or what is wrong with it."""
        if isinstance(value, BadRow):
            return value
        if not isinstance(value, dict):
            return _not_an_object(value)
        for key, item in value.items():
            flaw = _flaw(key) or _flaw(item)
            if flaw is not None:
                return BadRow(flaw.reason, f"{flaw.detail} (in {shown(key, 40)})")
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | BadRow:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        self._flagged = True
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        return BadRow("duplicate_key", f"the key {shown(twice, 40)} is given twice")

    def _constant(self, name: str) -> BadRow:
        self._flagged = True
        return BadRow("bad_json", f"{name} is not valid JSON; write null")

    def _float(self, digits: str) -> float | BadRow:
        value = float(digits)
        if math.isfinite(value):
            return value
        self._flagged = True
        return BadRow("bad_json", f"the number {shown(digits, 20)} is too large")

    def _integer(self, digits: str) -> int | BadRow:
        try:
            return int(digits)
        except ValueError:
            self._flagged = True
            return BadRow("bad_json", f"a number of {len(digits)} digits")


def complaint(message: str, column: int, text: str, place: int) -> str:
    """What json says of a text, where, and what stands there."""
    near = text[max(0, place - 20) : place + 20]
    return f"{message.removesuffix(' at')} at column {column}, near {shown(near)}"


def parse_inside(text: str) -> Any:
    """JSON text inside a row's own text as a value that can be kept, or a `BadRow` where it is none."""
    value, problem = Decoder().document(text)
    if problem is not None:
        return BadRow("bad_json", problem.text)
    return _flaw(value) or value


def _not_an_object(value: object) -> BadRow:
    flaw = _flaw(value)
    return flaw or BadRow("not_an_object", f"the row is {kind_of(value)}, not an object: {shown(value)}")


def _problem(text: str, error: json.JSONDecodeError | RecursionError) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("nested too deeply", 1)
    return Problem(complaint(error.msg, error.colno, text, error.pos), error.lineno)


def _flaw(value: object) -> BadRow | None:
    """The first thing in a value that cannot be kept, whatever its depth; without recursion."""
    pending: list[tuple[object, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, BadRow):
            return item
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as error:
                return BadRow(
                    "bad_encoding",
                    f"the lone surrogate {shown(item[error.start])} cannot be written as UTF-8",
                )
        elif depth > _MAX_DEPTH:
            return BadRow("bad_json", f"nested more than {_MAX_DEPTH} levels deep")
        elif isinstance(item, dict):
            pending.extend((part, depth + 1) for entry in item.items() for part in entry)
        elif isinstance(item, list):
            pending.extend((part, depth + 1) for part in item)
    return None
