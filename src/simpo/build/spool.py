"""The pairs that are kept, on the disk until they are written in order, and what is known of each in memory."""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.data.formats_own import has_tools, version_row
from simpo.records import Message, Pair, Source

PAIRS_A_BUCKET = 5_000
MAX_BUCKETS = 400  # files open at once


class Kept:
    """Some forty bytes for each kept pair, in the order in which they were read.

    id, prompt: 64-bit hashes of the pair and of its normalised prompt. file, line: where it came from. chosen,
    rejected: lengths in characters. category: a number for each name of `categories`, -1 for none.
    """

    def __init__(self) -> None:
        self._id, self._prompt = array("Q"), array("Q")
        self._file, self._line = array("i"), array("q")
        self._chosen, self._rejected = array("q"), array("q")
        self._category = array("i")
        self.categories: dict[str, int] = {}
        self.has_tools = False

    def add(self, pair: Pair, prompt: int, file: int) -> int:
        """Note one pair and return its number."""
        self._id.append(int(pair.id, 16))
        self._prompt.append(prompt)
        self._file.append(file)
        self._line.append(pair.source.line)
        self._chosen.append(len(pair.chosen))
        self._rejected.append(len(pair.rejected))
        known = self.categories
        self._category.append(-1 if pair.category is None else known.setdefault(pair.category, len(known)))
        self.has_tools = self.has_tools or has_tools(pair)
        return len(self._id) - 1

    def __len__(self) -> int:
        return len(self._id)

    @property
    def id(self) -> npt.NDArray[np.uint64]:
        """[N] content hashes."""
        return np.array(self._id, dtype=np.uint64)

    @property
    def prompt(self) -> npt.NDArray[np.uint64]:
        """[N] hashes of the normalised prompts."""
        return np.array(self._prompt, dtype=np.uint64)

    @property
    def chosen(self) -> npt.NDArray[np.int64]:
        """[N] lengths of the chosen replies."""
        return np.array(self._chosen, dtype=np.int64)

    @property
    def rejected(self) -> npt.NDArray[np.int64]:
        """[N] lengths of the rejected replies."""
        return np.array(self._rejected, dtype=np.int64)

    def category_names(self) -> list[str | None]:
        """[N] the category of each pair."""
        names: list[str | None] = [*self.categories, None]
        return [names[number] for number in self._category]

    def place(self, number: int) -> tuple[int, int]:
        """The file and the line that a pair came from."""
        return self._file[number], self._line[number]


class Spool:
    """Pairs on the disk, in buckets by the beginning of their id, so that each can be sorted in memory."""

    def __init__(self, folder: Path, num_pairs: int) -> None:
        self._num = max(1, min(MAX_BUCKETS, -(-num_pairs // PAIRS_A_BUCKET)))
        self._paths = [folder / f"{number:03d}.jsonl" for number in range(self._num)]
        self._stack = ExitStack()
        self._folder = folder
        folder.mkdir()
        self._files = [self._stack.enter_context(path.open("w", encoding="ascii")) for path in self._paths]

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, number: int, pair: Pair, source: str) -> None:
        """Put by one pair under its number."""
        row = version_row(pair, source=source, group="", extra=plain_json(pair.extra), with_tools=True)
        bucket = int(pair.id[:4], 16) * self._num >> 16
        self._files[bucket].write(json.dumps([number, row], ensure_ascii=True) + "\n")

    def pairs(self) -> Iterator[tuple[int, Pair]]:
        """As `rows`, the texts alone: prompts, replies and tools."""
        for number, row in self.rows():
            turns = tuple(_message(turn) for turn in row["prompt"])
            tools = tuple(json.loads(row["tools"])) if row["tools"] else ()
            chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
            yield number, Pair(turns, chosen, rejected, Source(row["source"], 0), tools=tools)

    def remove(self) -> None:
        """Remove what lies on the disk."""
        self._stack.close()
        shutil.rmtree(self._folder)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every pair with its number, by ascending id; pairs of one id as they were read."""
        self._stack.close()
        for path in self._paths:
            with path.open(encoding="ascii") as file:
                rows = [json.loads(line) for line in file]
            rows.sort(key=lambda entry: (entry[1]["id"], entry[0]))
            yield from ((number, row) for number, row in rows)


def _message(turn: dict[str, Any]) -> Message:
    extra = {
        key: value for key, value in turn.items() if key not in ("role", "content") and value is not None
    }
    if "tool_calls" in extra:
        extra["tool_calls"] = json.loads(extra["tool_calls"])
    return Message(turn["role"], turn["content"], extra) if extra else Message(turn["role"], turn["content"])


def plain_json(values: Any) -> str:
    """Columns of any file as JSON text, the same on any machine: what JSON has no word for becomes text, NaN null."""
    return json.dumps(_plain(values), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if hasattr(value, "items"):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, Decimal) else repr(value)
