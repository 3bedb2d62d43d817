"""Prompts that belong on one side of a split: the same, or nearly the same, under one id."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simpo.audit.minhash import I64
from simpo.audit.prompts import Prompts, asked
from simpo.records import Message


class PromptGroups:
    """Groups of prompts that are equal after normalising or nearly equal (see `Prompts`), closed under chains.

    `add` the prompt of each row, then ask for `ids`. A group's id is the smallest key of its prompts, so

    * rows in another order, or each row twice, give the same groups and the same ids;
    * a row that is added never takes a group apart, and moves no id of a group that it is not near to;
    * a new prompt that is near to a group may become the one that names it, and one that is near to two groups makes
      them one: then ids of old rows change. `known`, the ids of an earlier version by prompt key, prevents both: a
      known prompt keeps its id for good. A new prompt near to several known groups goes to the one with the smallest
      id (`bridged` counts such prompts: the groups they join stay apart, so that no old row moves).

    In a bucket of more than 17 prompts that are alike, only neighbours are compared; there, a row that is added may
    take a link away. Groups of that size are templates, and are linked many times over.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self.bridged = 0
        self._known = known or {}
        self._prompts = Prompts()
        self._of_row = array("q")

    def add(self, prompt: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take in the prompt of the next row."""
        self._of_row.append(self._prompts.add(asked(prompt, tools)))

    def keys(self) -> list[str]:
        """Of each row, the key of its prompt: 16 hexadecimal digits, equal where prompts are after normalising."""
        keys = [f"{key:016x}" for key in self._prompts.keys.tolist()]
        return [keys[number] for number in self._of_row]

    def ids(self) -> list[str]:
        """Of each row, the id of its group: 16 hexadecimal digits, or what `known` said."""
        keys = [f"{key:016x}" for key in self._prompts.keys.tolist()]
        labels = self._prompts.near()[0].labels
        new, known = _smallest(labels, keys), self._known_ids(labels, keys)
        of_prompt = [
            self._known.get(key) or known.get(label) or new[label]
            for key, label in zip(keys, labels.tolist(), strict=True)
        ]
        return [of_prompt[number] for number in self._of_row]

    def _known_ids(self, labels: I64, keys: Sequence[str]) -> dict[int, str]:
        """Of each group with known prompts, the smallest of their ids."""
        found: dict[int, set[str]] = {}
        for key, label in zip(keys, labels.tolist(), strict=True):
            if key in self._known:
                found.setdefault(label, set()).add(self._known[key])
        several = np.array([label for label, ids in found.items() if len(ids) > 1], dtype=np.int64)
        in_several = np.isin(labels, several)
        self.bridged = sum(
            key not in self._known for key, inside in zip(keys, in_several, strict=True) if inside
        )
        return {label: min(ids) for label, ids in found.items()}


def _smallest(labels: I64, keys: Sequence[str]) -> dict[int, str]:
    smallest: dict[int, str] = {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        smallest[label] = min(key, smallest.get(label, key))
    return smallest
