"""A judge that compares two replies: asked in both orders, because models favour a place; its answers are kept."""

from __future__ import annotations

import hashlib
import inspect
import json
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simpo.errors import RunFailed
from simpo.evaluate.judge import Judge
from simpo.records import Row
from simpo.runs.folder import storage_errors

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DECIDED = 0.05  # two answers that differ by no more than this have not changed sides


def compares_replies(judge: Judge) -> bool:
    """Whether a judge takes two replies: a function of (prompt, first, second, columns) instead of one of three."""
    parameters = inspect.signature(judge.function).parameters.values()
    needed = [p for p in parameters if p.kind in _POSITIONAL and p.default is inspect.Parameter.empty]
    return len(needed) == 4


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """How much a judge prefers the first of two replies, in [0, 1]: shown first, and shown second."""

    forward: float
    backward: float

    @property
    def outcome(self) -> float:
        """The mean of both orders: what place alone is worth cancels."""
        return (self.forward + self.backward) / 2

    @property
    def agrees(self) -> bool:
        """Whether both orders favour one reply (or neither does)."""
        return (self.forward - 0.5) * (self.backward - 0.5) >= 0 or abs(
            self.forward - self.backward
        ) <= _DECIDED


class PairJudge:
    """A judge of two replies with a memory: a file of one line an answer, so that a question is asked once ever.

    The function gets the prompt, the reply shown first, the one shown second and the row's columns; it returns how
    much it prefers the first, a number in [0, 1], or `{"first": number}`.
    """

    def __init__(self, judge: Judge, memory: Path) -> None:
        self.judge, self.memory = judge, memory
        self._known = _read_memory(memory)

    def __call__(self, row: Row, first: str, second: str) -> PairVerdict:
        """Ask in both orders. Equal replies are a tie and not asked about. Raises RunFailed as `Judge` does."""
        if first == second:
            return PairVerdict(0.5, 0.5)
        return PairVerdict(self._ask(row, first, second), 1 - self._ask(row, second, first))

    def _ask(self, row: Row, first: str, second: str) -> float:
        turns = [message.as_dict() for message in row.prompt]
        question = json.dumps([self.judge.name, self.judge.hash, turns, first, second], ensure_ascii=False)
        key = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
        if key not in self._known:
            self._known[key] = self._answer(row, turns, first, second)
            with storage_errors(self.memory):
                self.memory.parent.mkdir(parents=True, exist_ok=True)
                with self.memory.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "first": self._known[key]}) + "\n")
        return self._known[key]

    def _answer(self, row: Row, turns: list[dict[str, str]], first: str, second: str) -> float:
        columns: dict[str, Any] = {**row.extra, "category": row.category}
        function: Any = self.judge.function
        try:
            answer = function(turns, first, second, columns)
        except Exception as error:  # the user's own function, perhaps a remote model's
            raise RunFailed(
                f"the judge {self.judge.name} raised {type(error).__name__}: {error}", where=str(row.source)
            ) from error
        value = answer.get("first") if isinstance(answer, Mapping) else answer
        if not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
            raise RunFailed(
                f"the judge {self.judge.name} returned {answer!r}",
                where=str(row.source),
                fix='return how much it prefers the first reply, a number from 0 to 1, or {"first": number}',
            )
        return float(value)


def _read_memory(path: Path) -> dict[str, float]:
    known: dict[str, float] = {}
    if not path.exists():
        return known
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            known[str(record["key"])] = float(record["first"])
        except (ValueError, KeyError, TypeError):  # a line that a kill tore
            continue
    return known
