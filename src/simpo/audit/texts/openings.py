"""The openings that many completions share, on either side."""

from __future__ import annotations

from collections import Counter

from simpo.audit.findings import Finding
from simpo.audit.kinds import KINDS, percent
from simpo.audit.texts.view import View
from simpo.core.intervals import wilson
from simpo.data.reasons import shown
from simpo.records import Pair

WORDS = 4
MIN_SHARE, MIN_COUNT = 0.02, 5  # of the completions of a side
MAX_KEPT = (
    200_000  # openings counted at once; beyond it the rarer half is forgotten, which no common one is part of
)
MAX_LISTED = 20
_PUNCTUATION = '.,:;!?"()*#_-'


def opening(text: str) -> str:
    """The first four words of a text without case and punctuation."""
    words = text[:80].casefold().split(None, WORDS)[:WORDS]
    return " ".join(word.strip(_PUNCTUATION) for word in words)


class Openings:
    """How often completions of the two sides (chosen, rejected) begin with the same words; memory is bounded."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self.sides: list[Counter[str]] = [Counter(), Counter()]
        self._max_kept = max_kept

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        for index, text in enumerate((pair.chosen, pair.rejected)):
            side = self.sides[index]
            side[opening(text)] += 1
            if len(side) > self._max_kept:
                self.sides[index] = Counter(dict(side.most_common(self._max_kept // 2)))

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        chosen, rejected = self.sides
        least = max(MIN_COUNT, MIN_SHARE * of)
        common = {
            words for side in self.sides for words, count in side.most_common(200) if words and count >= least
        }
        if not common:
            return []
        ranked = sorted(common, key=lambda words: (-max(chosen[words], rejected[words]), words))
        first, many, about = ranked[0], len(ranked) > 1, KINDS["common_openings"]
        title = (
            f"{len(ranked)} opening{'s' * many} begin{'s' * (not many)} at least {percent(MIN_SHARE)} of the "
            f"completions of a side; the commonest, {shown(first, 50)}, {percent(chosen[first] / of)} of the chosen "
            f"and {percent(rejected[first] / of)} of the rejected."
        )
        figures = {
            "openings": [
                {
                    "opening": words,
                    "chosen": chosen[words],
                    "rejected": rejected[words],
                    "chosen_share": wilson(chosen[words], chosen[words] + rejected[words]).to_json(),
                }
                for words in ranked[:MAX_LISTED]
            ]
        }
        count = sum(side[words] for side in self.sides for words in common)
        return [
            Finding(
                "common_openings",
                about.severity,
                title,
                about.action,
                count,
                2 * of,
                "completions",
                figures=figures,
            )
        ]
