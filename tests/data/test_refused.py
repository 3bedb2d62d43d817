"""Every error names file, line, value and what to do, and a bad row costs no other row."""

from __future__ import annotations

import codecs
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simpo.data.read import read_rows
from simpo.data.reasons import REASONS
from simpo.errors import DataError
from tests.data.written import GOOD, LINE, error_of, put, texts

FIX = "\n  fix: mend or remove the row, or set data.on_bad_row: drop, which leaves such rows out and counts them"

BAD_ROWS = [
    (json.dumps({**GOOD, "rejected": ""}), 'empty_rejected: "rejected" is empty (prompt \'Where is my parcel?\')'),
    (json.dumps({"id": "t-7", **GOOD, "chosen": 3}), 'wrong_type: "chosen" is a number, not text or a list of '
     "messages: 3 (id 't-7')"),
    ('{"prompt": "a", "chosen": "b"', "bad_json: not valid JSON: Expecting ',' delimiter at column 30, near "
     "': \"a\", \"chosen\": \"b\"'"),
    ("{'prompt': 'a'}", "bad_json: not valid JSON: Expecting property name enclosed in double quotes at column 2, "
     "near \"{'prompt': 'a'}\""),
    (f"{LINE} {LINE}", "bad_json: not valid JSON: Extra data at column 84, near 'ected\": \"No idea.\"} "
     "{\"prompt\": \"Where is'"),
    (LINE.replace('"On its way."', "NaN"), "bad_json: NaN is not valid JSON; write null (in 'chosen')"),
    (LINE[:-1] + ', "score": -Infinity}', "bad_json: -Infinity is not valid JSON; write null (in 'score')"),
    (LINE[:-1] + f', "score": {"9" * 5000}}}', "bad_json: a number of 5000 digits (in 'score')"),
    (LINE[:-1] + f', "x": {"[" * 200 + "]" * 200}}}', "bad_json: nested more than 100 levels deep (in 'x')"),
    ("[" * 100_000, "bad_json: not valid JSON: nested too deeply"),
    (LINE.replace("way", "w\0ay"), "bad_json: not valid JSON: Invalid control character at column 54, near "
     '\' "chosen": "On its w\\x00ay.", "rejected": "\''),
    (LINE.replace("way", "w\\ud800ay"), "bad_encoding: the lone surrogate '\\ud800' cannot be written as UTF-8 "
     "(in 'chosen')"),
    (LINE[:-1] + ', "a\\uDC00": 1}', "bad_encoding: the lone surrogate '\\udc00' cannot be written as UTF-8 "
     "(in 'a\\udc00')"),
    (LINE[:-1] + ', "chosen": "again"}', "duplicate_key: the key 'chosen' is given twice"),
    (LINE[:-1] + ', "x": [{"a": 1, "a": 2}]}', "duplicate_key: the key 'a' is given twice (in 'x')"),
    ('["a", "b"]', "not_an_object: the row is a list, not an object: ['a', 'b']"),
    ('"text"', "not_an_object: the row is text, not an object: 'text'"),
    ("null", "not_an_object: the row is null, not an object: None"),
    ("17", "not_an_object: the row is a number, not an object: 17"),
    ("NaN", "bad_json: NaN is not valid JSON; write null"),
    ("prompt,chosen", "bad_json: not valid JSON: Expecting value at column 1, near 'prompt,chosen'"),
]  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("line", "expected"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_bad_line_stops_with_its_place_and_reason_or_is_left_out_and_counted(
    line: str, expected: str, first: bool, tmp_path: Path
) -> None:
    reason, _, detail = expected.partition(": ")
    content, number = (f"{line}\n{LINE}\n", 1) if first else (f"{LINE}\n{line}\n", 2)
    path = put(tmp_path, content)
    assert error_of(path) == f"train.jsonl:{number}: {detail}{FIX}"
    dataset = read_rows(path, on_bad_row="drop")
    assert texts(dataset) == [tuple(GOOD.values())]
    (dropped,) = dataset.dropped
    assert (dropped.reason, dropped.detail, dropped.source.line) == (reason, detail, number)
    assert reason in REASONS


def test_every_bad_row_is_counted_in_the_error_of_the_first(tmp_path: Path) -> None:
    empty, same = ({**GOOD, "chosen": text} for text in ("", "No idea."))
    rows = [GOOD, empty, same, GOOD, empty, same, same]
    path = put(tmp_path, "\n".join(map(json.dumps, rows)))
    assert error_of(path) == (
        "train.jsonl:2: \"chosen\" is empty (prompt 'Where is my parcel?') "
        f"(and 4 more rows that cannot be used: 3 identical, 1 empty_chosen){FIX}"
    )
    assert read_rows(path, on_bad_row="drop").dropped_counts() == {"empty_chosen": 2, "identical": 3}
    path = put(tmp_path, "\n".join(map(json.dumps, rows[:3])))
    assert "(and 1 more row that cannot be used: 1 identical)" in error_of(path)


def test_values_in_messages_are_short_whatever_their_length(tmp_path: Path) -> None:
    path = put(
        tmp_path, json.dumps({**GOOD, "prompt": "x" * 10**6, "chosen": ["y" * 10**6] * 5}) + f"\n{LINE}"
    )
    assert len(error_of(path)) < 400


@pytest.mark.parametrize("bad", [{**GOOD, "chosen": ""}, "text", [GOOD], None])
def test_a_bad_row_of_an_array_has_its_number(bad: object, tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps([GOOD, bad, GOOD]), "train.json")
    assert error_of(path).startswith("train.json:2: ")
    assert [row.source.line for row in read_rows(path, on_bad_row="drop").rows] == [1, 3]


def test_what_json_should_not_hold_costs_an_array_only_the_row_that_holds_it(tmp_path: Path) -> None:
    bad = LINE.replace('"On its way."', "NaN"), LINE.replace("way", "\\udfff"), LINE[:-1] + ', "prompt": ""}'
    path = put(tmp_path, f"[{LINE},{','.join(bad)}]", "train.json")
    dataset = read_rows(path, on_bad_row="drop")
    assert dataset.dropped_counts() == {"bad_encoding": 1, "bad_json": 1, "duplicate_key": 1}
    assert len(dataset.rows) == 1


def test_a_conversation_without_one_usable_turn_is_a_bad_row(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]
    path = put(tmp_path, json.dumps({"messages": messages}))
    assert error_of(path, kind="examples").startswith("train.jsonl:1: messages[1] is empty (messages [{")


def test_no_row_left_is_an_error_with_the_counts(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps({**GOOD, "chosen": ""}) + "\n" + "oops\n" * 2)
    assert error_of(path, on_bad_row="drop") == (
        "train.jsonl: no row can be used (1 empty_chosen, 2 bad_json); the first, train.jsonl:1: "
        "\"chosen\" is empty (prompt 'Where is my parcel?')"
    )
    assert error_of(put(tmp_path, "[]", "empty.json")) == "empty.json: the file holds no rows"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"", "a.jsonl: the file is empty"),
        ("a.jsonl.gz", b"", "a.jsonl.gz: the file is empty"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "a.jsonl.gz: the file is empty"),
        ("a.parquet", b"", "a.parquet: the file is empty"),
        ("a.jsonl", b"\n \r\n\t\n", "a.jsonl: the file holds only blank lines"),
        ("a.jsonl", codecs.BOM_UTF8, "a.jsonl: the file holds only blank lines"),
        (
            "a.jsonl",
            LINE.encode("utf-16"),
            "a.jsonl: the text is UTF-16, not UTF-8\n  fix: iconv -f UTF-16 -t UTF-8 a.jsonl > converted.jsonl",
        ),
        ("a.jsonl", LINE.encode("utf-16-le"), "a.jsonl: the text is UTF-16LE, not UTF-8\n  fix: iconv -f UTF-16LE "
         "-t UTF-8 a.jsonl > converted.jsonl"),
        ("a.jsonl", LINE.encode("utf-16-be"), "a.jsonl: the text is UTF-16BE, not UTF-8\n  fix: iconv -f UTF-16BE "
         "-t UTF-8 a.jsonl > converted.jsonl"),
        ("a.json", LINE.encode("utf-32"), "a.json: the text is UTF-32, not UTF-8\n  fix: iconv -f UTF-32 "
         "-t UTF-8 a.json > converted.json"),
        ("a.jsonl.gz", gzip.compress(LINE.encode(), mtime=0)[:-9], "a.jsonl.gz: the gzip file is damaged or cut short "
         "(Compressed file ended before the end-of-stream marker was reached)\n  fix: copy or download it again"),
        ("a.jsonl.gz", LINE, "a.jsonl.gz: not gzip, though its name says so (begins with '{\"prompt\": \"')"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd\x04", "a.jsonl.zst: the zstd file is damaged or cut short (Truncated "
         "compressed stream)\n  fix: copy or download it again"),
        ("a.jsonl.zst", LINE, "a.jsonl.zst: not zstd, though its name says so (begins with '{\"prompt\": \"')"),
        ("a.jsonl.xz", b"\xfd7zXZ\x00", "a.jsonl.xz: packed with xz, which is not read\n  fix: unxz -k a.jsonl.xz"),
        ("a.parquet", "prompt,chosen", "a.parquet: not a valid Parquet file: Parquet magic bytes not found in footer. "
         "Either the file is corrupted or this is not a parquet file."),
        ("a.txt", "prompt,chosen,rejected\na,b,c\n", "a.txt: neither JSON, JSON Lines, Parquet nor Arrow (begins "
         "with 'prompt,chosen,rejected')\n  fix: convert it to JSON Lines: one object a line; or name a table of "
         "commas .csv"),
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", "\n\n", "a.csv: the file holds only blank lines"),
        ("a.csv", "prompt,chosen,rejected\n", "a.csv: the file holds no rows"),
        ("a.csv", "prompt,chosen,prompt\n", "a.csv: two columns have the name 'prompt'"),
        ("a.csv", 'prompt,chosen,rejected\na,b,c\na,"b\n,c\n', "a.csv:3: a quoted field that begins here is never "
         "closed\n  fix: close it; a quote inside a quoted field is written twice: \"\""),
        ("a.csv", b"prompt,chosen,reject\xe9\na,b,c\n", "a.csv:1: not valid UTF-8: byte 0xe9 at column 21\n  fix: "
         "convert the file: iconv -f LATIN1 -t UTF-8 a.csv"),
        ("a.txt", b"caf\xe9", "a.txt: neither JSON, JSON Lines, Parquet nor Arrow (begins with 'caf\\udce9')\n  fix: "
         "convert it to JSON Lines: one object a line; or name a table of commas .csv"),
        ("a.feather", b"FEA1" + bytes(20), "a.feather: a Feather file of version 1, which is not read\n  fix: write it "
         "anew with pandas: pd.read_feather('a.feather').to_parquet('rows.parquet')"),
        ("a.json", '{\n "mine": {"file_name": "a.json"}\n}', "a.json: a list of data sets (LLaMA-Factory's "
         "dataset_info.json), not a data set\n  fix: give the file that its file_name names; its columns go to "
         "data.columns"),
        ("a.json", "{\n \"version\": [1],\n \"data\": [{}]\n}\n", "a.json: one JSON object over several lines "
         "(keys: 'version', 'data'), not an array of rows\n  fix: write one row a line: jq -c '.data[]' a.json > "
         "rows.jsonl"),
        ("a.json", "{\n \"\\ud800\": 1\n}\n", "a.json: one JSON object over several lines (keys: '\\ud800'), not "
         "an array of rows\n  fix: write one row a line: jq -c '.' a.json > rows.jsonl"),
        ("a.json", f"[\n{LINE},\n{LINE}", "a.json:3: not a valid JSON array: Expecting ',' delimiter "
         "at column 83, near 'jected\": \"No idea.\"}'"),
        ("a.json", "[" * 100_000, "a.json:1: not a valid JSON array: nested too deeply"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_bad_row", ["error", "drop"])
def test_a_file_that_cannot_be_read_is_named_with_what_to_do(
    name: str, content: str | bytes, expected: str, on_bad_row: str, tmp_path: Path
) -> None:
    assert error_of(put(tmp_path, content, name), on_bad_row=on_bad_row) == expected


def test_a_file_without_any_row_is_given_up_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = put(tmp_path, "a,b\n" * 10_001, "a.jsonl")
    assert error_of(path) == (
        "a.jsonl:1: none of the first 10,000 rows is a JSON object; the first: not valid JSON: Expecting value at "
        "column 1, near 'a,b'\n  fix: give JSON Lines, one object a line; a table of commas has the ending .csv"
    )
    path = put(tmp_path, "a,b\n" * 9_999 + LINE, "a.jsonl")
    assert read_rows(path, on_bad_row="drop").dropped_counts() == {"bad_json": 9_999}


def test_a_missing_file_suggests_the_one_meant(tmp_path: Path) -> None:
    put(tmp_path, LINE, "train.jsonl")
    assert error_of(tmp_path / "trian.jsonl") == "trian.jsonl: no such file\n  fix: did you mean train.jsonl?"
    assert error_of(tmp_path / "nowhere" / "x.jsonl") == "x.jsonl: no such file"


def test_a_folder_is_not_a_file_and_its_files_are_named(tmp_path: Path) -> None:
    put(tmp_path, LINE, "b.jsonl")
    with pytest.raises(DataError) as error:
        read_rows(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: a folder, not a file\n  fix: name its files, for example {tmp_path}/b.jsonl"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, LINE)
    path.chmod(0)
    assert error_of(path) == "train.jsonl: cannot be read: Permission denied"


@pytest.mark.parametrize("spec", ["a\0b.jsonl", "x" * 5000 + ".jsonl", "", "\ud800.jsonl", ":", "/"])
def test_no_text_in_the_place_of_a_path_is_a_bug(spec: str) -> None:
    with pytest.raises(DataError):
        read_rows(spec)


def test_the_same_file_twice_is_refused_because_it_would_count_double(tmp_path: Path) -> None:
    path = put(tmp_path, LINE)
    with pytest.raises(DataError, match="the file is given twice"):
        read_rows([path, f"{tmp_path}/./train.jsonl"])
    with pytest.raises(DataError, match="no file is given"):
        read_rows([])


def test_a_parquet_file_with_one_name_for_two_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), path)
    assert error_of(path) == "a.parquet: two columns have the name 'prompt'"


@pytest.mark.parametrize("packed", [False, True])
def test_a_value_that_a_table_cannot_give_costs_the_row_that_holds_it(packed: bool, tmp_path: Path) -> None:
    times = pa.array([0, 2**60, 0], pa.timestamp("us"))
    replies = pa.array([b"fine", b"fine", b"caf\xe9"]).view(pa.string())
    columns = {"prompt": ["a"] * 3, "chosen": replies, "rejected": ["c"] * 3, "time": times}
    content = written(pa.table(columns))
    path = put(tmp_path, gzip.compress(content, mtime=0) if packed else content, "a.parquet")
    dataset = read_rows(path, on_bad_row="drop")
    assert [row.source.line for row in dataset.rows] == [1]
    assert [(row.source.line, row.reason) for row in dataset.dropped] == [
        (2, "wrong_type"),
        (3, "bad_encoding"),
    ]
    assert error_of(path).startswith("a.parquet:2: a value that cannot be read: ")


def written(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


LATIN = LINE.replace("idea", "id\xe9e")


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.jsonl", f"{LATIN}\n{LINE}\n", "1: not valid UTF-8: byte 0xe9 at column 78"),
        (
            "a.csv",
            "prompt,chosen,rejected\na,b,caf\xe9\na,b,c\n",
            "2: not valid UTF-8: byte 0xe9 at column 8",
        ),
        (
            "a.csv",
            'prompt,chosen,rejected\na,b,"c\ncaf\xe9"\na,b,c\n',
            "2: not valid UTF-8: byte 0xe9 at column 4",
        ),
        ("a.json", f"[{LINE}, {LATIN}]", "2: not valid UTF-8: byte 0xe9"),
    ],
)
def test_bytes_that_are_no_utf8_cost_the_row_that_holds_them(
    name: str, content: str, where: str, tmp_path: Path
) -> None:
    path = put(tmp_path, content.encode("latin-1"), name)
    assert error_of(path) == f"{name}:{where}{FIX}; or convert the file: iconv -f LATIN1 -t UTF-8"
    dataset = read_rows(path, on_bad_row="drop")
    assert (len(dataset.rows), dataset.dropped_counts()) == (1, {"bad_encoding": 1})


