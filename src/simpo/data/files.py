"""The bytes of a file to its rows: JSON, Parquet, Arrow or CSV, plain, gzip or zstd, told by the bytes themselves.

Only CSV needs its name (`.csv`, `.tsv`), for any text is CSV of some kind.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from simpo.data.parse import Decoder
from simpo.data.reasons import BadRow, shown
from simpo.data.tables import (
    ARROW_FILE,
    ARROW_STREAM,
    FEATHER_1,
    NumberedRow,
    arrow_rows,
    csv_rows,
    parquet_rows,
)
from simpo.errors import DataError

_BUFFER_BYTES = 1 << 20
_JSON = (".jsonl", ".ndjson", ".json")
_DELIMITERS = {".csv": None, ".tsv": "\t"}
SUFFIXES = (*_JSON, ".parquet", ".arrow", ".feather", *_DELIMITERS)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ARROW = (ARROW_FILE, ARROW_STREAM, FEATHER_1)
_PACKED = {
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k"),
    b"PK\x03\x04": ("zip", "unzip"),
}


class Digest(Protocol):
    """What takes in the bytes of a file, as `hashlib`'s digests do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in the next bytes."""
        ...


class _Watched(io.RawIOBase):
    """A file's bytes, each handed to a digest as it is read."""

    def __init__(self, raw: io.FileIO, digest: Digest) -> None:
        self._raw, self._digest = raw, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._raw.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        return count


def read_file(path: Path, digest: Digest | None = None) -> Iterator[NumberedRow]:
    """Each row of a file with its place, as they are read; `digest` has seen every byte once the last one came.

    Raises `DataError` for what concerns the file as a whole: missing, a folder, unreadable, empty, not UTF-8,
    truncated, or of no known kind. A row that is not a JSON object comes as a `BadRow`.
    """
    name = str(path)
    with _reading(name), path.open("rb", buffering=0) as file:
        raw = io.BufferedReader(_Watched(file, digest) if digest else file, _BUFFER_BYTES)
        handle = _unpacked(raw, path.suffix, name)
        head = handle.peek(8)[:8]
        if not head:
            raise DataError("the file is empty", where=name)
        whole = path if handle is raw else None
        if head.startswith(b"PAR1") or ".parquet" in path.suffixes:
            yield from parquet_rows(whole or handle.read(), name)
        elif head.startswith(_ARROW) or {".arrow", ".feather"} & set(path.suffixes):
            yield from arrow_rows(whole or handle.read(), name)
        else:
            _refuse_foreign(head, name)
            table = next((suffix for suffix in path.suffixes[::-1] if suffix in _DELIMITERS), None)
            if table is None:
                yield from _text_rows(handle, name)
            else:
                yield from csv_rows(_decoded(handle, name), name, _DELIMITERS[table])
        while raw.read(_BUFFER_BYTES):  # what a table's reader, which opens the file itself, has not taken
            pass


def _unpacked(raw: io.BufferedReader[Any], suffix: str, name: str) -> io.BufferedReader[Any]:
    """The bytes inside a gzip or zstd file, by their first bytes; those of any other file as they are."""
    head = raw.peek(4)[:4]
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if head.startswith(_ZSTD):
        import pyarrow as pa

        # pyarrow's stream has what BufferedReader asks of a raw file, but not its type.
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    said = {".gz": "gzip", ".zst": "zstd"}.get(suffix)
    if said and head:
        raise DataError(f"not {said}, though its name says so (begins with {_shown(raw)})", where=name)
    return raw


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("no such file", where=name) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the gzip file is damaged or cut short ({error})", where=name, fix="copy or download it again"
        ) from error
    except OSError as error:
        if error.errno is None and error.strerror is None:  # of pyarrow, which unpacks zstd
            raise DataError(
                f"the zstd file is damaged or cut short ({error})",
                where=name,
                fix="copy or download it again",
            ) from error
        raise DataError(f"cannot be read: {error.strerror or error}", where=name) from error


def _shown(handle: io.BufferedReader) -> str:
    return shown(handle.peek(12)[:12].decode("latin-1"))


