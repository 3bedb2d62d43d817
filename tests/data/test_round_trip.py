"""A pair written in any format, to any kind of file, reads back equal, whatever the text."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.data.read import read_rows
from simpo.records import Message, Pair, Source

SOURCE = Source("any", 1)
MARKERS = ("\n\nHuman:", "\n\nAssistant:")

words = st.text(max_size=30)
said = words.filter(lambda value: value.strip())
hh_text = said.filter(lambda value: value == value.rstrip() and not any(mark in value for mark in MARKERS))
message = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), words)
last_turn = st.builds(Message, st.just("user"), said)
prompts = st.builds(lambda turns, last: (*turns, last), st.lists(message, max_size=3), last_turn)
single = said.filter(lambda value: not value.startswith("\n\nHuman:")).map(
    lambda text: (Message("user", text),)
)


@st.composite
def pairs(draw: st.DrawFn, prompt: st.SearchStrategy = prompts, reply: st.SearchStrategy = said) -> Pair:
    chosen = draw(reply)
    rejected = draw(reply.filter(lambda value: value != chosen))
    return Pair(draw(prompt), chosen, rejected, SOURCE)


@st.composite
def hh_prompts(draw: st.DrawFn) -> tuple[Message, ...]:
    turns = [Message("user", draw(hh_text))]
    for _ in range(draw(st.integers(0, 2))):
        turns += [Message("assistant", draw(hh_text)), Message("user", draw(hh_text))]
    return tuple(turns)


def turns(prompt: tuple[Message, ...], *reply: str) -> list[dict[str, str]]:
    return [turn.as_dict() for turn in (*prompt, *(Message("assistant", text) for text in reply))]


def hh(prompt: tuple[Message, ...], reply: str | None = None) -> str:
    marker = {"user": MARKERS[0], "assistant": MARKERS[1]}
    text = "".join(f"{marker[turn.role]} {turn.content}" for turn in prompt)
    return text + MARKERS[1] + ("" if reply is None else f" {reply}")


WRITERS: dict[str, tuple[Callable[[Pair], dict[str, Any]], st.SearchStrategy[Pair]]] = {
    "trl_standard": (
        lambda pair: {"prompt": pair.prompt[0].content, "chosen": pair.chosen, "rejected": pair.rejected},
        pairs(prompt=single),
    ),
    "trl_conversational": (
        lambda pair: {
            "prompt": turns(pair.prompt),
            "chosen": turns((), pair.chosen),
            "rejected": turns((), pair.rejected),
        },
        pairs(),
    ),
    "trl_conversational_implicit": (
        lambda pair: {
            "chosen": turns(pair.prompt, pair.chosen),
            "rejected": turns(pair.prompt, pair.rejected),
        },
        pairs(),
    ),
    "hh": (
        lambda pair: {"chosen": hh(pair.prompt, pair.chosen), "rejected": hh(pair.prompt, pair.rejected)},
        pairs(prompt=hh_prompts(), reply=hh_text),
    ),
    "hh_explicit": (
        lambda pair: {
            "prompt": hh(pair.prompt),
            "chosen": f" {pair.chosen}",
            "rejected": f" {pair.rejected}",
        },
        pairs(prompt=hh_prompts(), reply=hh_text),
    ),
}


def text_of(pair: Pair) -> str:
    return pair.prompt[0].content


def reply_of(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def sharegpt(prompt: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"from": SHAREGPT[turn.role], "value": turn.content} for turn in prompt]


def tree(pair: Pair) -> dict[str, Any]:
    """The last question's replies, worse one first, at the end of a line of single replies."""
    replies = [
        {"text": text, "role": "assistant", "rank": rank, "replies": []}
        for rank, text in ((1, pair.rejected), (0, pair.chosen))
    ]
    for turn in reversed(pair.prompt):
        role = "prompter" if turn.role == "user" else "assistant"
        replies = [{"text": turn.content, "role": role, "rank": 0, "replies": replies}]
    return {"prompt": replies[0]}


