"""Rows added later move no other row: without a parent where groups stay as they are, with one always."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from simpo.audit.copies.prompts import asked
from simpo.errors import CheckFailed, RecipeError
from simpo.records import Message
from tests.build.made import built, listed_repairs, pair, pairs, rows_of, splits_of, write_rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("many") / "pairs.jsonl", pairs(400))


def test_rows_added_later_move_no_row_without_a_parent(many: Path, tmp_path: Path) -> None:
    first = built(tmp_path / "a", many)
    more = write_rows(tmp_path / "more.jsonl", pairs(300, start=400))
    second = built(tmp_path / "b", [many, more])
    after = splits_of(second)
    assert {row: after[row] for row in splits_of(first)} == splits_of(first)
    assert len(after) == 700


def test_an_exact_split_stays_with_a_parent_and_new_rows_follow_its_thresholds(tmp_path: Path) -> None:
    old = write_rows(tmp_path / "old.jsonl", pairs(200))
    new = write_rows(tmp_path / "new.jsonl", pairs(200, start=200))
    first = built(tmp_path / "a", old, split__stratify="exact", split__test=0.1)
    assert [first.manifest.splits[split].rows for split in ("train", "validation", "test")] == [170, 10, 20]
    second = built(tmp_path / "b", [old, new], parent=str(first.path))
    after = splits_of(second)
    assert {row: after[row] for row in splits_of(first)} == splits_of(first)
    assert second.manifest.split_rule == first.manifest.split_rule
    assert second.manifest.parent is not None and second.manifest.parent.hash == first.hash
    assert Counter(after.values())["test"] > 25


LONG = "my order of the seventh with the blue vase and the two lamps has not arrived and nobody answers the phone"


def test_a_near_duplicate_goes_where_the_prompt_of_the_parent_is(tmp_path: Path) -> None:
    old = write_rows(tmp_path / "old.jsonl", [*pairs(60), pair(900, prompt=LONG)])
    first = built(tmp_path / "a", old, split__validation=0.3, split__test=0.3)
    near = [pair(901 + number, prompt=LONG + "!" * (number + 1)) for number in range(5)]
    second = built(
        tmp_path / "b", [old, write_rows(tmp_path / "new.jsonl", near)], parent=str(first.path), repair="none"
    )
    where = {
        row["prompt"][0]["content"]: (split, row["group"])
        for split in second.manifest.splits
        for row in rows_of(second, split)
        if row["prompt"][0]["content"].startswith(LONG)
    }
    assert len(where) == 6 and len(set(where.values())) == 1
    was = splits_of(first, "prompt")[json.dumps([{"role": "user", "content": LONG}])]
    assert next(iter(where.values()))[0] == was


def test_a_new_row_near_to_a_trained_and_a_tested_one_is_left_out_and_listed(tmp_path: Path) -> None:
    """Each end is far from the other, and the middle near to both: 60 words of which 10 are changed on either side."""
    words = [f"word{number}" for number in range(60)]
    ends = [" ".join(["x" * 9] * 10 + words[10:]), " ".join(words[:50] + ["y" * 9] * 10)]
    middle = " ".join(words)
    old = write_rows(
        tmp_path / "old.jsonl", [*pairs(20), pair(901, prompt=ends[0]), pair(902, prompt=ends[1])]
    )
    seed = next(seed for seed in range(50) if _split_apart(old, tmp_path / f"try{seed}", seed, ends))
    first = built(tmp_path / "a", old, split__seed=seed, split__test=0.5)
    new = write_rows(tmp_path / "new.jsonl", [pair(903, prompt=middle)])
    second = built(tmp_path / "b", [old, new], parent=str(first.path), repair="none")
    after = splits_of(second)
    assert after == splits_of(first)
    (conflict,) = second.manifest.conflicts
    assert conflict.rows_left_out == 1 and len(conflict.splits) == 2
    assert second.manifest.counts.pairs_dropped == {"joins_splits": 1}
    assert [one["source"] for one in listed_repairs(second)] == ["new.jsonl:1"]


def _split_apart(old: Path, out: Path, seed: int, ends: list[str]) -> bool:
    version = built(out, old, split__seed=seed, split__test=0.5)
    where = splits_of(version, "prompt")
    return len({where[json.dumps([{"role": "user", "content": end}])] for end in ends}) == 2


def test_a_parent_that_was_changed_or_contradicted_is_refused(many: Path, tmp_path: Path) -> None:
    first = built(tmp_path / "a", many)
    with pytest.raises(RecipeError, match=r"split.seed is 0 in the parent.*received 4"):
        built(tmp_path / "b", many, parent=str(first.path), split__seed=4)
    with (first.path / "train.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckFailed, match="the parent is not what was built"):
        built(tmp_path / "b", many, parent=str(first.path))
    assert not (tmp_path / "b").exists()


def test_prompts_of_one_key_are_the_same_prompt() -> None:
    """The key by which a parent's prompts are found again does not change with time."""
    turns = (Message("system", "Be brief."), Message("user", "Where is  it?"))
    shouted = (Message("system", "BE BRIEF."), Message("user", "where IS it?\n"))
    assert asked(turns).key == asked(shouted).key != asked(turns[1:]).key
