"""Scores out of fold: no pair moves its own score, and the fit is that of an obvious one in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from simpo.audit.labels.crossfit import (
    DENSE_SCALE,
    MARK_RIDGE,
    NUM_FOLDS,
    RIDGE,
    PairFeatures,
    extract,
    folds_of,
    scores_of_marks,
    scores_of_texts,
)
from simpo.audit.labels.features import MARKS, TEXTURE
from simpo.core.intervals import Floats
from simpo.records import Pair
from tests.audit.labels.labelled import by_quality, pair


def _folds(count: int) -> np.ndarray:
    return np.arange(count) % NUM_FOLDS


def _pairs(count: int = 60) -> list[Pair]:
    pairs, _ = by_quality(np.random.default_rng(0), count, turned=0.1)
    return pairs


def _newton(rows: Floats, ridge: float) -> Floats:
    """The logistic fit without intercept of differences [N, D] that were all won: Newton's steps, to the end."""
    weights = np.zeros(rows.shape[1])
    for _ in range(50):
        right = expit(rows @ weights)
        gradient = ridge * weights - rows.T @ (1 - right)
        curvature = ridge * np.eye(rows.shape[1]) + (rows * (right * (1 - right))[:, None]).T @ rows
        weights -= np.linalg.solve(curvature, gradient)
    return np.asarray(weights)


def _unit(columns: Floats) -> Floats:
    size = np.sqrt((columns**2).mean(0))
    return np.asarray(columns / np.where(size > 0, size, 1.0))


def test_differences_are_chosen_less_rejected() -> None:
    found = extract([pair(0, "Hello! **Yes**", "No"), pair(1, "No", "Hello! **Yes**")])
    assert found.log_ratio.tolist() == pytest.approx([math.log(14 / 2), math.log(2 / 14)])
    assert found.marks.shape == (2, len(MARKS)) and found.texture.shape == (2, len(TEXTURE))
    bold = [name for name, _ in MARKS].index("bold")
    assert found.marks[:, bold].tolist() == pytest.approx([math.log(2), -math.log(2)])
    for columns in (found.marks, found.texture, found.words.toarray()):
        np.testing.assert_allclose(columns[0], -columns[1])


def test_pairs_of_one_prompt_share_a_fold_and_prompts_are_spread_over_all() -> None:
    prompts = np.repeat(np.random.default_rng(0).integers(0, 1 << 63, 500, dtype=np.uint64), 2)
    folds = folds_of(prompts)
    assert (folds[::2] == folds[1::2]).all()
    assert np.bincount(folds, minlength=NUM_FOLDS).min() > 120


@pytest.mark.parametrize("score", [scores_of_texts, scores_of_marks])
def test_turning_a_label_turns_its_own_score_and_moves_none_of_its_fold(score: object) -> None:
    # The model of a fold never saw it, so it cannot know which side of its pairs was called chosen.
    assert callable(score)
    pairs, folds = _pairs(), _folds(60)
    before = score(extract(pairs), folds)
    one = pairs[7]
    turned = [*pairs[:7], pair(7, one.rejected, one.chosen), *pairs[8:]]
    after = score(extract(turned), folds)
    assert before[7] != 0 and after[7] == pytest.approx(-before[7], abs=1e-6)
    fold = (folds == folds[7]) & (np.arange(60) != 7)
    np.testing.assert_allclose(after[fold], before[fold], atol=1e-6)
    assert np.abs(after[folds != folds[7]] - before[folds != folds[7]]).max() > 1e-3


def test_scores_of_words_are_those_of_a_plain_fit_in_float64() -> None:
    features, folds = extract(_pairs()), _folds(60)
    dense = DENSE_SCALE * _unit(np.column_stack([features.marks, features.texture]))
    rows = np.column_stack([features.words.toarray().astype(np.float64), dense])
    expected = np.zeros(60)
    for fold in range(NUM_FOLDS):
        expected[folds == fold] = rows[folds == fold] @ _newton(rows[folds != fold], RIDGE)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(scores_of_texts(features, folds), expected, atol=0.02)


def test_scores_of_marks_are_those_of_a_plain_fit_in_float64() -> None:
    features, folds = extract(_pairs()), _folds(60)
    rows = _unit(np.column_stack([features.log_ratio, features.marks]))
    expected = np.zeros(60)
    for fold in range(NUM_FOLDS):
        expected[folds == fold] = rows[folds == fold] @ _newton(rows[folds != fold], MARK_RIDGE)
    np.testing.assert_allclose(scores_of_marks(features, folds), expected, atol=1e-6)


def test_one_fold_alone_teaches_nothing() -> None:
    features, folds = extract(_pairs(20)), np.zeros(20, np.int64)
    assert not scores_of_texts(features, folds).any() and not scores_of_marks(features, folds).any()


def test_one_more_column_that_knows_the_answer_is_used() -> None:
    rng = np.random.default_rng(1)
    sides = [rng.permutation(["yes", "no."]).tolist() for _ in range(200)]
    blind = [pair(number, chosen, rejected) for number, (chosen, rejected) in enumerate(sides)]
    knows = rng.normal(1.5, 1.0, 200)[:, None]
    right = [(scores_of_texts(extract(blind), _folds(200), more) > 0).mean() for more in (None, knows)]
    assert right[0] < 0.65 and right[1] > 0.85


def test_features_of_no_pairs_are_empty() -> None:
    found: PairFeatures = extract([])
    assert (
        found.log_ratio.shape == (0,) and found.marks.shape == (0, len(MARKS)) and found.words.shape[0] == 0
    )
