"""Tables to rows: Parquet, Arrow (Feather too) and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from simpo.data.reasons import TO_UTF8, BadRow, not_utf8, shown
from simpo.errors import DataError

# A row, or why there is none, with its line (JSON Lines, CSV) or its number (others), counted from 1.
NumberedRow = tuple[int, dict[str, Any] | BadRow]

# Longer is no row: somebody's disk image, or a file whose line breaks were lost.
MAX_ROW_BYTES = 1 << 28
_SLICE = 1024  # rows that are Python objects at a time

ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"
FEATHER_1 = b"FEA1"
# pandas writes a list of messages so; taken for text it would be trained on as it stands.
_LISTED_MESSAGES = re.compile(r"""\s*\[\s*\{\s*["'](role|content|from|value)["']\s*:""")
_TOOLS = ("tools", "tool_calls")
_HOLDS_LISTS = (
    "write JSON Lines or Parquet, which hold lists: frame.to_json(path, orient='records', lines=True)"
)


def parquet_rows(source: Path, name: str) -> Iterator[NumberedRow]:
    """The rows of a Parquet file; `name` is what errors call it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Otherwise whole columns of a group of rows are read ahead, and a file is one group at times.
        with pq.ParquetFile(source, buffer_size=1 << 16, pre_buffer=False) as file:
            _refuse_twice(file.schema_arrow.names, name)
            yield from table_rows(file.iter_batches(batch_size=_SLICE, use_threads=False))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"not a valid Parquet file: {_first_line(error)}", where=name) from error


def arrow_rows(source: Path, name: str) -> Iterator[NumberedRow]:
    """The rows of an Arrow file (Feather version 2 is one) or stream, as `datasets` caches them."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(source)) as file:
            head = file.read(8)
            file.seek(0)
            if head.startswith(FEATHER_1):
                raise DataError(
                    "a Feather file of version 1, which is not read",
                    where=name,
                    fix=f"write it anew with pandas: pd.read_feather({name!r}).to_parquet('rows.parquet')",
                )
            batches = _arrow_batches(file, head)
            _refuse_twice(next(batches), name)
            yield from table_rows(batches)
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"not a valid Arrow file: {_first_line(error)}", where=name) from error


def _arrow_batches(file: Any, head: bytes) -> Iterator[Any]:
    """The column names, then the record batches."""
    import pyarrow as pa

    if head.startswith(ARROW_FILE):
        with pa.ipc.open_file(file) as reader:
            yield reader.schema.names
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        with pa.ipc.open_stream(file) as reader:
            yield reader.schema.names
            yield from reader


def table_rows(batches: Iterable[Any]) -> Iterator[NumberedRow]:
    """The rows of Arrow's record batches, a few at a time; a value that Python cannot hold costs its row."""
    number = 0
    for batch in batches:
        batch.validate()  # a damaged file may say that it holds any number of rows
        for start in range(0, batch.num_rows, _SLICE):
            for row in _rows_of(batch.slice(start, _SLICE)):
                number += 1
                yield number, row


def _rows_of(batch: Any) -> list[dict[str, Any] | BadRow]:
    import pyarrow as pa

    try:
        # Arrow takes a damaged file at its word: what its offsets point at may be anywhere.
        batch.validate(full=True)
        rows: list[dict[str, Any] | BadRow] = batch.to_pylist()
    except (ValueError, OverflowError) as error:  # also text that is not UTF-8, a date beyond Python's
        if batch.num_rows == 1:
            reason = "bad_encoding" if "utf" in str(error).lower() else "wrong_type"
            return [BadRow(reason, f"a value that cannot be read: {_first_line(error)}")]
        return [row for index in range(batch.num_rows) for row in _rows_of(batch.slice(index, 1))]
    except KeyError as error:  # so pyarrow says that it has no class for Arrow's oldest intervals
        types = ", ".join(dict.fromkeys(map(str, batch.schema.types)))
        raise pa.ArrowTypeError(f"Python has no values of one of its types: {types}") from error
    return [_without_nulls(row) for row in rows] if "tool" in str(batch.schema) else rows


def _without_nulls(value: Any, inside: bool = False) -> Any:
    """A row whose tools and calls hold what was written: a table gives each object of a column the keys of all."""
    if isinstance(value, dict):
        return {
            key: _without_nulls(item, inside or key in _TOOLS)
            for key, item in value.items()
            if not (inside and item is None)
        }
    return [_without_nulls(item, inside) for item in value] if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["damaged"])[0]


def _refuse_twice(columns: Sequence[str], name: str) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError(f"two columns have the name {twice[0]!r}", where=name)


def csv_rows(lines: Iterable[tuple[int, bytes]], name: str, delimiter: str | None) -> Iterator[NumberedRow]:
    """The rows of CSV (RFC 4180), each with the line it begins on; all values are text.

    `lines` are the numbered lines with their line breaks, which may stand inside quotes. Without a `delimiter` it is
    the comma, or the semicolon or tab that a header without commas has.
    """
    # A reply may be longer than the 128 KiB that Python's reader allows a field.
    csv.field_size_limit(MAX_ROW_BYTES)
    counted = _Counted(lines)
    header = _header(counted, name, delimiter)
    if header is None:
        raise DataError("the file holds only blank lines", where=name)
    columns, reader = header
    while True:
        counted.first = counted.odd = None
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise DataError(
                    "a quoted field that begins here is never closed",
                    where=f"{name}:{counted.first}",
                    fix='close it; a quote inside a quoted field is written twice: ""',
                ) from error
            yield counted.first or 1, BadRow("bad_csv", f"not valid CSV: {error}")
            continue
        if counted.odd is not None:
            yield counted.first or 1, BadRow("bad_encoding", counted.odd)
        elif values:
            yield counted.first or 1, _csv_row(columns, values)


class _Counted:
    """The lines' texts, with the number of the first one taken since `first` was set to None.

    odd: what is wrong with the bytes of a line taken since then, if anything.
    """

    def __init__(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self._lines = iter(lines)
        self.first: int | None = None
        self.odd: str | None = None

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if self.first is None:
            self.first = number
        try:
            # A byte order mark inside a file is what joining two files leaves.
            return line.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            self.odd = not_utf8(line, error)
            return line.decode("utf-8", "surrogateescape")


def _header(lines: _Counted, name: str, delimiter: str | None) -> tuple[list[str], Any] | None:
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return None
    if delimiter is None:
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")

    def text() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(text(), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip() for column in next(reader)]
    except csv.Error as error:
        raise DataError(f"the header is not valid CSV: {error}", where=f"{name}:{lines.first}") from error
    if lines.odd is not None:
        raise DataError(lines.odd, where=f"{name}:{lines.first}", fix=f"convert the file: {TO_UTF8} {name}")
    _refuse_twice([column for column in columns if column], name)
    return columns, reader


def _csv_row(columns: list[str], values: list[str]) -> dict[str, Any] | BadRow:
    if len(values) != len(columns):
        return BadRow(
            "bad_csv",
            f"{len(values)} fields where the header has {len(columns)}; the first is {shown(values[0])}",
        )
    for column, value in zip(columns, values, strict=True):
        if _LISTED_MESSAGES.match(value):
            return BadRow(
                "wrong_type", f"the cell of {column!r} holds a list of messages as text: {_HOLDS_LISTS}"
            )
    return {column: value for column, value in zip(columns, values, strict=True) if column}
