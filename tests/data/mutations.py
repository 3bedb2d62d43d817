"""Ways to spoil a file: in its bytes, in its rows, and in how it is packed."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_BYTES = 20_000  # of a spoilt file before it is packed: small ones are read more often

TOKENS = [
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\0",
        b"\0" * 8,
        b"\xe9",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
    ),
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n\n",
        b'"',
        b'""',
        b"'",
        b",",
        b";",
        b"\t",
        b":",
        b"\\",
        b"\\u",
        b"\\ud800",
    ),
    *(
        b"\\udc00",
        b"\\u0000",
        b"\\/",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[[[[",
        b"]]]]",
        b"{}",
        b"[]",
        b'{"a":',
        b"[" * 300,
    ),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"1" * 30, b"9" * 5000, b"0.1", b"1E5"),
    *(
        b"PAR1",
        b"ARROW1\0\0",
        b"\xff\xff\xff\xff",
        b"FEA1",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"PK\x03\x04",
    ),
    *(
        b"\n\nHuman:",
        b"\n\nAssistant:",
        b"<extra_id_1>User\n",
        b"prompt",
        b"chosen",
        b"rejected",
        b'"label": true',
    ),
    *("\u2028".encode(), "\x85".encode(), "é".encode(), "\U0001f600".encode(), b" " * 50, b"A" * 3000),
]

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -3,
        2**70,
        1.5,
        -0.0,
        1e308,
        "",
        " ",
        "a",
        "\n\nHuman: a\n\nAssistant: b",
        "\0",
        "é",
    ),
    *(
        "true",
        "1",
        "NaN",
        "first",
        "tie",
        "[]",
        "{}",
        '[{"name": "f"}]',
        '{"name": "f", "arguments": "{"}',
        "\ud800",
    ),
    *([], {}, [None], [[]], [{}], {"a": 1}, {"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}),
    *([{"role": "user", "content": "a"}], [{"role": "assistant", "content": None, "tool_calls": [{}]}]),
    *([{"role": "tool", "content": [{"type": "text", "text": "x"}], "name": 3}], [["q", "a"]], {"rank": 1}),
]


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A file to be read: its name (the folder is somebody else's) and its bytes."""

    name: str
    content: bytes


def spoilt(
    rng: random.Random, seeds: Sequence[bytes], rows: Sequence[Sequence[Any]], keys: Sequence[str]
) -> Spoilt:
    """A file made of one of the seeds (whole files) or of spoilt rows, packed and named as it may happen."""
    by_rows = rng.random() < 0.5
    content = _of_rows(rng, _spoilt_rows(rng, rows, keys)) if by_rows else rng.choice(seeds)[:MAX_BYTES]
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        content = rng.choice(_BYTES)(rng, content, seeds)
    content = content[:MAX_BYTES]
    packing = rng.choice(("", "", "", "gz", "zst"))
    if packing:
        content = (
            gzip.compress(content, 1, mtime=0)
            if packing == "gz"
            else bytes(pa.compress(content, "zstd", asbytes=True))
        )
        if rng.random() < 0.3:
            content = rng.choice(_BYTES)(rng, content, seeds)
        if rng.random() < 0.1:
            content += content
    suffix = rng.choice((".jsonl", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ""))
    return Spoilt(f"f{suffix}{rng.choice(('', f'.{packing}' if packing else ''))}", content)


def _of_rows(rng: random.Random, rows: list[Any]) -> bytes:
    kind = rng.choice(("lines", "lines", "lines", "array", "pretty", "parquet", "arrow"))
    if kind in ("parquet", "arrow"):
        table = _table(rows)
        if table is not None:
            return _written(table, kind)
    ascii_only = rng.random() < 0.5
    if kind == "array" or kind == "pretty":
        text = json.dumps(rows, ensure_ascii=ascii_only, indent=2 if kind == "pretty" else None)
    else:
        text = rng.choice(("\n", "\n", "\r\n")).join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    return text.encode("utf-8", "surrogatepass")


def _table(rows: list[Any]) -> pa.Table | None:
    try:
        return pa.Table.from_pylist([row for row in rows if isinstance(row, dict)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):
        return None  # a table holds fewer things than JSON


def _written(table: pa.Table, kind: str) -> bytes:
    sink = pa.BufferOutputStream()
    try:
        if kind == "parquet":
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
    except pa.ArrowException:
        return b"PAR1"
    return bytes(sink.getvalue())


def _spoilt_rows(rng: random.Random, rows: Sequence[Sequence[Any]], keys: Sequence[str]) -> list[Any]:
    chosen = [json.loads(json.dumps(row)) for row in rng.choice(rows)[: rng.choice((1, 2, 3, 6))]]
    if rng.random() < 0.2:
        chosen += json.loads(json.dumps(rng.choice(rows)[:2]))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        place = rng.randrange(len(chosen)) if chosen else 0
        if not chosen:
            break
        if rng.random() < 0.05:
            chosen[place] = _value(rng)
        else:
            _spoil(rng, chosen[place], keys)
    rng.shuffle(chosen) if rng.random() < 0.1 else None
    return chosen


def _spoil(rng: random.Random, value: Any, keys: Sequence[str]) -> None:
    """Change one thing somewhere in a value."""
    while True:
        inside = _parts(value)
        deeper = [part for part in inside if isinstance(part, (dict, list)) and part]
        if not deeper or rng.random() < 0.5:
            break
        value = rng.choice(deeper)
    if isinstance(value, dict):
        key = rng.choice(list(value)) if value else rng.choice(keys)
        action = rng.randrange(5)
        if action == 0:
            value.pop(key, None)
        elif action == 1:
            value[rng.choice(keys)] = value.pop(key, None)
        elif action == 2:
            value[rng.choice(keys)] = _value(rng)
        else:
            value[key] = _value(rng) if action == 3 else [value.get(key)]
    elif isinstance(value, list):
        place = rng.randrange(len(value) + 1)
        action = rng.randrange(4)
        if action == 0 and value:
            del value[place - 1]
        elif action == 1 and value:
            value.append(value[place - 1])
        elif action == 2 and value:
            value[place - 1] = _value(rng)
        else:
            value.insert(place, _value(rng))


def _value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


_Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _flip(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _insert(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    place = rng.choice((0, len(content), rng.randrange(len(content) + 1)))
    return content[:place] + rng.choice(TOKENS) + content[place:]


def _overwrite(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    place, token = rng.randrange(len(content) + 1), rng.choice(TOKENS)
    return content[:place] + token + content[place + len(token) :]


def _cut(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
    return rng.choice((content[:end], content[start:], content[:start] + content[end:]))


def _double(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
    return content[:end] + content[start:]


def _splice(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _recode(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    wide = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"))
    return content.decode("utf-8", "replace").encode(wide, "replace")


_BYTES: tuple[_Change, ...] = (_flip, _flip, _insert, _insert, _overwrite, _cut, _double, _splice, _recode)
