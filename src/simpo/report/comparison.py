"""Before against after: what changed, with intervals, and whether the two were measured on the same things."""

from __future__ import annotations

from dataclasses import dataclass

from simpo.core.intervals import Interval, paired_difference
from simpo.report.source import Estimate, RunSource

MOVED = 0.05  # a share of replies that moves by less than five points is not called out


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of two shares with its interval; `paired`: whether the pairs were matched one by one."""

    value: float
    low: float
    high: float
    paired: bool

    @property
    def clear(self) -> bool:
        """Whether the interval excludes no change."""
        return self.low > 0 or self.high < 0


def accuracy_change(source: RunSource) -> Change | None:
    """Held-out pairwise accuracy after minus before, in shares.

    Where both evaluations left their pairs, the same pairs are compared one by one, resampled by prompt. Otherwise the
    ends of the two intervals are compared, which finds less. None where either is missing or there is no interval.
    """
    before, after = source.before, source.after
    if not (before and after and before.preference and after.preference):
        return None
    paired = _paired(source)
    if paired is not None:
        return Change(paired.value, paired.low, paired.high, paired=True)
    return _apart(before.preference.accuracy.reward, after.preference.accuracy.reward)


def same_data(source: RunSource) -> bool:
    """Whether before and after were measured on one set of pairs, as far as their hashes say."""
    before, after = source.before, source.after
    return not (before and after) or before.data.get("hash") == after.data.get("hash")


def reference_at_start(source: RunSource) -> bool:
    """Whether the reward is measured against a reference, which the untrained policy equals: accuracy 50 % by ties."""
    return source.recipe.recipe.reference_mode is not None


def _paired(source: RunSource) -> Interval | None:
    before = {pair.id: pair for pair in source.pairs.get("before", ())}
    after = {pair.id: pair for pair in source.pairs.get("after", ())}
    if not before or before.keys() != after.keys():
        return None
    ids = list(after)
    interval = paired_difference(
        [after[key].correct for key in ids],
        [before[key].correct for key in ids],
        [after[key].prompt_id for key in ids],
        bounds=(0.0, 1.0),
    )
    return interval if interval.low <= interval.high else None


def _apart(before: Estimate, after: Estimate) -> Change | None:
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    return Change(after.value - before.value, after.low - before.high, after.high - before.low, paired=False)
