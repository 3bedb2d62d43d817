"""What travels: identities that hold on any machine, and invariants checked where a record is built."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.records import (
    ROLES,
    Dataset,
    Dropped,
    Example,
    Message,
    Pair,
    Row,
    Source,
    TokenGroup,
    TokenIds,
)

SOURCE = Source("train.jsonl", 812)
PROMPT = (Message("system", "Be brief."), Message("user", "Où est mon colis ? 📦"))
PAIR = Pair(PROMPT, "On its way.", "No idea.", SOURCE, "shipping", {"ticket": 4711})
EXAMPLE = Example(PROMPT, "On its way.", SOURCE)

text = st.text(min_size=1, max_size=8)


def pair(prompt: str = "hello", chosen: str = "yes", rejected: str = "no", line: int = 1) -> Pair:
    return Pair((Message("user", prompt),), chosen, rejected, Source("a.jsonl", line))


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


def dataset(*rows: Row, dropped: tuple[Dropped, ...] = ()) -> Dataset:
    return Dataset("a.jsonl", rows, dropped, "pairs")


# Identity. The numbers are sha256 of the JSON of kind, turns and completions, cut to 16 digits: were one of them to
# change, every dataset hash, cache and lineage written so far would name something else.


def test_ids_are_these_numbers_on_every_machine() -> None:
    assert PAIR.id == "8490cb76c9144c6c"
    assert PAIR.prompt_id == "75463a0e3b5a1376"
    assert EXAMPLE.id == "6c1ee8de69d57e96"
    assert EXAMPLE.prompt_id == PAIR.prompt_id
    assert dataset(PAIR, EXAMPLE).hash == "7aed1618f36a139cf6b3c1dadf03f525dd6a1f0dd1959fd0c6affe1cb8de46df"


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_ids_do_not_depend_on_the_hash_seed_of_the_process(seed: str) -> None:
    code = (
        "from simpo.records import *; "
        "print(Pair((Message('user', 'hello'),), 'yes', 'no', Source('a.jsonl', 1)).id)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == pair().id


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(PAIR, chosen="On its way!"),
        dataclasses.replace(PAIR, rejected="No idea. "),
        dataclasses.replace(PAIR, chosen=PAIR.rejected, rejected=PAIR.chosen),
        dataclasses.replace(PAIR, prompt=PROMPT[1:]),
        dataclasses.replace(PAIR, prompt=(Message("user", "Be brief."), PROMPT[1])),
        dataclasses.replace(PAIR, prompt=(PROMPT[0], Message("user", "Où est mon colis ? 📦 "))),
        dataclasses.replace(PAIR, prompt=(Message("user", "Be brief.Où est mon colis ? 📦"),)),
    ],
)
def test_any_change_of_text_changes_the_id(other: Pair) -> None:
    assert other.id != PAIR.id


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(PAIR, extra={"ticket": 1, "score": 0.3}),
        dataclasses.replace(PAIR, category=None),
        dataclasses.replace(PAIR, source=Source("other.parquet", 1)),
    ],
)
def test_other_columns_category_and_place_do_not_change_the_id(other: Pair) -> None:
    assert (other.id, other.prompt_id) == (PAIR.id, PAIR.prompt_id)


def test_other_columns_are_no_part_of_equality() -> None:
    assert dataclasses.replace(PAIR, extra={}) == PAIR
    assert "4711" not in repr(PAIR)


@given(texts=st.lists(text, min_size=3, max_size=3, unique=True))
@settings(max_examples=50, deadline=None)
def test_moving_text_between_the_parts_changes_the_id(texts: list[str]) -> None:
    a, b, c = texts
    assert len({pair(a, b, c).id, pair(a, c, b).id, pair(b, a, c).id, pair(a + b, b, c).id}) == 4
    assert pair(a, b, c).prompt_id == pair(a, c, b).prompt_id != pair(b, a, c).prompt_id


def test_an_example_and_a_pair_of_the_same_text_differ() -> None:
    assert Example(PROMPT, "yes", SOURCE).id != Pair(PROMPT, "yes", "no", SOURCE).id


def test_a_lone_surrogate_has_an_id_and_does_not_crash() -> None:
    assert len(pair("broken \ud83d").id) == 16


def test_ids_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(PAIR)).id == PAIR.id


# Datasets.


def test_the_dataset_hash_does_not_depend_on_order_name_or_format() -> None:
    rows = [pair(prompt) for prompt in "abc"]
    forward = dataset(*rows)
    backward = Dataset("b.parquet", tuple(reversed(rows)), (), "other", ())
    assert forward.hash == backward.hash
    assert len(forward.hash) == 64


def test_the_dataset_hash_counts_every_row() -> None:
    once, twice, other = dataset(pair("a")), dataset(pair("a"), pair("a")), dataset(pair("b"))
    assert len({once.hash, twice.hash, other.hash, dataset().hash}) == 4


def test_rows_left_out_are_counted_by_reason() -> None:
    dropped = tuple(Dropped(SOURCE, reason, "...") for reason in ("overlong", "empty", "overlong"))
    assert dataset(dropped=dropped).dropped_counts() == {"empty": 1, "overlong": 2}


# Invariants.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ()}, "the prompt is empty"),
        ({"prompt": (*PROMPT, Message("assistant", "Hm."))}, "ends in an assistant turn"),
        ({"chosen": ""}, '"chosen" is empty'),
        ({"rejected": ""}, '"rejected" is empty'),
        ({"rejected": "On its way."}, "are equal"),
    ],
)
def test_a_pair_that_cannot_be_learned_from_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PAIR, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ()}, "the prompt is empty"),
        ({"prompt": (*PROMPT, Message("assistant", "Hm."))}, "ends in an assistant turn"),
        ({"completion": ""}, "the completion is empty"),
    ],
)
def test_an_example_without_a_prompt_or_a_completion_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EXAMPLE, **changes)  # type: ignore[arg-type]


def test_roles_are_the_four_that_templates_know() -> None:
    for role in ROLES:
        assert Message(role, "x").as_dict() == {"role": role, "content": "x"}
    with pytest.raises(ValueError, match="role 'human' is not one of system, user, assistant, tool"):
        Message("human", "x")


def test_completions_come_chosen_first() -> None:
    assert PAIR.completions == ("On its way.", "No idea.")
    assert EXAMPLE.completions == ("On its way.",)


def test_a_source_reads_as_file_and_line() -> None:
    assert str(SOURCE) == "train.jsonl:812"


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAIR.chosen = "other"  # type: ignore[misc]


def test_a_token_group_counts_its_tokens() -> None:
    group = TokenGroup(ids(1, 2, 3), (ids(4, 9), ids(5, 6, 7, 9)), PAIR)
    assert group.num_completion_tokens == 6
    assert group.longest == 7


@pytest.mark.parametrize(
    ("prompt", "completions", "message"),
    [
        (ids(), (ids(4, 9),), "the rendered prompt has no tokens"),
        (ids(1), (), "no tokens to score"),
        (ids(1), (ids(4, 9), ids()), "no tokens to score"),
    ],
)
def test_a_token_group_without_tokens_is_refused_with_its_line(
    prompt: TokenIds, completions: tuple[TokenIds, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"train.jsonl:812: .*{message}"):
        TokenGroup(prompt, completions, PAIR)
