"""Length and style in the labels: how much of the data a ruler would predict, and what is left without it."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import Finding
from simpo.core.clustered import clustered_share
from simpo.core.intervals import Floats, Interval
from simpo.core.ranking import fit_pairs, pair_auc
from simpo.records import Pair

SKEWED = (
    0.15  # distance of the share with the longer reply chosen from one half, from where on it is a warning
)
MATCHED = 0.1  # |log length ratio| up to which two replies count as equally long
NUM_BINS, MIN_BIN = 12, 40
NUM_POINTS = 2000  # of the scatter
NUM_CURVE = 25  # points of the fitted curve on each side
MAX_CATEGORIES = 30
_STEP = 0.05  # log ratio over which the fitted curve may step at equal lengths

Mask = npt.NDArray[np.bool_]


class Lengths:
    """Characters of both replies, prompt and category of every pair: some 24 bytes a pair."""

    def __init__(self) -> None:
        self._chosen, self._rejected = array("q"), array("q")
        self._prompts, self._categories = array("Q"), array("l")
        self._names: dict[str | None, int] = {}

    def see(self, pair: Pair) -> None:
        """Take in the next pair."""
        self._chosen.append(len(pair.chosen))
        self._rejected.append(len(pair.rejected))
        self._prompts.append(int(pair.prompt_id, 16))
        self._categories.append(self._names.setdefault(pair.category, len(self._names)))

    def table(self) -> LengthTable:
        """What was seen so far."""
        return LengthTable(
            np.array(self._chosen, dtype=np.int64),
            np.array(self._rejected, dtype=np.int64),
            np.array(self._prompts, dtype=np.uint64),
            np.array(self._categories, dtype=np.int64),
            tuple(self._names),
        )


@dataclass(frozen=True, slots=True)
class LengthTable:
    """N pairs: characters [N] of chosen and rejected, prompt hash [N], category [N] as an index into `names`."""

    chosen: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]
    prompts: npt.NDArray[np.uint64]
    category: npt.NDArray[np.int64]
    names: tuple[str | None, ...]

    @property
    def log_ratio(self) -> Floats:
        """[N] log of chosen over rejected length."""
        return np.asarray(np.log(self.chosen / self.rejected), dtype=np.float64)

    @property
    def matched(self) -> Mask:
        """[N] whether the two replies count as equally long."""
        return np.asarray(np.abs(self.log_ratio) <= MATCHED)


def length_findings(table: LengthTable) -> list[Finding]:
    """The share with the longer reply chosen, its curve over the length ratio, and the length-matched subset."""
    return [_longer(table), _matched(table)] if len(table.chosen) else []


def _longer(table: LengthTable) -> Finding:
    unequal = table.chosen != table.rejected
    count, of = int((table.chosen > table.rejected).sum()), int(unequal.sum())
    share = _share(table, unequal)
    skewed = share is not None and abs(share.value - 0.5) >= SKEWED and (share.low > 0.5 or share.high < 0.5)
    return Finding(
        "length_bias",
        "warning" if skewed else "note",
        "All pairs have two replies of equal length."
        if share is None
        else f"The longer reply is chosen in {100 * share.value:.1f} % ({_span(share)}) of {of:,} pairs whose replies "
        "differ in length.",
        _longer_action(share, skewed),
        count=count,
        of=of,
        figures={
            "chosen_longer": None if share is None else share.to_json(),
            "equal": len(table.chosen) - of,
            "auc": pair_auc(table.log_ratio, table.prompts).to_json(),
            "median_chars": {
                "chosen": float(np.median(table.chosen)),
                "rejected": float(np.median(table.rejected)),
            },
            "median_ratio": float(np.exp(np.median(table.log_ratio))),
            "bins": _bins(table),
            "curve": _curve(table),
            "by_category": _by_category(table, unequal),
            "points": _points(table),
        },
    )


def _longer_action(share: Interval | None, skewed: bool) -> str:
    if share is None or not skewed:
        return "Nothing: a length-normalised reward keeps what is there from growing."
    if share.value > 0.5:
        return (
            "Train with a length-normalised reward (SimPO, DPO-norm) and watch reply lengths, or build a version with "
            "balanced lengths: a reward by sums would learn to write more."
        )
    return "Watch reply lengths: the model will learn to write less; make sure that the shorter replies are complete."


def _share(table: LengthTable, mask: Mask) -> Interval | None:
    if not mask.any():
        return None
    return clustered_share((table.chosen > table.rejected)[mask], table.prompts[mask])


def _bins(table: LengthTable) -> list[dict[str, Any]]:
    """How often the longer reply wins, by how much longer it is: bins of like size."""
    ratio = table.log_ratio
    places = np.flatnonzero(ratio != 0)
    order = places[np.argsort(np.abs(ratio[places]), kind="stable")]
    number = max(1, min(NUM_BINS, len(order) // MIN_BIN))
    found = []
    for part in np.array_split(order, number) if len(order) else ():
        sizes = np.abs(ratio[part])
        wins = clustered_share(ratio[part] > 0, table.prompts[part])
        found.append(
            {
                "from": float(sizes.min()),
                "to": float(sizes.max()),
                "log_ratio": float(sizes.mean()),
                "pairs": len(part),
                **wins.to_json(),
            }
        )
    return found


def _curve(table: LengthTable) -> list[dict[str, Any]]:
    """P(a reply wins) over the log of its length by the other's, with its interval: a fitted odd curve in log-odds.

    Two terms, the log ratio and a smooth step at equal lengths: in some data the longer reply wins however little
    longer it is. Empty where all lengths are equal.
    """
    ratio = table.log_ratio
    if not ratio.any():
        return []
    fit = fit_pairs(_basis(ratio), table.prompts, ridge=1.0)
    reach = float(np.quantile(np.abs(ratio), 0.98)) or float(np.abs(ratio).max())
    grid = np.linspace(-reach, reach, 2 * NUM_CURVE + 1)
    return [
        {"log_ratio": float(at), **chance.to_json()}
        for at, chance in zip(grid, fit.chances(_basis(grid)), strict=True)
    ]


def _basis(log_ratio: Floats) -> Floats:
    return np.column_stack([log_ratio, np.tanh(log_ratio / _STEP)])


def _by_category(table: LengthTable, mask: Mask) -> list[dict[str, Any]]:
    """The share with the longer reply chosen by category, the largest first; empty where there are no categories."""
    found = []
    for name, members in _categories(table):
        share = _share(table, members & mask)
        if share is not None:
            found.append({"category": name, "pairs": int((members & mask).sum()), **share.to_json()})
    return found


def _categories(table: LengthTable) -> list[tuple[str, Mask]]:
    if all(name is None for name in table.names):
        return []
    sizes = np.bincount(table.category, minlength=len(table.names))
    largest = np.argsort(-sizes, kind="stable")[:MAX_CATEGORIES]
    return [(table.names[at] or "(none)", table.category == at) for at in largest.tolist()]


def _points(table: LengthTable) -> list[list[int]]:
    """(chosen, rejected) characters of pairs spread evenly over the file."""
    number = len(table.chosen)
    places = np.unique(np.linspace(0, number - 1, min(number, NUM_POINTS)).round().astype(np.int64))
    points: list[list[int]] = np.stack([table.chosen[places], table.rejected[places]], axis=1).tolist()
    return points


def _matched(table: LengthTable) -> Finding:
    matched = table.matched
    count, of = int(matched.sum()), len(matched)
    by_category = [
        {"category": name, "matched": int((matched & members).sum()), "pairs": int(members.sum())}
        for name, members in _categories(table)
    ]
    return Finding(
        "length_matched",
        "note",
        f"In {count:,} of {of:,} pairs ({100 * count / of:.1f} %) the two replies are of one length within 10 %.",
        "Measure a model on these alone as well: there, length cannot have decided.",
        count=count,
        of=of,
        figures={"max_log_ratio": MATCHED, "by_category": by_category},
    )


def _span(interval: Interval) -> str:
    if math.isnan(interval.low):
        return "one prompt"
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


__all__ = ["MATCHED", "LengthTable", "Lengths", "length_findings"]