# Of the formats of other trainers, judges and labelling tools: one row for a pair, over JSON Lines.
OTHERS: dict[str, tuple[Callable[[Pair], dict[str, Any]], st.SearchStrategy[Pair]]] = {
    "openai_preference": (
        lambda pair: {
            "input": {"messages": turns(pair.prompt)},
            "preferred_output": turns((), pair.chosen),
            "non_preferred_output": turns((), pair.rejected),
        },
        pairs(),
    ),
    "swift_rejected": (
        lambda pair: {"messages": turns(pair.prompt, pair.chosen), "rejected_response": pair.rejected},
        pairs(),
    ),
    "axolotl_chat_template": (
        lambda pair: {
            "messages": turns(pair.prompt),
            "chosen": reply_of(pair.chosen),
            "rejected": reply_of(pair.rejected),
        },
        pairs(),
    ),
    "llamafactory_sharegpt": (
        lambda pair: {
            "conversations": sharegpt(pair.prompt),
            "chosen": {"from": "gpt", "value": pair.chosen},
            "rejected": {"from": "gpt", "value": pair.rejected},
        },
        pairs(),
    ),
    "alpaca_ranking": (
        lambda pair: {
            "instruction": text_of(pair),
            "input": "",
            "chosen": pair.chosen,
            "rejected": pair.rejected,
        },
        pairs(prompt=single),
    ),
    "axolotl_intel": (
        lambda pair: {"question": text_of(pair), "chosen": pair.chosen, "rejected": pair.rejected},
        pairs(prompt=single),
    ),
    "axolotl_argilla": (
        lambda pair: {
            "instruction": text_of(pair),
            "chosen_response": pair.chosen,
            "rejected_response": pair.rejected,
        },
        pairs(prompt=single),
    ),
    "nemo_ranked": (
        lambda pair: {
            "context": turns(pair.prompt),
            "completions": [
                {"rank": rank, "completion": turns((), text)}
                for rank, text in ((3, pair.rejected), (0, pair.chosen))
            ],
        },
        pairs(),
    ),
    "nectar": (
        lambda pair: {
            "prompt": hh(pair.prompt),
            "answers": [{"answer": pair.chosen, "rank": 1.0}, {"answer": pair.rejected, "rank": 4.0}],
        },
        pairs(prompt=hh_prompts()),
    ),
    "ultrafeedback": (
        lambda pair: {
            "instruction": text_of(pair),
            "completions": [
                {"response": pair.rejected, "overall_score": 9, "annotations": {"a": {"Rating": "1"}}},
                {"response": pair.chosen, "overall_score": 2, "annotations": {"a": {"Rating": "4"}}},
            ],
        },
        pairs(prompt=single),
    ),
    "oasst_tree": (tree, pairs(prompt=hh_prompts())),
    "helpsteer": (
        lambda pair: {
            "context": turns(pair.prompt),
            "response1": pair.rejected,
            "response2": pair.chosen,
            "overall_preference": 2,
        },
        pairs(),
    ),
    "alpaca_eval": (
        lambda pair: {
            "instruction": text_of(pair),
            "output_1": pair.chosen,
            "output_2": pair.rejected,
            "preference": 1.0001,
        },
        pairs(prompt=single),
    ),
    "argilla": (
        lambda pair: {
            "fields": {"prompt": text_of(pair), "response1": pair.rejected, "response2": pair.chosen},
            "responses": {"which": [{"value": "response2", "user_id": "ann", "status": "submitted"}]},
        },
        pairs(prompt=single),
    ),
    "label_studio": (
        lambda pair: {
            "data": {"prompt": text_of(pair), "answer1": pair.chosen, "answer2": pair.rejected},
            "annotations": [
                {"completed_by": 1, "result": [{"type": "pairwise", "value": {"selected": "left"}}]}
            ],
        },
        pairs(prompt=single),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_pair_written_in_the_format_of_another_tool_reads_back_equal(
    name: str, data: st.DataObject
) -> None:
    writer, strategy = OTHERS[name]
    written = data.draw(st.lists(strategy, min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        dataset = read_rows(
            write(Path(folder), ".jsonl", [{**writer(pair), "category": "c"} for pair in written])
        )
    assert dataset.format == name
    assert [row.id for row in dataset.rows] == [pair.id for pair in written]
    assert all(row.category == "c" for row in dataset.rows)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=st.lists(pairs(), min_size=1, max_size=4, unique_by=lambda pair: pair.prompt), data=st.data())
def test_pairs_taken_apart_into_ratings_and_shuffled_are_the_same_pairs(
    written: list[Pair], data: st.DataObject
) -> None:
    rows = [
        {"prompt": turns(pair.prompt), "completion": turns((), text), "label": good}
        for pair in written
        for text, good in ((pair.chosen, True), (pair.rejected, False))
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = read_rows(write(Path(folder), ".jsonl", data.draw(st.permutations(rows))))
    assert {row.id for row in dataset.rows} == {pair.id for pair in written}


def write(folder: Path, kind: str, rows: list[dict[str, Any]], ensure_ascii: bool = True) -> Path:
    path = folder / f"rows{kind}"
    text = "".join(json.dumps(row, ensure_ascii=ensure_ascii) + "\n" for row in rows)
    if kind == ".jsonl":
        path.write_bytes(text.encode())
    elif kind == ".jsonl.gz":
        path.write_bytes(gzip.compress(text.encode(), 1, mtime=0))
    elif kind == ".json":
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=ensure_ascii), encoding="utf-8", newline="")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".json", ".parquet"])
@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), ensure_ascii=st.booleans())
def test_a_pair_written_in_any_format_and_file_reads_back_equal(
    name: str, kind: str, data: st.DataObject, ensure_ascii: bool
) -> None:
    writer, strategy = WRITERS[name]
    written = data.draw(st.lists(strategy, min_size=1, max_size=3))
    rows = [
        {**writer(pair), "category": f"c{index}", "score": index / 2} for index, pair in enumerate(written)
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = read_rows(write(Path(folder), kind, rows, ensure_ascii))
    assert dataset.format == name
    assert [(row.prompt, *row.completions) for row in dataset.rows] == [
        (pair.prompt, pair.chosen, pair.rejected) for pair in written
    ]
    assert [row.id for row in dataset.rows] == [pair.id for pair in written]
    assert [row.source.line for row in dataset.rows] == list(range(1, len(rows) + 1))
    assert [row.category for row in dataset.rows] == [row["category"] for row in rows]
    assert [row.extra for row in dataset.rows] == [
        {"category": row["category"], "score": row["score"]} for row in rows
    ]
