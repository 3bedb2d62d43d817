"""Reading files: every row is a record, in its place, whatever kind of file holds it."""

from __future__ import annotations

import codecs
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simpo.data.read import read_rows
from simpo.errors import DataError
from tests.data.written import GOOD, LINE, error_of, put, texts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", f"{LINE}\n{LINE}\n"),
        ("no_last_newline.jsonl", f"{LINE}\n{LINE}"),
        ("crlf.jsonl", f"{LINE}\r\n{LINE}\r\n"),
        ("blank_lines.jsonl", f"\n\n{LINE}\n  \t\n{LINE}\n\n"),
        ("bom.jsonl", codecs.BOM_UTF8 + f"{LINE}\n{LINE}".encode()),
        ("joined.jsonl", f"{LINE}\n".encode() + codecs.BOM_UTF8 + LINE.encode()),
        ("lines_in_a.json", f"{LINE}\n{LINE}\n"),
        ("array_in_a.jsonl", f"[{LINE},\n{LINE}]"),
        ("array.json", f"[\n{LINE},\n{LINE}\n]\n"),
        ("array_on_one_line.json", f"[{LINE}, {LINE}]"),
        ("no_suffix", f"{LINE}\n{LINE}\n"),
        ("packed.jsonl.gz", gzip.compress(f"{LINE}\n{LINE}\n".encode(), mtime=0)),
        ("packed.json.gz", gzip.compress(f"[{LINE}, {LINE}]".encode(), mtime=0)),
        ("packed_unsaid.jsonl", gzip.compress(f"{LINE}\n{LINE}\n".encode(), mtime=0)),
        (
            "two_parts.jsonl.gz",
            gzip.compress(f"{LINE}\n".encode(), mtime=0) + gzip.compress(LINE.encode(), mtime=0),
        ),
    ],
)
def test_two_rows_are_read_however_the_file_holds_them(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    dataset = read_rows(put(tmp_path, content, name))
    assert texts(dataset) == [tuple(GOOD.values())] * 2
    assert (dataset.name, dataset.format, dataset.dropped) == (str(tmp_path / name), "trl_standard", ())


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    path = put(tmp_path, f"\n{LINE}\n\n\n{LINE}\n")
    assert [str(row.source) for row in read_rows(path).rows] == [f"{path}:2", f"{path}:5"]


def test_line_separators_of_unicode_inside_a_text_do_not_end_the_line(tmp_path: Path) -> None:
    row = {**GOOD, "chosen": "a\u2028b\u2029c\x85d\x0ce"}
    path = put(tmp_path, json.dumps(row, ensure_ascii=False))
    assert read_rows(path).rows[0].completions[0] == row["chosen"]


def test_escaped_text_is_read_as_it_is(tmp_path: Path) -> None:
    row = {**GOOD, "chosen": 'emoji \U0001f600, nul \0, quote ", back\\slash'}
    assert read_rows(put(tmp_path, json.dumps(row))).rows[0].completions[0] == row["chosen"]


def test_parquet_with_nested_messages_is_read_and_other_columns_travel_untouched(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    row = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "assistant", "content": "What?"}],
        "category": "billing",
        "scores": {"a": [1, None]},
    }
    pq.write_table(pa.Table.from_pylist([row] * 3000), path)
    dataset = read_rows(path, limit=2500)
    assert len(dataset.rows) == 2500
    last = dataset.rows[-1]
    assert (last.source.line, last.category) == (2500, "billing")
    assert last.extra == {"category": "billing", "scores": {"a": [1, None]}}


def test_several_files_are_one_dataset_in_their_order_each_in_its_own_format(tmp_path: Path) -> None:
    one = put(tmp_path, LINE, "one.jsonl")
    hh = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: What"}
    two = put(tmp_path, json.dumps([hh]), "two.json")
    dataset = read_rows([str(one), two])
    assert texts(dataset) == [tuple(GOOD.values()), ("Hi", "Hello", "What")]
    assert dataset.format == "trl_standard, hh"
    assert dataset.name == f"{one}, {two}"
    assert dataset.files == (one, two)


def test_a_category_that_is_not_text_stays_among_the_other_columns(tmp_path: Path) -> None:
    row = read_rows(put(tmp_path, json.dumps({**GOOD, "category": 3}))).rows[0]
    assert row.category is None and row.extra == {"category": 3}


