"""Files that training data must not overlap with: held-out pairs, and benchmarks of any shape with their questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simpo.audit.copies.prompts import Asked, asked
from simpo.audit.texts.structure import normalised
from simpo.data.files import read_file
from simpo.data.locate import hub_rows, locate
from simpo.data.read import Spec, iter_rows
from simpo.data.reasons import BadRow
from simpo.errors import DataError
from simpo.records import Pair, Source

MIN_QUESTION = 12  # characters; "Why?" in two files is no leak
QUESTIONS = (
    "question",
    "prompt",
    "instruction",
    "problem",
    "query",
    "goal",
    "turns",
    "messages",
    "conversations",
    "input",
    "text",
    "sentence",
    "content",
)
CONTEXTS = ("context", "passage", "article", "document", "input")
_USERS = ("user", "human", "prompter")


@dataclass(frozen=True, slots=True)
class Reference:
    """One thing that should not be trained on: where it stands, what it asks, and the answers beside it."""

    source: Source
    asked: Asked
    answers: tuple[str, ...] = ()


def held_out_references(spec: Spec) -> Iterator[Reference]:
    """The prompts and completions of files of pairs. Raises `DataError` as reading does, and where no pair is left."""
    empty = True
    for row in iter_rows(spec):
        if isinstance(row, Pair):
            empty = False
            yield Reference(row.source, asked(row.prompt, row.tools), (row.chosen, row.rejected))
    if empty:
        raise DataError("no pair can be used", where=str(spec))


def benchmark_references(spec: Spec) -> Iterator[Reference]:
    """The questions of benchmark files: rows with a column of QUESTIONS or, without one, their longest text; or lines.

    A context beside the question (CONTEXTS) belongs to it; of a conversation only what the user says counts. Questions
    of fewer than MIN_QUESTION characters are passed over. Raises `DataError` for a file that cannot be read or holds no
    question.
    """
    specs = [str(one) for one in ([spec] if isinstance(spec, (str, Path)) else spec)]
    for source in locate(specs):
        empty = True
        for number, text in _questions(source):
            question = normalised(text)
            if len(question) >= MIN_QUESTION:
                empty = False
                yield Reference(Source(str(source), number), Asked(question))
        if empty:
            raise DataError(
                f"no question of {MIN_QUESTION} characters or more is in it",
                where=str(source),
                fix=f"name the column of the questions {QUESTIONS[0]!r}",
            )


def _questions(source: Path | str) -> Iterator[tuple[int, str]]:
    if isinstance(source, Path) and source.suffix == ".txt":
        yield from _lines(source)
        return
    for number, row in read_file(source) if isinstance(source, Path) else hub_rows(source):
        if not isinstance(row, BadRow):
            for text in _question_of(row):
                yield number, text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _question_of(row: Mapping[str, Any]) -> list[str]:
    """The questions that a row asks: one, or the user's turns."""
    by_name = {name.lower(): value for name, value in row.items()}
    for column in QUESTIONS:
        texts = _texts(by_name.get(column))
        if texts:
            context = next(
                (
                    by_name[name]
                    for name in CONTEXTS
                    if name != column and isinstance(by_name.get(name), str) and by_name[name]
                ),
                "",
            )
            if len(texts) > 1 or not context:
                return texts
            return [f"{texts[0]}\n{context}" if column == "instruction" else f"{context}\n{texts[0]}"]
    return [max((value for value in row.values() if isinstance(value, str)), key=len, default="")]


def _texts(value: object) -> list[str]:
    """The texts of a column: of a conversation what the user says, in one."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if not isinstance(value, Sequence):
        return []
    if all(isinstance(item, str) for item in value):
        return [item for item in value if item.strip()]
    said = [
        item.get("content", item.get("value"))
        for item in value
        if isinstance(item, Mapping) and item.get("role", item.get("from")) in _USERS
    ]
    whole = "\n".join(text for text in said if isinstance(text, str))
    return [whole] if whole.strip() else []
