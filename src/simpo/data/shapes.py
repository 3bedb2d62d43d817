"""What a format finds in a row: a pair or an example, or answers whose order says which of them make pairs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simpo.data.reasons import BadRow
from simpo.data.turns import Turns

Kind = Literal["pairs", "examples"]
Pairing = Literal["best_worst", "all", "adjacent"]
RawRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """One record: a prompt and its completions, (chosen, rejected) or the one to imitate.

    `extra` is what the format found out about this record; it travels with the row's other columns, over them.
    """

    prompt: Turns
    completions: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One of several answers to a prompt.

    where: its place in the row, for errors (`completions[2]`). score: higher is better; None where only opinions
    compare the answers. extra: what is known of it (rank, model ...); in a pair `x` becomes `x_chosen`, `x_rejected`.
    """

    text: str
    where: str
    score: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opinion:
    """How one annotator sees the answers: a score for each, in their order; equal scores are a tie.

    ordered: whether the annotator saw the answers in the order of the row.
    """

    annotator: str
    scores: tuple[float, ...]
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Ranked:
    """A prompt with two or more answers, to be paired by `simpo.data.pairing`.

    key: rows of one file with the same key are one item, of which each row brings an answer (unpaired ratings) or an
    opinion; None where the row is the whole item. rated: the answers are good (score 1) or bad (0) and nothing else,
    so that each good one is paired with each bad one whatever pairing the user chose.
    """

    prompt: Turns
    answers: tuple[Answer, ...]
    opinions: tuple[Opinion, ...] = ()
    key: Hashable | None = None
    rated: bool = False


Found = Parts | Ranked | BadRow


@dataclass(frozen=True, slots=True)
class Format:
    """One way in which files hold rows.

    `matches(row)` looks at keys and types alone. `read(row)` gives a `Parts` or `Ranked` for each record of the row,
    in order, and a `BadRow` in the place of one that cannot be used; it raises `BadRow` where that is the whole row.
    `columns` are the columns it takes; all others travel as `extra`. `also` are other names to ask for it by.
    """

    name: str
    looks: str
    columns: frozenset[str]
    matches: Callable[[RawRow], bool]
    read: Callable[[RawRow], Iterable[Found]]
    also: tuple[str, ...] = ()


def pair(prompt: Turns, chosen: str, rejected: str) -> list[Found]:
    """A pair whose texts are whole, or the reason why not."""
    check_prompt(prompt)
    for key, value in (("chosen", chosen), ("rejected", rejected)):
        if not value.strip():
            raise BadRow(f"empty_{key}", f'"{key}" is empty{f": {value!r}" if value else ""}')
    if chosen == rejected:
        raise BadRow("identical", '"chosen" and "rejected" are equal')
    return [Parts(prompt, (chosen, rejected))]


def example(prompt: Turns, completion: str, where: str = '"completion"') -> Parts:
    """An example whose texts are whole, or the reason why not."""
    check_prompt(prompt)
    if not completion.strip():
        raise BadRow("empty_completion", f"{where} is empty")
    return Parts(prompt, (completion,))


def check_prompt(prompt: Turns) -> None:
    """Raise `BadRow` for a prompt that asks nothing."""
    if not prompt:
        raise BadRow("empty_prompt", "there is no turn before the reply")
    last = prompt[-1]
    if last.role == "assistant":
        raise BadRow("prompt_ends_in_assistant", "the prompt ends in an assistant turn")
    # A tool may answer nothing; a user or a system turn that says nothing asks nothing.
    if last.role != "tool" and not last.content.strip():
        raise BadRow("empty_prompt", f"the last turn of the prompt (role {last.role}) is empty")


def are(row: RawRow, types: type | tuple[type, ...], *keys: str) -> bool:
    """Whether all these columns are there and of these types."""
    return all(isinstance(row.get(key), types) for key in keys)


def empty(row: RawRow, *keys: str) -> bool:
    """Whether these columns are missing, null or (in CSV) empty text."""
    return all(row.get(key) is None or row.get(key) == "" for key in keys)
