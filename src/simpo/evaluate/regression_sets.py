"""Files of questions that a model answered before and should still answer: recognised by their columns and read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from simpo.data.files import read_file
from simpo.data.reasons import BadRow, shown
from simpo.errors import DataError
from simpo.records import Message, Source

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """One item: what is asked, what is expected of the reply (by the kind's rules), and the options of a choice."""

    id: str
    prompt: tuple[Message, ...]
    source: Source
    expected: Mapping[str, Any]
    options: tuple[str, ...] = ()
    category: str | None = None


@dataclass(frozen=True, slots=True)
class SetKind:
    """How one kind of set is told, read and counted. metric: what its figure is; all are shares, higher is better.

    columns: each must be there, under one of its names. judged: whether replies are written and looked at, rather than
    options scored.
    """

    name: str
    metric: str
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any], tuple[str, ...]]]
    judged: bool = True

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has every column of this kind."""
        return all(any(row.get(name) is not None for name in names) for names in self.columns)


@dataclass(frozen=True, slots=True)
class RegressionSet:
    """A named set: its kind, its questions, and the hash of what they ask and expect."""

    name: str
    file: str
    kind: SetKind
    questions: tuple[Question, ...] = field(repr=False)

    @property
    def hash(self) -> str:
        """sha256 over the questions, so that two measurements can be told to be of the same ones."""
        parts = [[[m.content for m in q.prompt], dict(q.expected), list(q.options)] for q in self.questions]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_sets(
    files: Mapping[str, str] | Sequence[str] | None, limit: int | None = None
) -> list[RegressionSet]:
    """The sets that a recipe names, `{name: file}` or a list of files, called after their names without suffixes.

    limit: questions of each set, the first ones. Raises DataError naming file and line for what cannot be read.
    """
    if files is None:
        return []
    named = files if isinstance(files, Mapping) else {Path(file).name.split(".")[0]: file for file in files}
    if len(named) < len(files):
        raise DataError(
            "two regression sets have one name", fix="name them: evaluate.regression: {name: file}"
        )
    return [read_set(name, file, limit) for name, file in named.items()]


def read_set(name: str, file: str, limit: int | None = None) -> RegressionSet:
    """One file of questions; its first row says of what kind all are. Raises DataError as `read_sets`."""
    kind: SetKind | None = None
    questions: list[Question] = []
    for place, row in read_file(Path(file)):
        where = f"{file}:{place}"
        if isinstance(row, BadRow):
            raise DataError(row.detail, where=where)
        kind = kind or recognise(row, where)
        questions.append(_question(kind, row, Source(file, place)))
        if limit is not None and len(questions) == limit:
            break
    if kind is None:
        raise DataError("there are no questions", where=file)
    return RegressionSet(name, file, kind, tuple(questions))


def recognise(row: Mapping[str, Any], where: str) -> SetKind:
    """The kind of set whose columns a row has; DataError listing the columns and the kinds where there is none."""
    for kind in KINDS.values():
        if kind.fits(row):
            return kind
    known = "; ".join(
        f"{kind.name}: {', '.join('/'.join(names) for names in kind.columns)}" for kind in KINDS.values()
    )
    raise DataError(
        f"columns {', '.join(row)} are those of no known kind of regression set",
        where=where,
        fix=f"known: {known}",
    )


def _question(kind: SetKind, row: Mapping[str, Any], source: Source) -> Question:
    if not kind.fits(row):
        raise DataError(f"is no row of kind {kind.name}, as the first one is", where=str(source))
    try:
        asked, expected, options = kind.read(row)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"cannot be read as {kind.name}: {error}", where=str(source)) from None
    if not asked.strip():
        raise DataError("the question is empty", where=str(source))
    category = row.get("category") or row.get("task") or row.get("type")
    return Question(
        str(row.get("id", source.line)),
        (Message("user", asked),),
        source,
        expected,
        options,
        None if category is None else str(category),
    )


def _asked(row: Mapping[str, Any]) -> str:
    value = next(row[name] for name in ("prompt", "question") if row.get(name) is not None)
    if not isinstance(value, str):
        raise ValueError(f"the question is not text: {shown(value)}")
    context = row.get("context")
    return f"{context}\n\n{value}" if isinstance(context, str) and context else value


def _read_instructions(row: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    kinds, arguments = row["instruction_id_list"], row["kwargs"]
    if not isinstance(kinds, list) or not isinstance(arguments, list) or len(kinds) != len(arguments):
        raise ValueError("instruction_id_list and kwargs are not lists of one length")
    given = [{k: v for k, v in (each or {}).items() if v is not None} for each in arguments]
    return (
        _asked(row),
        {"instructions": [[str(kind), each] for kind, each in zip(kinds, given, strict=True)]},
        (),
    )


def _read_choice(row: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    given = row.get("options") if row.get("options") is not None else row["choices"]
    labels: list[str] = list(LETTERS)
    if isinstance(given, Mapping) and "text" in given:  # as ARC is published
        labels, given = [str(label) for label in given.get("label", labels)], given["text"]
    elif isinstance(given, Mapping):
        labels, given = [str(label) for label in given], list(given.values())
    if (
        not isinstance(given, list)
        or len(given) < 2
        or not all(isinstance(text, str) and text for text in given)
    ):
        raise ValueError(f"the options are not two or more texts: {shown(given)}")
    if len(set(given)) < len(given):
        raise ValueError("two options are equal")
    answer = next(row[name] for name in ("answer", "answerKey", "label") if row.get(name) is not None)
    return _asked(row), {"answer": _place(answer, given, labels)}, tuple(given)


def _place(answer: object, options: Sequence[str], labels: Sequence[str]) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    text = str(answer).strip()
    if text in options:
        return options.index(text)
    if text in labels[: len(options)]:
        return labels.index(text)
    if text.isdigit() and int(text) < len(options):
        return int(text)
    raise ValueError(f"the answer {shown(answer)} is none of the {len(options)} options")


def _read_refusal(row: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    said = str(row["expect"] if row.get("expect") is not None else row["label"]).casefold()
    refuse = {
        "refuse": True,
        "refusal": True,
        "unsafe": True,
        "comply": False,
        "answer": False,
        "safe": False,
    }
    if said not in refuse:
        raise ValueError(f"expected behaviour {said!r} is neither refuse/unsafe nor comply/safe")
    return _asked(row), {"refuse": refuse[said]}, ()


def _read_exact(row: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    answer = str(row["answer"])
    expected = answer.rpartition("####")[2].strip()  # GSM8K as published keeps the solution before it
    if not expected:
        raise ValueError("the answer is empty")
    return _asked(row), {"answer": expected}, ()


_ASK = ("prompt", "question")

# In this order: the first kind whose columns are all there.
KINDS: Mapping[str, SetKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SetKind(
                "instructions",
                "prompts with every checked instruction followed",
                (_ASK, ("instruction_id_list",), ("kwargs",)),
                _read_instructions,
            ),
            SetKind(
                "multiple_choice",
                "right option has the highest log-probability per byte",
                (_ASK, ("options", "choices"), ("answer", "answerKey", "label")),
                _read_choice,
                judged=False,
            ),
            SetKind(
                "refusal", "harmful refused and harmless answered", (_ASK, ("expect", "label")), _read_refusal
            ),
            SetKind(
                "exact_match", "final answer equal to the expected one", (_ASK, ("answer",)), _read_exact
            ),
        )
    }
)
