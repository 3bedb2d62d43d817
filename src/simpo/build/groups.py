"""Which prompts stay together in one split."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from simpo.audit.prompts import Asked, Prompts

Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


class PromptIndex:
    """The different prompts that were seen, each with its key, and the groups of near duplicates among them.

    how: `near` joins what `simpo.audit.prompts.Prompts` finds nearly equal, and what is near to that; `exact` joins
    nothing, prompts equal but for case, white space and the form of characters being one prompt already.
    """

    def __init__(self, how: Literal["near", "exact"]) -> None:
        self._near = Prompts() if how == "near" else None
        self._keys: dict[int, None] = {}

    def see(self, prompt: Asked) -> int:
        """Take in one prompt and return its key."""
        key = prompt.key
        if self._near is None:
            self._keys[key] = None
        else:
            self._near.add(prompt)
        return key

    def groups(self) -> tuple[Keys, Ints]:
        """The keys of P prompts, and for each the number of its group."""
        if self._near is not None:
            verified, _ = self._near.near()
            return self._near.keys, verified.labels
        return np.fromiter(self._keys, np.uint64, len(self._keys)), np.arange(len(self._keys), dtype=np.int64)
