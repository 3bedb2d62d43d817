"""Length-controlled win rates: what a win rate would be if both replies were equally long, by a logistic model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.core.intervals import Floats, Interval, Ints, percentile_ends, share_interval

RIDGE = 0.01  # of both coefficients: only where the data separate does it matter, and keeps them finite
ONE_SIDED = 0.9  # from this share of longer (or shorter) replies on, equal lengths lie outside what was seen
_ROUNDS, _STEP = 50, 1e-9


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate at equal lengths. length_effect: log-odds of winning per unit of tanh(standardised length difference).

    longer: share of prompts on which the first model's reply is the longer one (equal lengths half). extrapolated: the
    replies of one side are nearly always longer, so that the figure speaks of lengths that were hardly seen.
    """

    rate: Interval
    length_effect: float
    longer: float
    extrapolated: bool

    def to_json(self) -> dict[str, Any]:
        """As the comparison holds it."""
        return {
            **self.rate.to_json(),
            "length_effect": self.length_effect,
            "longer": self.longer,
            "extrapolated": self.extrapolated,
        }


def length_controlled_rate(
    outcomes: npt.ArrayLike,
    lengths: npt.ArrayLike,
    other_lengths: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    difficulty: npt.ArrayLike | None = None,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> LengthControlled:
    """P(first model wins) at equal lengths, fitted to outcomes [N] in [0, 1] (a tie 0.5, a judge's probability any).

    logit p = theta + phi tanh((length - other) / std of that) [+ psi difficulty]; the rate is the mean of p with
    the length term zero. lengths, other_lengths: [N] characters. difficulty: [N] known difficulty of each prompt, as
    `prompt_difficulty` estimates it from many models; without it the model has two parameters and, where replies of one
    side are nearly always longer, says more than AlpacaEval's. The interval is a bootstrap over clusters (prompts)
    with everything fitted anew; where all outcomes are equal it is Wilson's of the raw rate. Source: Dubois et al.
    2024, arXiv:2404.04475, without its shrinking towards two baselines prompted for length. Raises ValueError for
    unequal shapes or outcomes outside [0, 1].
    """
    y, delta = np.asarray(outcomes, dtype=np.float64), _difference(lengths, other_lengths)
    if y.shape != delta.shape or len(y) != len(clusters):
        raise ValueError(f"outcomes {y.shape}, lengths {delta.shape}, {len(clusters)} clusters")
    raw = share_interval(y, clusters, level=level, seed=seed)
    longer = float((0.5 * (1 + np.sign(delta))).mean())
    one_sided = not 1 - ONE_SIDED < longer < ONE_SIDED
    if np.ptp(y) == 0 or np.ptp(delta) == 0:
        return LengthControlled(raw, 0.0, longer, one_sided)
    columns = [np.ones_like(y), length_feature(delta)]
    if difficulty is not None:
        columns.append(np.asarray(difficulty, dtype=np.float64))
    features = np.stack(columns, axis=1)
    _, labels = np.unique(np.asarray([str(cluster) for cluster in clusters]), return_inverse=True)
    weights = np.concatenate([np.ones((1, len(y))), _resampled_weights(labels, num_resamples, seed)])
    fitted = fit_logistic(features, y, weights)
    rates = _rates_at_equal_length(fitted, features, weights)
    num_clusters = int(labels.max()) + 1
    low, high = (math.nan, math.nan) if num_clusters < 2 else percentile_ends(rates[1:], num_clusters, level)
    return LengthControlled(Interval(float(rates[0]), low, high), float(fitted[0, 1]), longer, one_sided)


def length_feature(delta: Floats) -> Floats:
    """tanh of length differences [N] over their standard deviation: what a few hundred characters more are worth."""
    spread = float(delta.std(ddof=1)) if len(delta) > 1 else 0.0
    return np.zeros_like(delta) if spread == 0 else np.asarray(np.tanh(delta / spread))


def fit_logistic(
    features: Floats, outcomes: Floats, weights: Floats, *, ridge: float = RIDGE, offset: Floats | None = None
) -> Floats:
    """Coefficients [R, P] of R logistic regressions of outcomes [N] in [0, 1] on features [N, P], weighted by [R, N].

    Newton's method, halved where it would overshoot; minimises the weighted cross-entropy plus ridge/2 |b|^2. offset:
    [N] added to the linear predictor. Source: McCullagh and Nelder 1989, section 4.4.
    """
    base = np.zeros(len(outcomes)) if offset is None else offset
    found = np.zeros((len(weights), features.shape[1]))
    penalty = ridge * np.eye(features.shape[1])
    for _ in range(_ROUNDS):
        p = _sigmoid(found @ features.T + base)
        slope = (weights * (outcomes - p)) @ features - ridge * found
        curvature = np.einsum("rn,np,nq->rpq", weights * p * (1 - p), features, features, optimize=True)
        step = np.linalg.solve(curvature + penalty, slope[..., None])[..., 0]
        size = np.abs(step).max(axis=1, keepdims=True)
        found += step * np.minimum(1.0, 2.0 / np.maximum(size, 1e-300))
        if float(size.max()) < _STEP:
            break
    return found


def prompt_difficulty(
    outcomes: Floats,
    features: Floats,
    models: Ints,
    prompts: Ints,
    *,
    ridge: float = 3.0,
) -> Floats:
    """How much easier than others each prompt is to win on, [G] log-odds, from many models against one baseline.

    One logistic model of all judgements [M]: theta of the model + phi of the model x features [M] + gamma of the
    prompt, gamma shrunk towards 0 by `ridge`. models, prompts: [M] numbers from 0. Fitted by turns until still.
    """
    num_models, num_prompts = int(models.max()) + 1, int(prompts.max()) + 1
    gamma = np.zeros(num_prompts)
    own = [np.flatnonzero(models == model) for model in range(num_models)]
    logits = np.zeros(len(outcomes))
    for _ in range(_ROUNDS):
        for places in own:
            x = np.stack([np.ones(len(places)), features[places]], axis=1)
            once = np.ones((1, len(places)))
            b = fit_logistic(x, outcomes[places], once, offset=gamma[prompts[places]])[0]
            logits[places] = x @ b
        p = _sigmoid(logits + gamma[prompts])
        slope = np.bincount(prompts, outcomes - p, num_prompts) - ridge * gamma
        step = slope / (np.bincount(prompts, p * (1 - p), num_prompts) + ridge)
        gamma += step
        if float(np.abs(step).max()) < 1e-6:
            break
    return gamma


def _rates_at_equal_length(fitted: Floats, features: Floats, weights: Floats) -> Floats:
    equal = features.copy()
    equal[:, 1] = 0.0
    p = _sigmoid(fitted @ equal.T)
    rates: Floats = (weights * p).sum(axis=1) / weights.sum(axis=1)
    return rates


def _resampled_weights(labels: Ints, num_resamples: int, seed: int) -> Floats:
    num_clusters = int(labels.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, num_clusters, size=(num_resamples, num_clusters))
    counts = np.stack([np.bincount(row, minlength=num_clusters) for row in drawn])
    weights: Floats = counts[:, labels].astype(np.float64)
    return weights


def _difference(lengths: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    first, second = np.asarray(lengths, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"lengths {first.shape} and {second.shape} must be one [N]")
    delta: Floats = first - second
    return delta


def _sigmoid(x: Floats) -> Floats:
    p: Floats = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return p
