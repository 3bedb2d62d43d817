"""From measured steps to the figures of a row: medians, spreads, and ratios within each alternation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.child import Measured, Setting

Alternation = tuple[Measured, Measured]  # ours and TRL's, one after the other


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the smallest and the largest value seen."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value. Raises ValueError for none."""
        if not values:
            raise ValueError("no value to take the median of")
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class SideFigures:
    """One side of a row.

    seconds_per_pair: over the steps after the first of all alternations. tokens_scored, tokens_forwarded: a pair, over
    the same steps. peak_rss_bytes: over the alternations.
    """

    seconds_per_pair: Spread
    tokens_scored: float
    tokens_forwarded: float
    peak_rss_bytes: Spread
    process_peak_rss_bytes: Spread


@dataclass(frozen=True, slots=True)
class RowFigures:
    """A row: both sides, and TRL's over ours. Above 1, TRL takes longer or needs more.

    time_ratio: of the medians of each alternation. memory_ratio: of the peaks of each alternation.
    """

    simpo: SideFigures
    trl: SideFigures
    time_ratio: Spread
    memory_ratio: Spread


def seconds_per_pair(measured: Measured) -> list[float]:
    """Of each step after the first, which also fills caches and makes the optimizer's state.

    Raises ValueError where there was but one step.
    """
    if len(measured.seconds) < 2:
        raise ValueError(f"{measured.side} took {len(measured.seconds)} step; the first does not count")
    return [seconds / measured.pairs_per_step for seconds in measured.seconds[1:]]


def row_figures(alternations: Sequence[Alternation]) -> RowFigures:
    """The figures of one row. Raises ValueError without an alternation or with one-step runs."""
    return RowFigures(
        _side([ours for ours, _ in alternations]),
        _side([theirs for _, theirs in alternations]),
        Spread.of([_median_time(theirs) / _median_time(ours) for ours, theirs in alternations]),
        Spread.of([theirs.peak_rss_bytes / ours.peak_rss_bytes for ours, theirs in alternations]),
    )


def fastest(tried: Sequence[Measured]) -> Setting:
    """The setting with the least seconds per pair."""
    return min(tried, key=_median_time).setting


def _median_time(measured: Measured) -> float:
    return median(seconds_per_pair(measured))


def _side(runs: Sequence[Measured]) -> SideFigures:
    pairs = sum(run.pairs_per_step * (len(run.seconds) - 1) for run in runs)
    return SideFigures(
        Spread.of([seconds for run in runs for seconds in seconds_per_pair(run)]),
        sum(sum(run.tokens_scored[1:]) for run in runs) / pairs,
        sum(sum(run.tokens_forwarded[1:]) for run in runs) / pairs,
        Spread.of([float(run.peak_rss_bytes) for run in runs]),
        Spread.of([float(run.process_peak_rss_bytes) for run in runs]),
    )
