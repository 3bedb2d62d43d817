"""A JSON array is read piece by piece as it would be whole, wherever the pieces are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.data.arrays import array_rows
from simpo.data.reasons import BadRow
from simpo.errors import DataError

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
rows = st.dictionaries(
    st.text(), st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(content) + 1) for place in places)
    return [content[start:end] for start, end in zip([0, *ends], [*ends, len(content)], strict=True)]


def valid(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(
    st.lists(rows.filter(valid), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_rows_are_those_of_the_whole_array(
    values: list[dict[str, Any]], places: list[int], ascii_only: bool, indent: int | None
) -> None:
    content = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    expected = list(enumerate(values, 1))
    assert list(array_rows(cut(content, places), "a")) == expected
    assert list(array_rows([bytes([byte]) for byte in b"\xef\xbb\xbf \n" + content + b"\n"], "a")) == expected


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=10))
def test_any_bytes_are_an_array_or_an_error_wherever_they_are_cut(content: bytes, places: list[int]) -> None:
    def read(pieces: list[bytes]) -> tuple[list[Any], str]:
        seen = []
        try:
            for number, row in array_rows(pieces, "a"):
                seen.append((number, (row.reason, row.detail) if isinstance(row, BadRow) else row))
        except DataError as error:
            return seen, str(error).partition(", near")[0]  # what stands behind may not be read yet
        return seen, ""

    assert read(cut(b'[{"a": 1},' + content, places)) == read([b'[{"a": 1},' + content])


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (
            '[\n{"a": 1}\n{"a": 2}]',
            3,
            "Expecting ',' delimiter at column 1",
        ),
        ('[{"a": 1},\n\n]', 3, "Expecting value at column 1"),
        ('[{"a": 1}\n', 2, "Expecting ',' delimiter at column 1"),
        ('[{"a": 1},\n   ', 2, "Expecting value at column 4"),
        ('[{"a": "b\n"}]', 1, "Invalid control character at column 10"),
        ('[{"a": 1}]\n  x', 2, "Extra data at column 3"),
        ("[,]", 1, "Expecting value at column 2"),
        ("[", 1, "Expecting value at column 2"),
        ('[{"a": "b', 1, "Unterminated string starting at column 8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_column_wherever_the_text_is_cut(
    content: str, line: int, said: str
) -> None:
    messages = set()
    for size in (1, 3, 1000):
        pieces = [content[start : start + size].encode() for start in range(0, len(content), size)]
        with pytest.raises(DataError) as error:
            list(array_rows(pieces, "a.json"))
        messages.add(str(error.value).partition(", near")[0])
    assert messages == {f"a.json:{line}: not a valid JSON array: {said}"}


def test_only_a_piece_of_the_array_is_in_memory() -> None:
    def pieces() -> Any:
        yield b"["
        for _ in range(2000):
            yield b'{"a": "%s"},' % (b"x" * 5000)
        yield b"{}]"

    import tracemalloc

    tracemalloc.start()
    assert sum(1 for _ in array_rows(pieces(), "a")) == 2001
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()