def test_unknown_columns_are_named_with_the_formats_that_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, '{"question": "a", "good": "b", "bad": "c"}')
    message = error_of(path)
    assert message.startswith(
        "train.jsonl: no known format of pairs; the columns are 'question', 'good', 'bad'\n"
        "  fix: rename the columns to those of a format that is read, or name them: --map prompt=your_column, in a "
        "recipe data.columns; docs/formats.md has all formats, the nearest are\n"
        "    axolotl_intel: question, chosen, rejected (text), also system\n"
    )
    assert "\n    trl_standard: prompt, chosen, rejected (text)" in message
    assert "\n    messages: messages (a conversation)" in error_of(path, kind="examples")


def test_examples_where_pairs_are_meant_and_the_reverse_are_told_apart(tmp_path: Path) -> None:
    examples = put(tmp_path, '{"prompt": "a", "completion": "b"}', "sft.jsonl")
    assert error_of(examples) == (
        "sft.jsonl: these are SFT examples (prompt_completion), and the method needs pairs\n"
        "  fix: give prompt, chosen and rejected, or train on them as examples with method.name: sft"
    )
    assert error_of(put(tmp_path, LINE), kind="examples").startswith(
        "train.jsonl: these are preference pairs (trl_standard), and SFT needs examples\n"
    )
