"""Prompts to look others up in: is this one among them, or nearly?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simpo.audit.copies.minhash import BANDS, I64, LIKELY, NEAR, U64, band_keys, signatures, similar
from simpo.audit.copies.prompts import Asked, Prompts

Match = tuple[int, float]  # the number of a prompt, and how alike it is: from NEAR to 1.0

MOST = 64  # prompts of one bucket that a prompt is compared with


class PromptIndex:
    """The distinct prompts of some files: first `add` them, then ask (`match`). Some 800 bytes of memory a prompt."""

    def __init__(self) -> None:
        self._prompts = Prompts()
        self._numbers: dict[int, int] = {}
        self._bands: list[tuple[U64, I64]] = []

    def __len__(self) -> int:
        return len(self._prompts)

    def add(self, prompt: Asked) -> int:
        """The number of a prompt; one that came before has the number it had."""
        number = self._prompts.add(prompt)
        self._numbers[prompt.key] = number
        self._bands.clear()
        return number

    def match(self, prompts: Sequence[Asked]) -> list[list[Match]]:
        """Of each prompt, the numbers of those that it is the same as or nearly, the most alike first.

        The same after normalising is always found; how sure a near one is to be found, see `Prompts.near`.
        """
        found: list[dict[int, float]] = []
        for prompt in prompts:
            number = self._numbers.get(prompt.key)
            found.append({} if number is None else {number: 1.0})
        if prompts and len(self):
            for at, number in self._likely([prompt.user for prompt in prompts]):
                if number not in found[at]:
                    alike = self._prompts.alike_to(number, prompts[at])
                    if alike >= NEAR:
                        found[at][number] = alike
        return [sorted(matches.items(), key=lambda match: (-match[1], match[0])) for matches in found]

    def _likely(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """Which text probably is nearly what the user says in which prompt."""
        own, signed = self._prompts.user_signatures(), signatures(texts)
        if not self._bands:
            self._prompts.near()  # finds the templates among them
            for band in range(BANDS):
                keys = band_keys(own, band)
                order = np.argsort(keys, kind="stable")
                self._bands.append((keys[order], order.astype(np.int64)))
        pairs = []
        for band, (keys, order) in enumerate(self._bands):
            asked = band_keys(signed, band)
            start, end = np.searchsorted(keys, asked, "left"), np.searchsorted(keys, asked, "right")
            counts = np.minimum(end - start, MOST)
            places = np.repeat(start - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            pairs.append(np.stack([np.repeat(np.arange(len(texts)), counts), order[places]]))
        distinct = np.unique(np.concatenate(pairs, axis=1), axis=1)
        close = similar(signed[distinct[0]], own[distinct[1]]) >= LIKELY
        return list(zip(distinct[0][close].tolist(), distinct[1][close].tolist(), strict=True))
