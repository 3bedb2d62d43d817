"""The check of labels: what of them length, style and words foretell, and which ones stand against all that."""

from __future__ import annotations

from simpo.audit.findings import Finding
from simpo.audit.labels.flips import flip_findings
from simpo.audit.labels.judged import judge
from simpo.audit.labels.length_bias import Lengths, length_findings
from simpo.audit.labels.model_scores import PairScorer
from simpo.audit.labels.sample import MAX_PAIRS, PairSample
from simpo.audit.labels.style import style_findings
from simpo.records import Pair

MAX_SCORED = 5_000  # pairs that a model scores


class Labels:
    """Length bias over all pairs; style, words and suspected labels over at most `max_pairs` of them.

    model: scores pairs by a language model (see `simpo.audit.labels.model_scores`); then at most 5,000 pairs are
    looked at unless `max_pairs` says otherwise. Of larger files a sample by row number is taken, and the findings
    say so.
    """

    def __init__(self, *, max_pairs: int | None = None, model: PairScorer | None = None) -> None:
        self._lengths = Lengths()
        self._sample = PairSample(max_pairs or (MAX_PAIRS if model is None else MAX_SCORED))
        self._model = model

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self._lengths.see(pair)
        self._sample.see(number, pair)

    def findings(self) -> list[Finding]:
        """Length, style, suspected labels. Takes its time: here the models are fitted."""
        sample = self._sample
        found = length_findings(self._lengths.table())
        if not sample.kept:
            return found
        judged = judge(sample, self._model)
        return [*found, *style_findings(judged, sample), *flip_findings(judged, sample)]
