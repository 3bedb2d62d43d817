"""What a prompt asks, in a form that can be compared, and which prompts ask nearly the same."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.groups import Groups
from simpo.audit.minhash import (
    I64,
    NEAR,
    PERMUTATIONS,
    U8,
    U32,
    U64,
    band_keys,
    candidates,
    likely,
    overlap,
    shingle_set,
    signatures,
)
from simpo.audit.spool import Spool
from simpo.audit.structure import normalised
from simpo.records import Message

Mask = npt.NDArray[np.bool_]

_WAITING = 1 << 18  # characters that wait to be signed
_KEPT_SETS = 4096
_CHECKED_AT_ONCE = 256


def text_key(*texts: str) -> int:
    """A hash of some texts: 64 bits, the same on any machine."""
    joined = "\x1d".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, normalised, in parts that are compared apart, so that what is common to all prompts decides nothing.

    user: what the user says. system: what the system turns and the tools say, "" without any. dialogue: all turns but
    the system's with their roles, "" where there is only one turn of the user.
    """

    user: str
    system: str = ""
    dialogue: str = ""

    @property
    def key(self) -> int:
        """Equal where the prompts are the same but for case, white space and the form of characters."""
        return text_key(self.user, self.system, self.dialogue)


def asked(prompt: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Asked:
    """What a prompt asks."""
    system = [normalised(turn.content) for turn in prompt if turn.role == "system"]
    if tools:
        system.append(json.dumps(tools, ensure_ascii=False, sort_keys=True))
    turns = [turn for turn in prompt if turn.role != "system"]
    user = "\n".join(normalised(turn.content) for turn in turns if turn.role == "user")
    alone = len(turns) == 1 and turns[0].role == "user" and not turns[0].extra
    return Asked(user, "\n".join(system), "" if alone else "\n".join(map(_turn_text, turns)))


def _turn_text(turn: Message) -> str:
    extra = json.dumps(turn.extra, ensure_ascii=False, sort_keys=True) if turn.extra else ""
    return f"{turn.role}: {normalised(turn.content)}{extra}"


class Signed:
    """Distinct texts, numbered as they come, with their signatures. Some 300 bytes of memory a text."""

    def __init__(self) -> None:
        self.keys = array("Q")
        self.texts = Spool()
        self._numbers: dict[int, int] = {}
        self._signatures = bytearray()
        self._waiting: list[str] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: int, text: str) -> int:
        """The number of the text with this key; a new one is signed and set aside."""
        number = self._numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
            self.texts.append([text])
            self._waiting.append(text)
            self._size += len(text)
            if self._size > _WAITING:
                self._sign()
        return number

    def signatures(self) -> U8:
        """[N, PERMUTATIONS] of all so far."""
        self._sign()
        return np.frombuffer(self._signatures, np.uint8).reshape(-1, PERMUTATIONS)

    def _sign(self) -> None:
        if self._waiting:
            self._signatures += signatures(self._waiting).tobytes()
            self._waiting.clear()
            self._size = 0


class Part:
    """One part of many prompts: which text each has, or none, and how much alike those of two prompts are."""

    def __init__(self) -> None:
        self.signed = Signed()
        self._number_of = array("q")  # of each prompt; -1: none
        self._sets: dict[int, U32] = {}

    def __len__(self) -> int:
        return len(self._number_of)

    def add(self, prompt_key: int, text: str) -> int:
        """The number of the prompt with this key; a new one has this text, which may be empty."""
        number = self.signed.add(prompt_key, text)
        if number == len(self):
            self._number_of.append(number)
        return number

    def append(self, text: str) -> None:
        """Note the text of the next prompt, "" for none. The same text of several prompts is kept once."""
        self._number_of.append(self.signed.add(text_key(text), text) if text else -1)

    @property
    def numbers(self) -> I64:
        """[P] the number of each prompt's text in `signed`; -1 where it has none."""
        return np.frombuffer(self._number_of, np.int64)

    def likely(self, one: I64, other: I64) -> Mask:
        """[N] whether the texts of prompts `one` and `other` are probably nearly equal; True where one has none."""
        left, right = self.numbers[one], self.numbers[other]
        fits = np.asarray((left < 0) | (right < 0) | (left == right))
        ask = np.flatnonzero(~fits)
        if len(ask):
            fits[ask] = likely(self.signed.signatures(), left[ask], right[ask])
        return fits

    def alike(self, one: int, other: int) -> float:
        """Jaccard's index of the texts of two prompts; 1.0 where one has none."""
        left, right = self._number_of[one], self._number_of[other]
        return 1.0 if left == right or min(left, right) < 0 else overlap(self._set(left), self._set(right))

    def alike_text(self, number: int, text: str) -> float:
        """Jaccard's index of the text of a prompt and another text; 1.0 where the prompt has none."""
        own = self._number_of[number]
        return overlap(self._set(own), shingle_set(text)) if own >= 0 else 1.0

    def sort_key(self) -> U64:
        """[P] a number of each prompt that is the more often equal the more alike the texts are."""
        if not len(self.signed):
            return np.zeros(len(self), np.uint64)
        return np.where(self.numbers < 0, np.uint64(0), band_keys(self.signed.signatures(), 0)[self.numbers])

    def _set(self, number: int) -> U32:
        if number not in self._sets:
            if len(self._sets) >= _KEPT_SETS:
                self._sets.clear()
            self._sets[number] = shingle_set(self.signed.texts[number][0])
        return self._sets[number]


