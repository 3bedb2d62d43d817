"""Texts with their signatures, and how much alike those of two prompts are."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from simpo.audit.copies.minhash import (
    I64,
    PERMUTATIONS,
    U8,
    U32,
    U64,
    band_keys,
    likely,
    overlap,
    shingle_set,
    signatures,
)
from simpo.audit.spool import Spool

Mask = npt.NDArray[np.bool_]

_WAITING = 1 << 18  # characters that wait to be signed
_KEPT_SETS = 4096


def text_key(*texts: str) -> int:
    """A hash of some texts: 64 bits, the same on any machine."""
    joined = "\x1d".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big")


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

    def alike(self, one: int, other: int, without: U32 | None) -> float:
        """Jaccard's index of the texts of two prompts `without` some shingles; 1.0 where one has none."""
        left, right = self._number_of[one], self._number_of[other]
        if left == right or min(left, right) < 0:
            return 1.0
        return overlap(_left(self._set(left), without), _left(self._set(right), without))

    def alike_text(self, number: int, text: str, without: U32 | None) -> float:
        """As `alike`, of the text of a prompt and another text."""
        own = self._number_of[number]
        if own < 0:
            return 1.0
        return overlap(_left(self._set(own), without), _left(shingle_set(text), without))

    def common(self, prompts: Iterable[int], share: float) -> U32:
        """The shingles, sorted, that stand in at least this share of the prompts."""
        sets = [
            self._set(number) for number in (self._number_of[prompt] for prompt in prompts) if number >= 0
        ]
        if not sets:
            return np.empty(0, np.uint32)
        found, counts = np.unique(np.concatenate(sets), return_counts=True)
        return np.asarray(found[counts >= max(2.0, share * len(sets))], dtype=np.uint32)

    def texts(self, prompts: Iterable[int]) -> Iterator[str]:
        """The texts of some prompts that have one."""
        for prompt in prompts:
            yield self.signed.texts[self._number_of[prompt]][0]

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


def _left(shingles: U32, without: U32 | None) -> U32:
    if without is None or not len(without):
        return shingles
    return np.asarray(shingles[~np.isin(shingles, without)], dtype=np.uint32)
