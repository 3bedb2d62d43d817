"""The check that compares pairs with each other: copies, near copies, contradictions, circles, frequent prompts."""

from __future__ import annotations

from simpo.audit.copies.compared import Compared
from simpo.audit.copies.conflicts import conflicts
from simpo.audit.copies.duplicates import near_duplicates, near_prompts, repeated
from simpo.audit.copies.prompt_spread import prompt_spread
from simpo.audit.findings import Finding
from simpo.records import Pair


class Repeats:
    """Sees each pair once and keeps hashes of it; the texts wait in a temporary file as large as what was read.

    Memory: some 60 bytes a pair and 400 a distinct prompt. Nothing depends on the order of the pairs but which of
    several copies counts as the first.
    """

    def __init__(self) -> None:
        self._compared = Compared()

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        if number != len(self._compared):
            raise ValueError(f"pair {number} comes after {len(self._compared)} others")
        self._compared.add(pair)

    def findings(self) -> list[Finding]:
        """What was found."""
        compared = self._compared
        if not len(compared):
            return []
        columns = compared.columns()
        verified, coarse = compared.prompts.near()
        return [
            *repeated(compared, columns),
            *near_duplicates(compared, columns, coarse),
            *conflicts(compared, columns),
            *prompt_spread(compared, columns),
            *near_prompts(compared, columns, verified),
        ]