class Prompts:
    """Distinct prompts, numbered as they come, and which of them are nearly equal.

    Two prompts are nearly equal where each of their parts (what the user says, what the system says, the dialogue) has
    a Jaccard index of NEAR or more; a part that one of them lacks is not compared. Some 400 bytes of memory a prompt.
    """

    def __init__(self) -> None:
        self._user, self._system, self._dialogue = Part(), Part(), Part()

    def __len__(self) -> int:
        return len(self._user)

    @property
    def keys(self) -> U64:
        """[P] a hash of each distinct prompt."""
        return np.array(self._user.signed.keys, dtype=np.uint64)

    def add(self, prompt: Asked) -> int:
        """The number of a prompt, from 0; one that came before has the number it had."""
        number = self._user.add(prompt.key, prompt.user)
        if number == len(self._system):
            self._system.append(prompt.system)
            self._dialogue.append(prompt.dialogue)
        return number

    def alike(self, one: int, other: int) -> float:
        """The smallest Jaccard index of the parts of two prompts, by their numbers."""
        return min(part.alike(one, other) for part in (self._user, self._system, self._dialogue))

    def alike_to(self, number: int, other: Asked) -> float:
        """As `alike`, with a prompt that is none of these."""
        alike = self._user.alike_text(number, other.user)
        for part, text in ((self._system, other.system), (self._dialogue, other.dialogue)):
            if text:
                alike = min(alike, part.alike_text(number, text))
        return alike

    def user_signatures(self) -> U8:
        """[P, PERMUTATIONS] of what the user says in each."""
        return self._user.signed.signatures()

    def near(self) -> tuple[Groups, Groups]:
        """The prompts joined where they are nearly equal, and joined where that is likely by their signatures alone.

        The first is exact in what it joins: each link was verified on the texts. It may miss a link: of two prompts
        with an index of 0.7 in one case of 50, of 0.75 in one of 500. Neither depends on the order of the prompts, and
        a prompt that comes later takes no group apart, but may make two of them one. (In a bucket of more than
        WINDOW + 1 prompts only neighbours are compared, and there it may; such groups are templates.)
        """
        verified, coarse = Groups(len(self)), Groups(len(self))
        if len(self) < 2:
            return verified, coarse
        refused: set[tuple[int, int]] = set()
        tie_break = [self._system.sort_key(), self._dialogue.sort_key(), self.keys]
        for one, other in candidates(self.user_signatures(), tie_break):
            fits = self._system.likely(one, other) & self._dialogue.likely(one, other)
            one, other = one[fits], other[fits]
            coarse.join(one, other)
            for start in range(0, len(one), _CHECKED_AT_ONCE):
                part = slice(start, start + _CHECKED_AT_ONCE)
                self._verify(one[part], other[part], verified, refused)
        return verified, coarse

    def _verify(self, one: I64, other: I64, groups: Groups, refused: set[tuple[int, int]]) -> None:
        apart = groups.apart(one, other)
        links = []
        for left, right in zip(one[apart].tolist(), other[apart].tolist(), strict=True):
            pair = (min(left, right), max(left, right))
            if pair in refused:
                continue
            if self.alike(left, right) >= NEAR:
                links.append(pair)
            else:
                refused.add(pair)
        if links:
            joined = np.array(links, dtype=np.int64)
            groups.join(joined[:, 0], joined[:, 1])
