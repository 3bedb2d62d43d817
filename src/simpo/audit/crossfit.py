"""Scores of pairs by a logistic model that never saw them: fitted on four fifths of the prompts, used on the fifth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from simpo.audit.features import MARKS, NUM_BUCKETS, TEXTURE, Hasher, PromptWords, marks, texture
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
    buckets: list[npt.NDArray[np.int32]] = []
    values: list[npt.NDArray[np.float32]] = []
    for pair in pairs:
        prompt = PromptWords.of(pair.prompt)
        marked.append(_less(np.log1p(marks(pair.chosen)), np.log1p(marks(pair.rejected))))
        textured.append(
            _less(np.array(texture(pair.chosen, prompt)), np.array(texture(pair.rejected, prompt)))
        )
        own_buckets, own_values = hasher.difference(pair.chosen, pair.rejected)
        buckets.append(own_buckets)
        values.append(own_values)
    ends = np.concatenate([[0], np.cumsum([len(own) for own in buckets])])
    words = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(buckets), ends), shape=(len(buckets), NUM_BUCKETS)
    )
    texture_matrix = np.array(textured).reshape(-1, len(TEXTURE))
    return PairFeatures(
        texture_matrix[:, TEXTURE.index("length")],
        np.array(marked).reshape(-1, len(MARKS)),
        texture_matrix,
        words,
    )


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
    dense = DENSE_SCALE * _scaled(np.column_stack(columns))
    used = np.unique(features.words.indices)
    matrix = sparse.hstack(
        [features.words[:, used], sparse.csr_matrix(dense)], format="csr", dtype=np.float32
    )
    scores = np.zeros(matrix.shape[0])
    for fold in np.unique(folds):
        held = folds == fold
        if held.all():
            return scores
        scores[held] = matrix[held] @ _fit(matrix[~held]).astype(np.float32)
    return scores


def _scaled(columns: Floats) -> Floats:
    """Each column divided by its root mean square; one that never differs stays 0."""
    size = np.sqrt((columns**2).mean(0))
    return np.asarray(columns / np.where(size > 0, size, 1.0), dtype=np.float64)


def _fit(matrix: sparse.csr_matrix) -> Floats:
    """The weights of the logistic model of pairs with a ridge. Begun at zero: another fold's saw what is held out."""
    transposed = matrix.T.tocsr()

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = (matrix @ weights.astype(np.float32)).astype(np.float64)
        lost = np.exp(-np.logaddexp(0, margins))
        value = float(np.logaddexp(0, -margins).sum() + RIDGE / 2 * weights @ weights)
        return value, RIDGE * weights - transposed @ lost.astype(np.float32)

    found = optimize.minimize(
        loss,
        np.zeros(matrix.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "ftol": 1e-7},
    )
    return np.asarray(found.x, dtype=np.float64)
