"""What cheap features, and a language model if one is asked, say of the labels of a sample of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simpo.audit.labels.crossfit import PairFeatures, extract, folds_of, scores_of_marks, scores_of_texts
from simpo.audit.labels.model_scores import PairScorer
from simpo.audit.labels.sample import PairSample
from simpo.core.intervals import Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """N pairs with log-odds [N] that the chosen reply is better, by models that never saw the pair's prompt.

    by_marks: of length and marks of style. by_words: of all cheap features. scores: of these and of what a language
    model says. model: [N] that alone, in nats per token, NaN where it cannot take a pair in; None where none was asked.
    """

    features: PairFeatures
    by_marks: Floats
    by_words: Floats
    scores: Floats
    model: Floats | None


def judge(sample: PairSample, model: PairScorer | None = None) -> Judged:
    """Score the pairs of a sample, at least one."""
    number = len(sample.kept)
    features = extract(sample.pair(index) for index in range(number))
    folds = folds_of(sample.prompts)
    said = None if model is None else model([sample.pair(index) for index in range(number)])
    by_words = scores_of_texts(features, folds)
    scores = by_words if said is None else scores_of_texts(features, folds, _column(said))
    return Judged(features, scores_of_marks(features, folds), by_words, scores, said)


def _column(said: Floats) -> Floats:
    """The model's differences as one more column, nothing where it has none."""
    return np.nan_to_num(said, nan=0.0)[:, None]
