"""How much of the held-out rows was seen in training: prompts, replies, word n-grams and slot values."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
SLOTS = ("order", "customer", "item", "carrier", "city")
TRAIN_FILES = ("sft_train.jsonl", "pairs_train.jsonl")
HELD_OUT_FILES = ("sft_validation.jsonl", "pairs_validation.jsonl", "pairs_test.jsonl")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shares of what is distinct in the held-out rows that the training rows contain as well."""

    prompts: float
    replies: float
    trigrams: float
    eightgrams: float
    slots: dict[str, float]


def measure(train: Sequence[Row], held_out: Sequence[Row]) -> Overlap:
    """The overlap of two sets of rows, pairs or SFT rows or both."""
    return Overlap(
        prompts=_share({_prompt_text(r) for r in held_out}, {_prompt_text(r) for r in train}),
        replies=_share(_replies(held_out), _replies(train)),
        trigrams=_gram_share(train, held_out, 3),
        eightgrams=_gram_share(train, held_out, 8),
        slots={name: _share(_slot(held_out, name), _slot(train, name)) for name in SLOTS},
    )


def _messages(row: Row) -> list[Mapping[str, str]]:
    return list(row["prompt"]) if "prompt" in row else list(row["messages"][:-1])


def _prompt_text(row: Row) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in _messages(row))


def _row_replies(row: Row) -> list[str]:
    if "prompt" in row:
        return [row["chosen"][-1]["content"], row["rejected"][-1]["content"]]
    return [row["messages"][-1]["content"]]


def _replies(rows: Iterable[Row]) -> set[str]:
    return {text for row in rows for text in _row_replies(row)}


def _slot(rows: Iterable[Row], name: str) -> set[str]:
    return {str(row["ticket"][name]) for row in rows}


def _grams(rows: Iterable[Row], size: int) -> Iterable[set[str]]:
    for row in rows:
        found: set[str] = set()
        for text in (_prompt_text(row), *_row_replies(row)):
            words = _WORD.findall(text.lower())
            found.update(" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
        yield found


def _gram_share(train: Sequence[Row], held_out: Sequence[Row], size: int) -> float:
    wanted: set[str] = set().union(*_grams(held_out, size))
    seen: set[str] = set()
    for grams in _grams(train, size):
        # Only what the held-out side has is kept, so memory does not grow with the training files.
        seen |= grams & wanted
    return _share(wanted, seen)


def _share(part: set[str], whole: set[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0


def describe(overlap: Overlap) -> list[str]:
    """Lines for a person."""
    slots = ", ".join(f"{name} {share:.0%}" for name, share in overlap.slots.items())
    return [
        f"identical prompts {overlap.prompts:.1%}, identical replies {overlap.replies:.1%}",
        f"word 3-grams {overlap.trigrams:.1%}, word 8-grams {overlap.eightgrams:.1%}",
        f"slot values: {slots}",
    ]


def read_rows(folder: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """All rows of some JSON Lines files of a folder."""
    lines = (line for name in names for line in (folder / name).read_text(encoding="utf-8").splitlines())
    return [json.loads(line) for line in lines]


def main() -> None:
    """Print the overlap of a generated folder."""
    parser = argparse.ArgumentParser(description="Overlap between the training and the held-out files.")
    parser.add_argument("folder", type=Path, help="a folder written by examples.harbor.generate")
    folder = parser.parse_args().folder
    print("\n".join(describe(measure(read_rows(folder, TRAIN_FILES), read_rows(folder, HELD_OUT_FILES)))))


if __name__ == "__main__":
    main()
