"""Scores of pairs by a logistic model that never saw them: fitted on four fifths of the prompts, used on the fifth."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from simpo.audit.labels.features import (
    MARKS,
    NUM_BUCKETS,
    TEXTURE,
    Floats32,
    Hasher,
    PromptWords,
    marks,
    texture,
)
from simpo.core.intervals import Floats
from simpo.core.ranking import fit_pairs
from simpo.records import Pair

NUM_FOLDS = 5
RIDGE = 0.5  # of the model of words; found on pairs with planted flips, where 0.3 to 3 do nearly as well
DENSE_SCALE = 0.3  # of a dense feature of unit size beside a row of words of length 1
MARK_RIDGE = 1.0
_MAX_STEPS = 100

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairFeatures:
    """Differences, chosen minus rejected, of N pairs: log lengths [N], marks [N, K], texture [N, K], words (sparse)."""

    log_ratio: Floats
    marks: Floats
    texture: Floats
    words: sparse.csr_matrix


def extract(pairs: Iterable[Pair]) -> PairFeatures:
    """The features of each pair."""
    hasher = Hasher()
    marked: list[list[float]] = []
    textured: list[list[float]] = []
    ratios, buckets, values, ends = array("d"), array("i"), array("f"), array("i", [0])
    for pair in pairs:
        ratios.append(math.log(len(pair.chosen) / len(pair.rejected)))
        prompt = PromptWords.of(pair.prompt)
        marked.append(_less(np.log1p(marks(pair.chosen)), np.log1p(marks(pair.rejected))))
        textured.append(
            _less(np.array(texture(pair.chosen, prompt)), np.array(texture(pair.rejected, prompt)))
        )
        own_buckets, own_values = hasher.difference(pair.chosen, pair.rejected)
        buckets.frombytes(own_buckets.tobytes())
        values.frombytes(own_values.tobytes())
        ends.append(len(buckets))
    return PairFeatures(
        np.array(ratios, dtype=np.float64),
        np.array(marked).reshape(-1, len(MARKS)),
        np.array(textured).reshape(-1, len(TEXTURE)),
        _words(np.frombuffer(buckets, np.int32), np.frombuffer(values, np.float32), np.array(ends, np.int32)),
    )


def _words(
    buckets: npt.NDArray[np.int32], values: Floats32, ends: npt.NDArray[np.int32]
) -> sparse.csr_matrix:
    """The matrix of words, with a column for each bucket that occurs."""
    used = np.bincount(buckets, minlength=NUM_BUCKETS) > 0
    columns = (np.cumsum(used) - 1).astype(np.int32)
    return sparse.csr_matrix((values, columns[buckets], ends), shape=(len(ends) - 1, int(used.sum())))


def _less(first: Floats, second: Floats) -> list[float]:
    difference: list[float] = (first - second).tolist()
    return difference


def folds_of(prompts: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """[N] the fold of each pair, 0 to NUM_FOLDS - 1: pairs of one prompt share theirs."""
    return (prompts % np.uint64(NUM_FOLDS)).astype(np.int64)


def scores_of_marks(features: PairFeatures, folds: npt.NDArray[np.int64]) -> Floats:
    """[N] log-odds by length and marks of style alone, out of fold."""
    dense = _scaled(np.column_stack([features.log_ratio, features.marks]))
    scores = np.zeros(len(dense))
    for fold in np.unique(folds):
        held = folds == fold
        if held.all():
            return scores
        scores[held] = dense[held] @ fit_pairs(dense[~held], ridge=MARK_RIDGE).weights
    return scores


def scores_of_texts(
    features: PairFeatures, folds: npt.NDArray[np.int64], extra: Floats | None = None
) -> Floats:
    """[N] log-odds by words, marks and texture together, out of fold. extra: [N, K] more differences, if any."""
    columns = [features.marks, features.texture] + ([] if extra is None else [extra])
    dense = (DENSE_SCALE * _scaled(np.column_stack(columns))).astype(np.float32)
    scores = np.zeros(len(dense))
    for fold in np.unique(folds):
        held = folds == fold
        if held.all():
            return scores
        by_word, by_column = _fit(features.words, dense, ~held)
        scores[held] = features.words[held] @ by_word + dense[held] @ by_column
    return scores


def _scaled(columns: Floats) -> Floats:
    """Each column divided by its root mean square; one that never differs stays 0."""
    size = np.sqrt((columns**2).mean(0))
    return np.asarray(columns / np.where(size > 0, size, 1.0), dtype=np.float64)


def _fit(words: sparse.csr_matrix, dense: Floats32, trained: Mask) -> tuple[Floats32, Floats32]:
    """The weights of the logistic model of the `trained` pairs with a ridge: of words, and of the dense columns.

    Begun at zero: another fold's have seen what is held out here. The matrices are used as they are and never copied.
    """
    transposed, num_words = words.T, words.shape[1]

    def split(weights: Floats) -> tuple[Floats32, Floats32]:
        return weights[:num_words].astype(np.float32), weights[num_words:].astype(np.float32)

    def loss(weights: Floats) -> tuple[float, Floats]:
        by_word, by_column = split(weights)
        margins = (words @ by_word + dense @ by_column).astype(np.float64)
        lost = np.where(trained, np.exp(-np.logaddexp(0, margins)), 0.0).astype(np.float32)
        value = float(np.logaddexp(0, -margins[trained]).sum() + RIDGE / 2 * weights @ weights)
        return value, RIDGE * weights - np.concatenate([transposed @ lost, lost @ dense])

    start = np.zeros(num_words + dense.shape[1])
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS, "ftol": 1e-7}
    )
    return split(found.x)
