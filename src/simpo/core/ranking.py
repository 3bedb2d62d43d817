"""How well a figure tells the chosen reply of a pair from the rejected one: accuracy, AUC, and a logistic fit.

A pair is a row of differences d = f(chosen) - f(rejected). Nothing says which reply stands first, so each pair counts
in both orders: with d as won and with -d as lost. That makes all figures here antisymmetric, and an intercept needless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.core.clustered import Labels, clustered_share, dense
from simpo.core.intervals import Floats, Interval, normal_quantile, student_t

_MAX_STEPS = 100


def auc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half: Mann and Whitney's U over its maximum.

    NaN where one side is empty. One sort of both.
    """
    high, low = np.asarray(positive, dtype=np.float64), np.sort(np.asarray(negative, dtype=np.float64))
    if len(high) == 0 or len(low) == 0:
        return math.nan
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return float((below + upto).sum() / (2 * len(high) * len(low)))


def pair_accuracy(differences: npt.ArrayLike, clusters: Labels, *, level: float = 0.95) -> Interval:
    """Share of pairs [N] whose chosen reply has more of the figure, ties counting half, with a clustered interval."""
    d = np.asarray(differences, dtype=np.float64)
    return clustered_share(0.5 * (1 + np.sign(d)), clusters, level=level)


def pair_auc(differences: npt.ArrayLike, clusters: Labels, *, level: float = 0.95) -> Interval:
    """AUC of a figure's difference over pairs [N] in both orders: the chance that d_i > -d_j, ties counting half.

    Unlike the accuracy it rewards a figure whose large differences are right more often than its small ones: 0.5 for
    a figure that says nothing. The interval is that of its influence function under clustering (a V-statistic of
    degree two), NaN ends for one cluster.
    """
    d = np.asarray(differences, dtype=np.float64)
    negated = np.sort(-d)
    projected = (np.searchsorted(negated, d, "left") + np.searchsorted(negated, d, "right")) / (2 * len(d))
    value = float(projected.mean())
    labels = dense(np.asarray(clusters))
    num_clusters = int(labels.max()) + 1
    if num_clusters < 2:
        return Interval(value, math.nan, math.nan)
    by_cluster = np.bincount(labels, weights=projected - value)
    variance = num_clusters / (num_clusters - 1) * 4 * float((by_cluster**2).sum()) / len(d) ** 2
    half = student_t(level, num_clusters - 1) * math.sqrt(variance)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


@dataclass(frozen=True, slots=True)
class Fit:
    """A logistic model of pairs: P(first wins) = sigmoid(weights . d); `covariance` of the weights, [K, K]."""

    weights: Floats
    covariance: Floats

    def chances(self, differences: npt.ArrayLike, *, level: float = 0.95) -> list[Interval]:
        """The chance to win at differences [M, K], each with its interval (made in log-odds, so within 0 and 1)."""
        x = np.asarray(differences, dtype=np.float64)
        centre = x @ self.weights
        half = normal_quantile(level) * np.sqrt(np.einsum("mk,kl,ml->m", x, self.covariance, x))
        ends = (_sigmoid(odds).tolist() for odds in (centre, centre - half, centre + half))
        return [Interval(*point) for point in zip(*ends, strict=True)]


def fit_pairs(differences: npt.ArrayLike, clusters: Labels | None = None, *, ridge: float = 0.0) -> Fit:
    """Bradley and Terry's logistic model on pairs: differences [N, K] of chosen minus rejected, all of them won.

    Minimises sum_i log(1 + exp(-w . d_i)) + ridge / 2 |w|^2 by Newton's method with halved steps. The covariance is
    the sandwich under clustering (each pair by itself where None). Raises ValueError where no finite weights fit best:
    the pairs are separated, or a column is constant, and there is no ridge.
    """
    x = np.asarray(differences, dtype=np.float64)
    weights = np.zeros(x.shape[1])
    loss = _loss(x, weights, ridge)
    for _ in range(_MAX_STEPS):
        gradient, hessian = _slopes(x, weights, ridge)
        step = _solve(hessian, gradient)
        # A short step, not a small gain: on separated pairs the gain vanishes while the weights go on growing.
        if float(np.abs(step).max()) < 1e-6 * (1 + float(np.abs(weights).max())):
            return Fit(weights - step, _covariance(x, weights - step, ridge, clusters))
        weights, loss = _halved(x, weights, step, ridge, loss)
    raise ValueError("no finite weights fit best: the pairs are separated; give a ridge")


def _slopes(x: Floats, weights: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Gradient [K] and Hessian [K, K] of the loss."""
    lost = _sigmoid(-x @ weights)
    hessian = (x * (lost * (1 - lost))[:, None]).T @ x + ridge * np.eye(len(weights))
    return ridge * weights - x.T @ lost, hessian


def _halved(x: Floats, weights: Floats, step: Floats, ridge: float, loss: float) -> tuple[Floats, float]:
    for halving in range(40):
        moved = weights - step / 2**halving
        found = _loss(x, moved, ridge)
        if found < loss:
            return moved, found
    return weights, loss


def _loss(x: Floats, weights: Floats, ridge: float) -> float:
    return float(np.logaddexp(0, -x @ weights).sum() + ridge / 2 * weights @ weights)


def _solve(hessian: Floats, gradient: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise ValueError(
            "no single weights fit best: a column is constant or repeats others; give a ridge"
        ) from None


def _covariance(x: Floats, weights: Floats, ridge: float, clusters: Labels | None) -> Floats:
    scores = x * _sigmoid(-x @ weights)[:, None]
    if clusters is not None:
        labels = dense(np.asarray(clusters))
        scores = np.stack([np.bincount(labels, weights=column) for column in scores.T], axis=1)
    inverse = np.linalg.inv(_slopes(x, weights, ridge)[1])
    return np.asarray(inverse @ (scores.T @ scores) @ inverse, dtype=np.float64)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -z)), dtype=np.float64)