def _refuse_foreign(head: bytes, name: str) -> None:
    encoding = _wide_encoding(head)
    if encoding:
        raise DataError(
            f"the text is {encoding}, not UTF-8",
            where=name,
            fix=f"iconv -f {encoding} -t UTF-8 {name} > converted.jsonl",
        )
    for mark, (kind, command) in _PACKED.items():
        if head.startswith(mark):
            raise DataError(f"packed with {kind}, which is not read", where=name, fix=f"{command} {name}")


def _wide_encoding(head: bytes) -> str | None:
    """UTF-32 or UTF-16, by its byte order mark or by the zero beside each ASCII character."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    if len(head) >= 4 and any(head):
        if not any(head[1::2]):
            return "UTF-16LE"
        if not any(head[0::2]):
            return "UTF-16BE"
    return None


def _lines(handle: io.BufferedReader, name: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers, and without what ends them."""
    for number, text in _decoded(handle, name):
        line = text.rstrip(" \t\r\n")
        if line and not line.isspace():
            yield number, line


def _decoded(handle: io.BufferedReader, name: str) -> Iterator[tuple[int, str]]:
    """Every line as it stands, with its number."""
    for number, raw in enumerate(handle, 1):
        try:
            # A byte order mark inside a file is what joining two files leaves.
            yield number, raw.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DataError(
                f"not valid UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                where=f"{name}:{number}",
                fix=f"mend the line, or convert the file: iconv -f LATIN1 -t UTF-8 {name} > converted.jsonl",
            ) from error


def _text_rows(handle: io.BufferedReader, name: str) -> Iterator[NumberedRow]:
    decoder = Decoder()
    lines = _lines(handle, name)
    first = next(lines, None)
    if first is None:
        raise DataError("the file holds only blank lines", where=name)
    start = first[1].lstrip()
    if start[0] not in '[{"' and not set(_JSON) & set(Path(name).suffixes):
        raise DataError(
            f"neither JSON, JSON Lines, Parquet nor Arrow (begins with {shown(start, 40)})",
            where=name,
            fix="convert it to JSON Lines: one object a line; or name a table of commas .csv",
        )
    if start[0] == "[" or (start[0] == "{" and not decoder.is_whole(start)):
        # Not a row on one line: an array of rows, or one value over several lines. Only the whole text can tell.
        kept = [first, *lines]
        rows = _array_rows(decoder, kept, name)
        if rows is not None:
            yield from enumerate(rows, 1)
            return
        lines = iter(kept)
    else:
        lines = chain([first], lines)
    for number, line in lines:
        yield number, decoder.row(line)


def _array_rows(
    decoder: Decoder, lines: list[tuple[int, str]], name: str
) -> list[dict[str, Any] | BadRow] | None:
    """The rows of a JSON array, or None where the text is lines after all, the first of which may be bad."""
    whole = "\n".join(line for _, line in lines)
    value, problem = decoder.document(whole)
    if problem is None:
        if isinstance(value, list):
            return [decoder.checked(item) for item in value]
        raise _one_value(value, name)
    # In a broken array the second line is a part of a row, or a row with a comma after it.
    if whole.lstrip().startswith("[") and not any(decoder.is_whole(line) for _, line in lines[:2]):
        line = lines[min(problem.line, len(lines)) - 1][0]
        raise DataError(f"not a valid JSON array: {problem.text}", where=f"{name}:{line}")
    return None


def _one_value(value: object, name: str) -> DataError:
    """The error for a document that is one object: the rows may be a list inside it."""
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, dict) and any(_is_entry(item) for item in value.values()):
        return DataError(
            "a list of data sets (LLaMA-Factory's dataset_info.json), not a data set",
            where=name,
            fix="give the file that its file_name names; its columns go to data.columns",
        )
    inside = [key for key in keys if key.isidentifier() and isinstance(value, dict) and _is_rows(value[key])]
    return DataError(
        f"one JSON object over several lines (keys: {', '.join(shown(key, 30) for key in keys[:8])}), "
        "not an array of rows",
        where=name,
        fix=f"write one row a line: jq -c '.{f'{inside[0]}[]' if inside else ''}' {name} > rows.jsonl",
    )


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and bool({"file_name", "hf_hub_url", "ms_hub_url"} & set(value))


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