def test_limit_counts_usable_rows_and_reads_no_further(tmp_path: Path) -> None:
    path = put(tmp_path, "\n".join([LINE] * 30) + "\nnot json\n")
    assert len(read_rows(path, limit=3).rows) == 3
    assert len(read_rows(path, limit=25).rows) == 25
    other = put(tmp_path, "not json", "other.jsonl")
    assert len(read_rows([path, other], limit=30).rows) == 30
    assert error_of(path, limit=31).startswith("train.jsonl:31: not valid JSON")


def test_the_last_turn_is_the_last_one_that_has_text(tmp_path: Path) -> None:
    said = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", None), ("user", "d")]
    row = {"messages": [{"role": role, "content": content} for role, content in said]}
    path = put(tmp_path, json.dumps(row))
    for turns in ("all", "last"):
        dataset = read_rows(path, kind="examples", sft_turns=turns)
        assert texts(dataset) == [("a", "b")]
        # The other turns are fine, so this one is no reason to stop, and is counted.
        assert dataset.dropped_counts() == {"empty_completion": 1}


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path, LINE)
    assert len(read_rows("~/train.jsonl").rows) == 1


def test_a_hub_that_cannot_be_reached_is_a_data_error() -> None:
    # The tests run with HF_HUB_OFFLINE=1.
    message = error_of("some-org/some-pairs:train")
    assert message.startswith(
        "some-org/some-pairs:train: no such file here, and the hub did not give it: "
    ) or (message.startswith("some-pairs:train: no such file here, and the hub did not give it: "))
    assert "org/name:split" in message


def test_a_hub_whose_name_is_unknown_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "HF_ENDPOINT", "https://hub.invalid"
    )  # a name that RFC 2606 keeps from ever being known
    message = error_of("some-org/some-pairs")
    assert "no such file here, and the hub cannot be reached" in message and "give its files" in message


@pytest.mark.parametrize(
    ("spec", "split"), [("org/pairs", "train"), ("org/pairs:train[:10%]", "train[:10%]")]
)
def test_a_hub_id_names_a_split_and_its_rows_are_numbered(
    spec: str, split: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.Dataset.from_list([{**GOOD, "category": name} for name in ("billing", "shipping")])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    dataset = read_rows(spec)
    assert asked == [("org/pairs", split)]
    assert texts(dataset) == [tuple(GOOD.values())] * 2
    assert (str(dataset.rows[1].source), dataset.rows[1].category) == (f"{spec}:2", "shipping")
    assert dataset.files == ()


def test_a_path_that_exists_is_never_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    put(tmp_path / "org", LINE, "pairs")
    assert len(read_rows("org/pairs").rows) == 1


def test_a_data_set_that_was_saved_to_disk_is_read_with_all_its_files(tmp_path: Path) -> None:
    import datasets

    rows = [{**GOOD, "chosen": f"reply {index}"} for index in range(10)]
    made = datasets.Dataset.from_list(rows)
    made.save_to_disk(tmp_path / "saved", num_shards=3)
    dataset = read_rows(tmp_path / "saved")
    assert [row.completions[0] for row in dataset.rows] == [row["chosen"] for row in rows]
    assert [path.name for path in dataset.files] == [f"data-0000{index}-of-00003.arrow" for index in range(3)]
    assert str(dataset.rows[9].source) == f"{tmp_path}/saved/data-00002-of-00003.arrow:3"


def test_of_a_saved_data_set_of_several_splits_one_is_asked_for(tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_list([GOOD] * 2)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(tmp_path / "saved")
    message = error_of(tmp_path / "saved")
    assert message == "saved: a folder, not a file\n  fix: name one of its splits: saved/train, saved/test"
    assert len(read_rows(tmp_path / "saved" / "train").rows) == 2


@pytest.mark.parametrize("said", ["", "[]", "{", '{"_data_files": []}', '{"_data_files": [{"filename": 3}]}'])
def test_a_saved_data_set_that_names_no_files_is_an_error(said: str, tmp_path: Path) -> None:
    put(tmp_path, said, "state.json")
    with pytest.raises(DataError) as error:
        read_rows(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/state.json: ")
    put(tmp_path, '{"_data_files": [{"filename": "gone.arrow"}]}', "state.json")
    with pytest.raises(DataError, match=r"gone\.arrow: no such file"):
        read_rows(tmp_path)
