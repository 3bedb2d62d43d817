"""Scores that the rows carry: pairs without a difference, and pairs whose scores say the opposite of their label."""

from __future__ import annotations

from array import array

import numpy as np

from simpo.audit.findings import Finding
from simpo.audit.kinds import SCORES, found
from simpo.audit.tally import Tally
from simpo.audit.texts.view import View
from simpo.data.pairing import stated_margin
from simpo.records import Pair

MAX_AGAINST = 0.5  # share of the scored pairs from which lower scores are rather the better ones


class Scores:
    """The differences of the scores that rows give both completions, or of their `margin`."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally() for kind in SCORES}
        self._margins = array("d")

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        margin = stated_margin(pair.extra) if pair.extra else None
        if margin is None:
            return
        self._margins.append(margin)
        self._tallies["scored_pairs"].add(number, pair, f"chosen is better by {margin:g}")
        if margin == 0:
            self._tallies["equal_scores"].add(number, pair, "both completions have the same score")
        elif margin < 0:
            self._tallies["score_against_label"].add(number, pair, f"rejected is better by {-margin:g}")

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        if not self._margins:
            return []
        margins = np.array(self._margins)
        low, median, high = np.quantile(margins, (0.1, 0.5, 0.9)).tolist()
        figures = {"margin": {"p10": low, "median": median, "p90": high}}
        turned = len(self._tallies["score_against_label"]) > MAX_AGAINST * len(margins)
        return [
            *found("equal_scores", self._tallies["equal_scores"], of),
            *found(
                "score_against_label",
                self._tallies["score_against_label"],
                of,
                severity="note" if turned else None,
            ),
            *found("scored_pairs", self._tallies["scored_pairs"], of, figures=figures),
        ]
