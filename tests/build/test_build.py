"""A build: every row accounted for, the same content whatever the files' order and format, whole or not at all."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.data.read import read_rows
from simpo.data.version import check_version
from simpo.errors import DataError
from simpo.records import Dataset, Pair
from tests.build.made import built, file_of, listed_repairs, pair, pairs, rows_of, splits_of, write_rows

BROKEN = [
    "not json",
    {"prompt": "", "chosen": "a", "rejected": "b"},
    {"prompt": "p", "chosen": "same", "rejected": "same"},
    {"prompt": "p", "chosen": 3, "rejected": "b"},
    {"prompt": "p"},
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("many") / "pairs.jsonl", pairs(400))


def test_every_pair_is_in_one_split_with_its_texts_columns_and_origin(many: Path, tmp_path: Path) -> None:
    version = built(tmp_path / "v1", many)
    whole = read_rows(many)
    rows = [row for split in version.manifest.splits for row in rows_of(version, split)]
    assert sorted(row["id"] for row in rows) == sorted(row.id for row in whole.rows)
    by_id = {row.id: row for row in whole.rows}
    for row in rows:
        source = by_id[row["id"]]
        assert isinstance(source, Pair)
        assert row["chosen"] == [{"role": "assistant", "content": source.chosen}]
        assert row["prompt"] == [turn.as_dict() for turn in source.prompt]
        assert row["category"] == source.category and json.loads(row["extra"]) == dict(source.extra)
        assert row["source"] == f"pairs.jsonl:{source.source.line}"
    manifest = version.manifest
    assert manifest.splits["train"].rows > manifest.splits["validation"].rows > 0
    for split, part in manifest.splits.items():
        again = read_rows(file_of(version, split))
        assert again.hash == part.hash and again.format == "simpo_version"
        assert {row.extra["ticket"] for row in again.rows} <= set(range(400))
    assert check_version(version) == []


rows_of_any_kind = st.lists(
    st.one_of(
        st.sampled_from(BROKEN),
        st.integers(0, 30).map(lambda number: pair(number, category="a" if number % 2 else None)),
        st.integers(0, 9).map(
            lambda number: {**pair(number), "chosen": "<|im_start|>" + pair(number)["chosen"]}
        ),
        st.integers(0, 9).map(lambda number: {**pair(number), "chosen": "", "rejected": "sk-" + "a" * 30}),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(rows_of_any_kind, st.sampled_from(["default", "none", "exact_duplicate", "control_tokens=drop"]))
def test_no_row_is_lost_uncounted(rows: list[Any], repair: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "rows.jsonl", [*rows, *pairs(40, start=100)])
        version = built(Path(folder) / "v", path, repair=repair)
        counts = version.manifest.counts
        assert counts.rows_read == len(rows) + 40
        assert counts.rows_read == counts.rows_used + sum(counts.rows_dropped.values())
        assert counts.pairs_read == sum(counts.pairs_dropped.values()) + sum(counts.splits.values())
        assert counts.splits == {split: len(rows_of(version, split)) for split in counts.splits}
        listed = Counter((one["kind"], one["action"]) for one in listed_repairs(version))
        dropped = Counter(counts.rows_dropped) + Counter(counts.pairs_dropped)
        assert {kind: count for (kind, action), count in listed.items() if action == "drop"} == dropped
        for kind, done in counts.pairs_repaired.items():
            assert {action: listed[kind, action] for action in done} == done
        assert check_version(version) == []


def test_the_hash_does_not_depend_on_the_order_of_rows_and_files_nor_on_their_format(tmp_path: Path) -> None:
    rows = pairs(240)
    (tmp_path / "a").mkdir()
    first = built(tmp_path / "v1", write_rows(tmp_path / "all.jsonl", rows), write="jsonl")
    random.Random(1).shuffle(rows)
    parts = [
        write_rows(tmp_path / "z.jsonl", rows[:80]),
        write_rows(tmp_path / "m.parquet", rows[80:160]),
        write_rows(tmp_path / "a.csv", rows[160:]),
    ]
    second = built(tmp_path / "v2", parts, write="parquet")
    assert second.hash == first.hash
    assert second.manifest.splits.keys() == first.manifest.splits.keys()
    for split, part in first.manifest.splits.items():
        assert second.manifest.splits[split].hash == part.hash
        assert [row["id"] for row in rows_of(first, split)] == [row["id"] for row in rows_of(second, split)]
    everything = Dataset("all", read_rows(parts).rows, (), "")
    assert everything.hash == read_rows(tmp_path / "all.jsonl").hash


def test_which_of_several_copies_stays_does_not_depend_on_their_order(tmp_path: Path) -> None:
    """Near copies too: of each group the pair with the smallest id stays."""
    text = "Good day, my order of the seventh with the blue vase and two lamps has not arrived, and nobody answers"
    reply = "Dear Ann, I am sorry for the wait: your parcel left Lyon this morning and will arrive on Friday"
    near = [
        {
            "prompt": text + "!" * number,
            "chosen": reply + "." * number,
            "rejected": "I cannot say. " + "x" * 40,
        }
        for number in range(6)
    ]
    rows = [*pairs(120), *near, {**pair(5), "prompt": pair(5)["prompt"].upper()}]
    first = built(tmp_path / "a", write_rows(tmp_path / "a.jsonl", rows))
    second = built(tmp_path / "b", write_rows(tmp_path / "b.jsonl", rows[::-1]))
    assert first.hash == second.hash
    dropped = first.manifest.counts.pairs_dropped
    assert dropped == second.manifest.counts.pairs_dropped == {"near_duplicate": 5, "normalised_duplicate": 1}
    texts = [row["prompt"][0]["content"] for split in first.manifest.splits for row in rows_of(first, split)]
    assert sum(one.startswith(text) for one in texts) == 1


def test_of_several_copies_that_of_the_parent_stays(tmp_path: Path) -> None:
    text = "Good day, my order of the seventh with the blue vase and two lamps has not arrived, and nobody answers"
    reply = "Dear Ann, I am sorry for the wait: your parcel left Lyon this morning and will arrive on Friday"
    near = [
        {"prompt": text, "chosen": reply + "." * number, "rejected": "I cannot say."} for number in range(8)
    ]
    for number, old in enumerate(near):
        path = write_rows(tmp_path / f"{number}.jsonl", [*pairs(30), old])
        parent = built(tmp_path / f"a{number}", path)
        more = write_rows(tmp_path / f"more{number}.jsonl", near)
        child = built(tmp_path / f"b{number}", [path, more], parent=str(parent.path))
        assert splits_of(child) == splits_of(parent)


def test_the_same_files_give_the_same_bytes_from_wherever_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("here", "there/deeper"):
        folder = tmp_path / place
        write_rows(folder / "one.jsonl", [*pairs(80), *BROKEN, pair(3)])
        write_rows(folder / "two.jsonl", pairs(80, start=80))
    monkeypatch.chdir(tmp_path / "here")
    first = built(Path("v"), [Path("one.jsonl"), Path("two.jsonl")])
    there = tmp_path / "there" / "deeper"
    second = built(tmp_path / "v2", [there / "two.jsonl", there / "one.jsonl"])
    assert sorted(path.name for path in first.path.iterdir()) == sorted(
        path.name for path in second.path.iterdir()
    )
    for path in first.path.iterdir():
        assert path.read_bytes() == (second.path / path.name).read_bytes(), path.name


def test_jsonl_and_parquet_hold_the_same_rows(many: Path, tmp_path: Path) -> None:
    lines = built(tmp_path / "lines", many, write="jsonl")
    table = built(tmp_path / "table", many, write="parquet")
    assert lines.hash == table.hash
    for split in lines.manifest.splits:
        assert rows_of(lines, split) == rows_of(table, split)
    assert (lines.path / "rows.txt").read_bytes() == (table.path / "rows.txt").read_bytes()


def test_another_seed_gives_another_split_of_the_same_rows(many: Path, tmp_path: Path) -> None:
    first, second = built(tmp_path / "a", many), built(tmp_path / "b", many, split__seed=1)
    assert splits_of(first).keys() == splits_of(second).keys() and splits_of(first) != splits_of(second)
    assert first.hash != second.hash


def test_balancing_leaves_training_pairs_out_until_length_says_nothing(many: Path, tmp_path: Path) -> None:
    plain = built(tmp_path / "a", many)
    even = built(tmp_path / "b", many, balance_lengths="subsample")
    assert plain.manifest.lengths is not None and even.manifest.lengths is not None
    assert plain.manifest.lengths.before == plain.manifest.lengths.after == even.manifest.lengths.before
    before, after = even.manifest.lengths.before, even.manifest.lengths.after
    assert before.longer_chosen > 0.7 and before.auc > 0.6
    assert after.longer_chosen == 0.5 and abs(after.auc - 0.5) < 0.05
    assert after.rows == even.manifest.splits["train"].rows
    assert even.manifest.counts.pairs_dropped == {"length_balance": before.rows - after.rows}
    for split in ("validation", "test"):
        assert rows_of(even, split) == rows_of(plain, split)


def test_repairs_change_what_they_say_and_nothing_else(tmp_path: Path) -> None:
    rows = pairs(120)
    rows[5]["chosen"] = "<|im_start|>" + rows[5]["chosen"]
    rows.append(rows[7])
    path = write_rows(tmp_path / "rows.jsonl", rows)
    version = built(tmp_path / "v", path)
    assert version.manifest.counts.pairs_repaired == {"control_tokens": {"mend": 1}}
    assert version.manifest.counts.pairs_dropped == {"exact_duplicate": 1}
    listed = {one["source"]: one for one in listed_repairs(version)}
    assert listed.keys() == {"rows.jsonl:6", "rows.jsonl:121"}
    mended = listed["rows.jsonl:6"]
    assert mended["id_before"] != mended["id_after"] and mended["id_after"] in splits_of(version)
    again = listed["rows.jsonl:121"]
    assert again["id_before"] in splits_of(version) and again["id_after"] is None
    untouched = built(tmp_path / "w", path, repair="none")
    assert untouched.manifest.counts.pairs_dropped == {}
    assert sum(part.rows for part in untouched.manifest.splits.values()) == 121


def test_pairs_that_ask_what_is_measured_are_left_out(tmp_path: Path) -> None:
    rows = pairs(120)
    path = write_rows(tmp_path / "rows.jsonl", rows)
    asked = [{**rows[number], "chosen": "another reply", "rejected": "and another"} for number in (4, 9, 30)]
    held_out = write_rows(tmp_path / "measure" / "test.jsonl", asked)
    version = built(tmp_path / "v", path, data__held_out=[str(held_out)])
    assert version.manifest.counts.pairs_dropped == {"leaked_prompt": 3}
    assert {one["source"] for one in listed_repairs(version)} == {
        f"rows.jsonl:{line}" for line in (5, 10, 31)
    }
    (looked_up,) = version.manifest.looked_up
    assert looked_up.name == "test.jsonl" and looked_up.sha256 == sha256(held_out.read_bytes()).hexdigest()
    assert str(tmp_path) not in (version.path / "audit.json").read_text()


def test_a_version_can_be_built_again_from_its_own_files(many: Path, tmp_path: Path) -> None:
    first = built(tmp_path / "a", many)
    again = built(tmp_path / "b", first.path, write="jsonl")
    assert again.hash == first.hash
    old = {row["id"]: row["extra"] for split in first.manifest.splits for row in rows_of(first, split)}
    assert {
        row["id"]: row["extra"] for split in again.manifest.splits for row in rows_of(again, split)
    } == old
    with (first.path / "test.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="is not what was built"):
        built(tmp_path / "c", first.path)


def test_a_pipe_is_refused_for_it_can_be_read_but_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="a build reads its files twice"):
        built(tmp_path / "v", tmp_path / "pipe")


def test_a_mend_that_makes_two_rows_equal_leaves_one(tmp_path: Path) -> None:
    twin = {**pair(3), "chosen": "<|im_start|>" + pair(3)["chosen"]}
    version = built(tmp_path / "v", write_rows(tmp_path / "rows.jsonl", [*pairs(120), twin]))
    assert version.manifest.counts.pairs_dropped == {"exact_duplicate": 1}


def test_prompts_equal_but_for_case_and_white_space_are_one_group(tmp_path: Path) -> None:
    rows = [
        *pairs(40),
        *({**pair(5 + 50 * number), "prompt": "Where  is it" + " " * number} for number in range(9)),
    ]
    version = built(
        tmp_path / "v", write_rows(tmp_path / "rows.jsonl", rows), repair="none", split__group="exact"
    )
    groups = {
        (split, row["group"])
        for split in version.manifest.splits
        for row in rows_of(version, split)
        if row["prompt"][0]["content"].startswith("Where")
    }
    assert len(groups) == 1
    assert version.manifest.grouping.largest_rows == 9


def test_tools_and_calls_of_them_survive_a_build(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}
    call = {"id": "c1", "function": {"name": "track", "arguments": '{"n": 7}'}}
    prompt = [
        {"role": "user", "content": "Where is parcel 7?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Lyon", "name": "track", "tool_call_id": "c1"},
    ]
    row = {"prompt": prompt, "chosen": "In Lyon.", "rejected": "No idea.", "tools": [tool]}
    others = [{**one, "prompt": [{"role": "user", "content": one["prompt"]}]} for one in pairs(30)]
    path = write_rows(tmp_path / "rows.jsonl", [row, *others])
    for kind in ("parquet", "jsonl"):
        version = built(tmp_path / kind, path, write=kind)
        assert check_version(version) == []
        files = [file for split in version.manifest.splits if (file := version.file(split)) is not None]
        wanted = read_rows(path).rows[0]
        again = {one.id: one for one in read_rows([str(file) for file in files]).rows}
        assert again[wanted.id].prompt == wanted.prompt and again[wanted.id].tools == wanted.tools


def test_the_rows_of_an_odd_table_are_written_the_same_everywhere(tmp_path: Path) -> None:
    """Dates, bytes, NaN and other columns that JSON has no word for."""
    import datetime

    import pyarrow as pa

    rows = [
        {**one, "day": datetime.date(2026, 1, 2), "raw": b"\x01", "score": float("nan")} for one in pairs(30)
    ]
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    version = built(tmp_path / "v", path)
    (first, *_) = rows_of(version, "train")
    assert json.loads(first["extra"]).items() >= {"day": "2026-01-02", "raw": "01", "score": None}.items()
    assert check_version(version) == []
