"""How many labels are turned at random, judged by how often a score is contradicted where it is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simpo.core.clustered import Labels
from simpo.core.intervals import Floats, Interval, normal_quantile

MAX_RATE = 0.45
_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 0.005, 12), np.linspace(0.0075, MAX_RATE, 178)])
_MIN_SLOPE, _NUM_SLOPES = 0.02, 120
_MAX_BINS = 2000


@dataclass(frozen=True, slots=True)
class Noise:
    """rate: the share of labels turned at random, with its interval. slope: of the score, in log-odds of a clean label.

    bounded: whether the data hold the rate off both ends of what was tried; False says that they cannot tell it.
    """

    rate: Interval
    slope: float
    bounded: bool

    def wrong(self, scores: npt.ArrayLike) -> Floats:
        """[N] chance that a label with this score is a turned one, by Bayes' rule at the estimated rate."""
        right = _sigmoid(self.slope * np.asarray(scores, dtype=np.float64))
        turned = self.rate.value * (1 - right)
        return np.asarray(turned / (turned + (1 - self.rate.value) * right), dtype=np.float64)


def fit_noise(
    scores: npt.ArrayLike, clusters: Labels, *, max_slope: float = 20.0, level: float = 0.95
) -> Noise:
    """The rate r and slope a under which N labels are likeliest: P(label agrees with s) = r + (1 - 2 r) sigmoid(a s).

    scores: [N] of pairs as they are labelled, positive where the score takes the chosen reply's side, from a model that
    never saw the pair, in log-odds. clusters: [N] integers. What a clean label does is taken to be a logistic curve of
    the score, so that its chance goes to 1 where the score is sure; what stays below 1 there is the rate. Where no
    score is sure the two cannot be told apart, and the interval says so by its width.

    max_slope: how much surer than it says a score may be; one fitted with a ridge, or on turned labels, says too
    little. A best slope at this bound means that only the sign of the score is worth something: then nothing is
    bounded, for a poor score that is equally right everywhere would pass for a sure one.

    The interval is that of the profile likelihood, widened as if the pairs of a cluster were one. Labels that are wrong
    where the score is unsure (close calls) are no part of the rate. Raises ValueError for no or non-finite scores.
    Source: the model is that of Ghosh and others 2015 (symmetric noise), the interval Wilks 1938.
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1 or len(s) == 0 or not np.isfinite(s).all():
        raise ValueError(f"scores {s.shape} must be finite, [N], N > 0")
    values, weights = _binned(s)
    slopes = np.geomspace(_MIN_SLOPE, max_slope, _NUM_SLOPES)
    right = _sigmoid(np.outer(slopes, values))
    # [rates, slopes]: the log-likelihood everywhere; of a few thousand sums each, cheaper than to be clever.
    likelihood = np.stack([np.log(rate + (1 - 2 * rate) * right + 1e-300) @ weights for rate in _RATES])
    best = likelihood.max(1)
    top = int(best.argmax())
    num_clusters = len(np.unique(np.asarray(clusters)))
    drop = normal_quantile(level) ** 2 / 2 * len(s) / num_clusters
    inside = np.flatnonzero(best >= best[top] - drop)
    interval = Interval(float(_RATES[top]), float(_RATES[inside[0]]), float(_RATES[inside[-1]]))
    slope = float(slopes[likelihood[top].argmax()])
    inner = interval.low > 0 and interval.high < MAX_RATE and slope < 0.99 * max_slope
    return Noise(interval, slope, bounded=inner)


def _binned(s: Floats) -> tuple[Floats, Floats]:
    """Means and sizes of bins of neighbouring scores: the likelihood is smooth in a score."""
    if len(s) <= _MAX_BINS:
        return s, np.ones(len(s))
    parts = np.array_split(np.sort(s), _MAX_BINS)
    return np.array([part.mean() for part in parts]), np.array([float(len(part)) for part in parts])


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -z)), dtype=np.float64)


__all__ = ["MAX_RATE", "Noise", "fit_noise"]
