"""No bytes and no JSON make reading do anything but read, count or refuse."""

from __future__ import annotations

import codecs
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.data.formats import FORMATS
from simpo.data.formats_judged import UNPAIRED
from simpo.data.read import read_rows
from simpo.data.reasons import REASONS
from simpo.data.shapes import Format
from simpo.errors import DataError
from simpo.records import Dataset, Pair
from tests.data.written import GOOD, LINE, put

Kind = Literal["pairs", "examples"]
OnBadRow = Literal["error", "drop"]

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = st.sampled_from(
    [
        "a.jsonl",
        "a.json",
        "a.jsonl.gz",
        "a.parquet",
        "a",
        "a.txt",
        "a.csv",
        "a.tsv.gz",
        "a.arrow",
        "a.jsonl.zst",
    ]
)
PREFIXES = [
    b"",
    b"{",
    b"[",
    b"[{",
    b"PAR1",
    b"\x1f\x8b\x08\x00",
    b"\x28\xb5\x2f\xfd",
    b"ARROW1\0\0",
    b"\xff\xff\xff\xff",
    b"prompt,chosen,rejected\na,b,",
    codecs.BOM_UTF8,
    f"{LINE}\n".encode(),
    b"\xff\xfe",
]


def read_bytes(content: bytes, name: str, kind: Kind, on_bad_row: OnBadRow, **options: Any) -> Dataset | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read_rows(put(Path(folder), content, name), kind=kind, on_bad_row=on_bad_row, **options)
        except DataError as error:
            str(error).encode()
            return None


kinds = st.sampled_from(["pairs", "examples"])
on_bad = st.sampled_from(["error", "drop"])


@MANY
@given(st.sampled_from(PREFIXES), st.binary(max_size=200), NAMES, kinds, on_bad, st.booleans())
def test_no_bytes_raise_anything_but_a_data_error(
    prefix: bytes, tail: bytes, name: str, kind: Kind, on_bad_row: OnBadRow, packed: bool
) -> None:
    content = prefix + tail
    read_bytes(gzip.compress(content, 1, mtime=0) if packed else content, name, kind, on_bad_row)


def whole_file(kind: str) -> bytes:
    if kind == "gzip":
        return gzip.compress(f"{LINE}\n{LINE}\n".encode(), mtime=0)
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        row = {**GOOD, "chosen": [{"role": "assistant", "content": "é"}], "score": 0.5}
        pq.write_table(pa.Table.from_pylist([row] * 5), sink)
        return bytes(sink.getvalue())
    return f"[{LINE},\n{LINE}]".encode()


@MANY
@given(
    kind=st.sampled_from(["gzip", "parquet", "array"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    keep=st.just(1.0) | st.floats(0, 1),
)
def test_no_damage_to_a_whole_file_raises_anything_but_a_data_error(
    kind: str, changes: list[tuple[float, int]], keep: float
) -> None:
    content = bytearray(whole_file(kind))
    for place, byte in changes:
        content[int(place * len(content))] = byte
    read_bytes(bytes(content[: int(keep * len(content))]), "a", "pairs", "drop")


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", " ", "a", "b c", "\n\nHuman: x"])
)
roles = st.sampled_from(["user", "assistant", "system", "tool", "bot", None, 3])
messages = st.lists(
    st.fixed_dictionaries({}, optional={"role": roles, "content": scalars, "tool_calls": scalars}) | scalars,
    max_size=4,
)
values = (
    scalars
    | messages
    | st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
keys = st.sampled_from(
    sorted({key for entries in FORMATS.values() for one in entries for key in one.columns})
)
objects = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            key: scalars
            for key in (
                "rank",
                "response",
                "answer",
                "completion",
                "overall_score",
                "score",
                "user_id",
                "value",
            )
        },
    )
    | messages,
    max_size=3,
)
trees = st.recursive(
    st.fixed_dictionaries({"text": scalars, "role": st.sampled_from(["prompter", "assistant", "x"])}),
    lambda inner: st.fixed_dictionaries(
        {"text": scalars, "role": st.sampled_from(["prompter", "assistant"]), "replies": st.lists(inner)},
        optional={"rank": scalars},
    ),
    max_leaves=6,
)
shapes = [
    st.fixed_dictionaries({"prompt": values, "chosen": values, "rejected": values}),
    st.fixed_dictionaries({"chosen": messages, "rejected": messages}),
    st.fixed_dictionaries({"messages": messages}),
    st.fixed_dictionaries({"prompt": values, "completion": values}),
    st.fixed_dictionaries({"prompt": trees}),
    st.dictionaries(keys, values | objects, max_size=5),
    values,
]
POOLED = {"annotator_labels", "helpsteer_ratings", *(entry.name for entry in UNPAIRED)}


@MANY
@given(rows=st.lists(st.one_of(shapes), min_size=1, max_size=4), as_array=st.booleans(), kind=kinds)
def test_any_json_rows_are_read_or_counted_and_none_is_lost(
    rows: list[Any], as_array: bool, kind: Kind
) -> None:
    text = json.dumps(rows) if as_array else "\n".join(map(json.dumps, rows))
    dataset = read_bytes(text.encode(), "a.jsonl", kind, "drop")
    if dataset is None:
        return
    if kind == "pairs":
        assert all(isinstance(row, Pair) for row in dataset.rows)
    if dataset.format not in POOLED:  # there a pair is made of several rows
        lines = {row.source.line for row in (*dataset.rows, *dataset.dropped)}
        assert lines == set(range(1, len(rows) + 1))
    assert {row.reason for row in dataset.dropped} <= set(REASONS)


NAMED = [(kind, entry) for kind, entries in FORMATS.items() for entry in entries]


@MANY
@given(data=st.data(), named=st.sampled_from(NAMED))
def test_any_json_rows_are_read_or_refused_in_every_format_that_is_named(
    data: st.DataObject, named: tuple[Kind, Format]
) -> None:
    kind, entry = named
    columns = st.sampled_from(sorted(entry.columns | {"label", "rank", "preference", "annotator1", "system"}))
    row = st.dictionaries(columns, values | objects | trees | messages, min_size=1, max_size=8)
    rows = data.draw(st.lists(row, min_size=1, max_size=3))
    text = "\n".join(map(json.dumps, rows))
    read_bytes(text.encode(), "a.jsonl", kind, "drop", format=entry.name, pairing="all")
