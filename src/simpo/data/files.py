"""The bytes of a file to its rows: JSON, Parquet, Arrow or CSV, plain, gzip or zstd, told by the bytes themselves.

Only CSV needs its name (`.csv`, `.tsv`), for any text is CSV of some kind.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from simpo.data.arrays import array_rows
from simpo.data.parse import Decoder
from simpo.data.reasons import BadRow, not_utf8, shown
from simpo.data.tables import (
    ARROW_FILE,
    ARROW_STREAM,
    FEATHER_1,
    MAX_ROW_BYTES,
    NumberedRow,
    arrow_rows,
    csv_rows,
    parquet_rows,
)
from simpo.data.unpack import BUFFER_BYTES, Digest, Unpacked, unpacked
from simpo.errors import DataError

_JSON = (".jsonl", ".ndjson", ".json")
_DELIMITERS = {".csv": None, ".tsv": "\t"}
_ARROW_SUFFIXES = (".arrow", ".feather")
SUFFIXES = (*_JSON, ".parquet", *_ARROW_SUFFIXES, *_DELIMITERS)
_ARROW = (ARROW_FILE, ARROW_STREAM, FEATHER_1)
_PACKED = {
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k"),
    b"PK\x03\x04": ("zip", "unzip"),
}
_JSON_BEGINS = re.compile(rb"""(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[{\]])""")
_LONG_LINE = 1 << 19
_LOOKED_AT = 20  # lines after a first one that is no whole value

# A line with its number, and with what ends it.
_Lines = Iterator[tuple[int, bytes]]


def read_file(path: Path, digest: Digest | None = None) -> Iterator[NumberedRow]:
    """Each row of a file with its place, as they are read; `digest` has seen every byte once the last one came.

    Raises `DataError` for what concerns the file as a whole: missing, a folder, unreadable, empty, truncated, or of no
    known kind; some of that is only seen on the way. A row that is not a JSON object comes as a `BadRow`.
    """
    name = str(path)
    with unpacked(path, digest) as inside:
        head = inside.head
        if not head:
            raise DataError("the file is empty", where=name)
        suffixes = path.suffixes
        is_json = bool(_JSON_BEGINS.match(head))
        if head.startswith(b"PAR1") or (".parquet" in suffixes and not is_json):
            yield from _table(parquet_rows, inside, name)
        elif head.startswith(_ARROW) or (not is_json and any(one in suffixes for one in _ARROW_SUFFIXES)):
            yield from _table(arrow_rows, inside, name)
        else:
            _refuse_foreign(head, name)
            table = next((suffix for suffix in suffixes[::-1] if suffix in _DELIMITERS), None)
            if table is None or is_json:
                yield from _text_rows(inside.handle, name)
            else:
                yield from csv_rows(_numbered(inside.handle, name), name, _DELIMITERS[table])


def _table(
    read: Callable[[Path, str], Iterator[NumberedRow]], inside: Unpacked, name: str
) -> Iterator[NumberedRow]:
    """The rows of a table whose reader goes back and forth in its file: what is packed is unpacked into one first."""
    if inside.path is not None:
        yield from read(inside.path, name)
        return
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(inside.handle, file, BUFFER_BYTES)
        file.flush()
        yield from read(Path(file.name), name)


def _refuse_foreign(head: bytes, name: str) -> None:
    encoding = _wide_encoding(head)
    if encoding:
        raise DataError(
            f"the text is {encoding}, not UTF-8",
            where=name,
            fix=f"iconv -f {encoding} -t UTF-8 {name} > converted{Path(name).suffix}",
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


def _numbered(handle: io.BufferedReader[Any], name: str, before: int = 0) -> _Lines:
    number = before
    while line := handle.readline(MAX_ROW_BYTES):
        number += 1
        _refuse_endless(line, name, number)
        yield number, line


def _refuse_endless(line: bytes, name: str, number: int) -> None:
    if len(line) >= MAX_ROW_BYTES:
        raise DataError(f"a line of more than {MAX_ROW_BYTES >> 20} MiB", where=f"{name}:{number}")


def _pieces(handle: io.BufferedReader[Any]) -> Iterator[bytes]:
    return iter(lambda: handle.read(BUFFER_BYTES), b"")


def _text(line: bytes) -> str:
    """A line without what ends it; a byte order mark inside a file is what joining two files leaves."""
    return line.decode("utf-8", "surrogateescape").removeprefix("\ufeff").rstrip(" \t\r\n")


def _text_rows(handle: io.BufferedReader[Any], name: str) -> Iterator[NumberedRow]:
    begun = handle.readline(_LONG_LINE)
    if len(begun) == _LONG_LINE:  # too long for a row that is a list, if it is one: an array on one line
        if _text(begun).lstrip().startswith("["):
            yield from array_rows(chain([begun], _pieces(handle)), name)
            return
        begun += handle.readline(MAX_ROW_BYTES)
    _refuse_endless(begun, name, 1)
    lines: _Lines = chain([(1, begun)], _numbered(handle, name, before=1))
    first = next((line for line in lines if not _text(line[1]).isspace() and _text(line[1])), None)
    if first is None:
        raise DataError("the file holds only blank lines", where=name)
    start = _text(first[1]).lstrip()
    if start[0] not in '[{"' and not set(_JSON) & set(Path(name).suffixes):
        raise DataError(
            f"neither JSON, JSON Lines, Parquet nor Arrow (begins with {shown(start, 40)})",
            where=name,
            fix="convert it to JSON Lines: one object a line; or name a table of commas .csv",
        )
    kept = [first]
    if start[0] == "[":
        kept += islice((line for line in lines if _text(line[1]).strip()), 2)
        if _is_array([_text(line) for _, line in kept]):
            yield from array_rows(chain([b"".join(line for _, line in kept)], _pieces(handle)), name)
            return
    elif start[0] == "{" and not Decoder().is_whole(start):
        kept += islice(lines, _LOOKED_AT)
        if not any(Decoder().is_whole(text) for _, line in kept[1:] if (text := _text(line)).startswith("{")):
            kept += lines
            _refuse_one_value("".join(_text(line) + "\n" for _, line in kept), name)
    yield from _rows_of_lines(chain(kept, lines))


def _rows_of_lines(lines: _Lines) -> Iterator[NumberedRow]:
    decoder = Decoder()
    for number, raw in lines:
        try:
            text = raw.decode().removeprefix("\ufeff").rstrip(" \t\r\n")
        except UnicodeDecodeError as error:
            yield number, BadRow("bad_encoding", not_utf8(raw, error))
            continue
        if text and not text.isspace():
            yield number, decoder.row(text)


def _is_array(lines: list[str]) -> bool:
    """Whether the first lines that are not blank, the first of which begins with a bracket, are those of an array.

    They are rows where the first is a whole list with something after it; or where it is broken, though neither a
    bracket alone nor to be continued, and the second is whole and not continued by the third.
    """
    first, *others = lines
    if Decoder().is_whole(first):
        return not others
    if first == "[" or first.endswith(",") or not others or not Decoder().is_whole(others[0]):
        return True
    return len(others) > 1 and others[1].lstrip()[0] in ",]"


def _refuse_one_value(text: str, name: str) -> None:
    """Raise for a text that is one JSON value over several lines, if it is."""
    value, problem = Decoder().document(text)
    if problem is None:
        raise _one_value(value, name)


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
