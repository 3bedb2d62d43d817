"""What travels between the parts: messages, pairs and examples as text, and the same as token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]

ROLES = ("system", "user", "assistant", "tool")
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row came from: a file (or hub id) and its line or row number, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is one of `ROLES`.

    extra: what a chat template takes beside the text: `tool_calls` of an assistant's turn (arguments as objects),
    `name` and `tool_call_id` of a tool's. JSON values, never changed.
    """

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, hash=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r} is not one of {', '.join(ROLES)}")

    def as_dict(self) -> dict[str, Any]:
        """The turn as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.extra}


def _content_hash(*parts: object) -> str:
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _asked(prompt: tuple[Message, ...], tools: tuple[Mapping[str, Any], ...]) -> list[object]:
    """What identifies a prompt: its turns and, only where there are any, calls of tools and the tools."""
    turns: list[object] = [
        [turn.role, turn.content, turn.extra] if turn.extra else [turn.role, turn.content] for turn in prompt
    ]
    return [*turns, {"tools": tools}] if tools else turns


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    if not prompt:
        raise ValueError("the prompt is empty")
    if prompt[-1].role == "assistant":
        raise ValueError("the prompt ends in an assistant turn")


@dataclass(frozen=True)
class Pair:
    """One preference: a prompt and two completions, `chosen` preferred to `rejected`.

    Invariants: the prompt has at least one turn and does not end in an assistant turn; neither completion is
    empty; the two differ. `extra` holds the row's other columns untouched (category, ticket, scores ...) and is no
    part of the identity. `tools` describes the tools that the prompt shows to the model, as chat templates take them.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: Source
    category: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not self.chosen:
            raise ValueError('"chosen" is empty')
        if not self.rejected:
            raise ValueError('"rejected" is empty')
        if self.chosen == self.rejected:
            raise ValueError('"chosen" and "rejected" are equal')

    @cached_property
    def id(self) -> str:
        """A content hash of prompt, chosen and rejected: 16 hexadecimal digits, the same on any machine."""
        return _content_hash("pair", _asked(self.prompt, self.tools), self.chosen, self.rejected)

    @cached_property
    def prompt_id(self) -> str:
        """A content hash of the prompt alone: pairs that share it form one cluster in every interval."""
        return _content_hash("prompt", _asked(self.prompt, self.tools))

    @property
    def completions(self) -> tuple[str, ...]:
        """The texts to score, chosen first."""
        return (self.chosen, self.rejected)


@dataclass(frozen=True)
class Example:
    """One SFT example: a prompt and the completion to imitate. Invariants, `extra` and `tools` as in `Pair`."""

    prompt: tuple[Message, ...]
    completion: str
    source: Source
    category: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not self.completion:
            raise ValueError("the completion is empty")

    @cached_property
    def id(self) -> str:
        """A content hash of prompt and completion: 16 hexadecimal digits."""
        return _content_hash("example", _asked(self.prompt, self.tools), self.completion)

    @cached_property
    def prompt_id(self) -> str:
        """A content hash of the prompt alone."""
        return _content_hash("prompt", _asked(self.prompt, self.tools))

    @property
    def completions(self) -> tuple[str, ...]:
        """The texts to score."""
        return (self.completion,)


Row = Pair | Example


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """One prompt and the K completions to be scored after it, as token ids.

    `prompt` is [P] and `completions` are K arrays [T_k], int32. Invariants, checked where it is built: the prompt
    is not empty and no completion is; a renderer ends each completion in the one stop token. A `Pair` gives K = 2
    (chosen first), an `Example` K = 1, ranked answers any K.
    """

    prompt: TokenIds
    completions: tuple[TokenIds, ...]
    row: Row

    def __post_init__(self) -> None:
        if len(self.prompt) == 0:
            raise ValueError(f"{self.row.source}: the rendered prompt has no tokens")
        if not self.completions or any(len(completion) == 0 for completion in self.completions):
            raise ValueError(f"{self.row.source}: a completion has no tokens to score")

    @property
    def num_completion_tokens(self) -> int:
        """Scored tokens, stop tokens included."""
        return sum(len(completion) for completion in self.completions)

    @property
    def longest(self) -> int:
        """Length in tokens of the longest prompt + completion."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)


@dataclass(frozen=True, slots=True)
class Dropped:
    """One row that was left out, and why, in a word that can be counted and a sentence that can be read.

    part: only a part of the row (a turn, an answer) was left out, and the rest of it was read. extra: what is known of
    a row that makes no pair, such as the `annotations` of a tie; no part of the identity.
    """

    source: Source
    reason: str
    detail: str
    part: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What one file (or several) gave: the rows that are whole, and each row that was left out.

    version: the hash of the dataset version that the rows are of; None for plain files.
    """

    name: str
    rows: tuple[Row, ...]
    dropped: tuple[Dropped, ...]
    format: str
    files: tuple[Path, ...] = ()
    version: str | None = None

    @property
    def hash(self) -> str:
        """sha256 over the sorted content hashes of the rows: independent of row order and of file format."""
        digest = hashlib.sha256()
        for row_id in sorted(row.id for row in self.rows):
            digest.update(row_id.encode())
        return digest.hexdigest()

    def dropped_counts(self) -> dict[str, int]:
        """How many rows were left out, by reason."""
        counts: dict[str, int] = {}
        for row in self.dropped:
            counts[row.reason] = counts.get(row.reason, 0) + 1
        return dict(sorted(counts.items()))
