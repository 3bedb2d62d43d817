"""The pairs as the checks that compare rows keep them: hashes in columns, and the texts set aside in a file."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from simpo.audit.copies.minhash import I64, U64
from simpo.audit.copies.prompts import Prompts, asked, text_key
from simpo.audit.findings import MAX_EXAMPLES, Witness
from simpo.audit.spool import Spool
from simpo.audit.tally import prompt_text
from simpo.audit.texts.structure import normalised
from simpo.records import Pair, Source


@dataclass(frozen=True, slots=True)
class Columns:
    """N pairs in reading order. All are [N].

    id: `Pair.id`. prompt: a number of each distinct prompt after normalising, from 0. chosen, rejected: hashes of the
    completions after normalising.
    """

    id: U64
    prompt: I64
    chosen: U64
    rejected: U64

    def __len__(self) -> int:
        return len(self.id)

    @property
    def pair_key(self) -> U64:
        """[N] equal where pairs are the same after normalising."""
        return mixed(self.prompt.astype(np.uint64), self.chosen, self.rejected)

    def answers(self) -> tuple[I64, I64]:
        """[N] and [N] numbers of the chosen and the rejected answers: one for each distinct prompt and text."""
        prompt = self.prompt.astype(np.uint64)
        keys = np.concatenate([mixed(prompt, self.chosen), mixed(prompt, self.rejected)])
        numbers = np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return numbers[: len(self)], numbers[len(self) :]


def mixed(*columns: U64) -> U64:
    """[N] one hash of several numbers a row."""
    state = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        state = (state ^ column) * np.uint64(0xFF51AFD7ED558CCD)
        state ^= state >> np.uint64(32)
        state *= np.uint64(0xC4CEB9FE1A85EC53)
        state ^= state >> np.uint64(29)
    return state


class Compared:
    """Collects pairs: some 60 bytes of memory each, 400 a distinct prompt, and the texts in a temporary file."""

    def __init__(self) -> None:
        self.prompts = Prompts()
        self._columns = {name: array("Q") for name in ("id", "chosen", "rejected")}
        self._prompt, self._line, self._file = array("q"), array("q"), array("l")
        self._files: dict[str, int] = {}
        self._texts = Spool()

    def __len__(self) -> int:
        return len(self._prompt)

    def add(self, pair: Pair) -> None:
        """Take in the next pair."""
        self._prompt.append(self.prompts.add(asked(pair.prompt, pair.tools)))
        self._columns["id"].append(int(pair.id, 16))
        self._columns["chosen"].append(text_key(normalised(pair.chosen)))
        self._columns["rejected"].append(text_key(normalised(pair.rejected)))
        self._file.append(self._files.setdefault(pair.source.file, len(self._files)))
        self._line.append(pair.source.line)
        self._texts.append((prompt_text(pair.prompt), pair.chosen, pair.rejected))

    def columns(self) -> Columns:
        """What is known of all pairs so far."""
        hashes = {name: np.array(column, dtype=np.uint64) for name, column in self._columns.items()}
        return Columns(
            hashes["id"], np.array(self._prompt, dtype=np.int64), hashes["chosen"], hashes["rejected"]
        )

    def source(self, row: int) -> Source:
        """Where a pair stands."""
        return Source(list(self._files)[self._file[row]], self._line[row])

    def completions(self, row: int) -> tuple[str, str]:
        """The chosen and the rejected text of a pair, normalised."""
        _, chosen, rejected = self._texts[row]
        return normalised(chosen), normalised(rejected)

    def witness(self, row: int, detail: str, other: int | None = None) -> Witness:
        """A pair as an example, beside another one."""
        prompt, chosen, rejected = self._texts[row]
        beside = None if other is None else self.source(other)
        return Witness(self.source(row), detail, beside, prompt, chosen, rejected)

    def witnesses(self, rows: I64, others: I64, detail: str) -> tuple[Witness, ...]:
        """The first rows as examples, each beside the other one."""
        first = zip(rows[:MAX_EXAMPLES].tolist(), others[:MAX_EXAMPLES].tolist(), strict=True)
        return tuple(self.witness(row, detail, other) for row, other in first)
