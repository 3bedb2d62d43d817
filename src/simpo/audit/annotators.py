"""Each annotator against the others: who agrees less, who takes one side, who goes by length, who voted too little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import Finding, Severity
from simpo.audit.votes import TIE, UNKNOWN, Ints, VoteTable
from simpo.core.clustered import clustered_share, independent_difference
from simpo.core.intervals import Interval, wilson

FEW_VOTES = 20  # of one annotator: fewer say nothing of him
WEAK = 0.05  # how much less an annotator agrees with the others than they among themselves, at least, to be named
ALWAYS = 0.95  # share of votes for one side, or for the longer reply, that is "always"
MAX_TABLE = 200  # annotators listed, those with most votes first

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of votes with its interval: `successes` of `of`.

    strict: the interval at the level that holds for all annotators together (Bonferroni); what flags rest on.
    """

    interval: Interval
    strict: Interval
    successes: int
    of: int

    def to_json(self) -> dict[str, Any]:
        """The 95 % interval and `of`."""
        return {**self.interval.to_json(), "of": self.of}


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """One annotator: votes and ties, and as shares (None without any vote to take them of) how often he agrees with
    the majority of the others, takes the reply shown first, takes the longer reply.
    """

    name: str
    votes: int
    ties: int
    agreement: Share | None
    first: Share | None
    longer: Share | None

    def to_json(self, flags: Sequence[str]) -> dict[str, Any]:
        """One line of the table of annotators."""
        shares = {"agreement": self.agreement, "first": self.first, "longer": self.longer}
        return {
            "annotator": self.name,
            "votes": self.votes,
            "ties": self.ties / self.votes,
            **{name: None if share is None else share.to_json() for name, share in shares.items()},
            "flags": list(flags),
        }


def annotator_findings(figures: Sequence[AnnotatorFigures]) -> list[Finding]:
    """One finding for each trait that some annotators have."""
    return [_about(kind, named, figures) for kind, named in _flagged(figures).items() if named]


def annotator_rows(figures: Sequence[AnnotatorFigures]) -> list[dict[str, Any]]:
    """The table of annotators with what each is flagged for, most votes first."""
    flagged = _flagged(figures)
    return [
        one.to_json([kind for kind, named in flagged.items() if one in named])
        for one in sorted(figures, key=lambda one: -one.votes)[:MAX_TABLE]
    ]


def _flagged(figures: Sequence[AnnotatorFigures]) -> dict[str, list[AnnotatorFigures]]:
    return {kind: [one for one in figures if test(one, figures)] for kind, test in _TESTS.items()}


def annotator_figures(table: VoteTable) -> list[AnnotatorFigures]:
    """Figures of each annotator, in the table's order."""
    level = strict_level(table)
    took_majority, has_majority = _against_others(table)
    decided = table.took != TIE
    longer = table.longer[table.item]
    took_first, took_longer, clusters = table.took == table.first, table.took == longer, table.clusters

    def share(outcomes: Mask, members: Ints) -> Share | None:
        if not len(members):
            return None
        values, prompts = outcomes[members], clusters[members]
        interval, strict = (clustered_share(values, prompts, level=at) for at in (0.95, level))
        return Share(interval, strict, int(values.sum()), len(members))

    return [
        AnnotatorFigures(
            name,
            votes=len(own),
            ties=int((table.took[own] == TIE).sum()),
            agreement=share(took_majority, own[has_majority[own]]),
            first=share(took_first, own[decided[own] & (table.first[own] != UNKNOWN)]),
            longer=share(took_longer, own[decided[own] & (longer[own] != UNKNOWN)]),
        )
        for name, own in zip(table.annotators, _members(table), strict=True)
    ]


def strict_level(table: VoteTable) -> float:
    """The level of an interval that is to hold for each annotator and for all of them together: Bonferroni's."""
    return 1 - 0.05 / (len(table.annotators) + 1)


def _members(table: VoteTable) -> list[Ints]:
    """The places of each annotator's votes."""
    if not table.annotators:
        return []
    order = np.argsort(table.annotator, kind="stable")
    ends = np.cumsum(np.bincount(table.annotator, minlength=len(table.annotators)))
    return np.split(order, ends[:-1])


def _against_others(table: VoteTable) -> tuple[Mask, Mask]:
    """[V] whether a vote is what most of the item's other votes are, and whether they have one choice in front."""
    others = table.counts()[table.item]
    others[np.arange(len(table.item)), table.took] -= 1
    ranked = np.sort(others, axis=1)
    return others.argmax(1) == table.took, ranked[:, 2] > ranked[:, 1]


def _weak(one: AnnotatorFigures, figures: Sequence[AnnotatorFigures]) -> bool:
    return _stands_apart(one.agreement, [other.agreement for other in figures if other is not one], -1, WEAK)


def _one_sided(one: AnnotatorFigures, figures: Sequence[AnnotatorFigures]) -> bool:
    return _always(one.first)


def _length_bound(one: AnnotatorFigures, figures: Sequence[AnnotatorFigures]) -> bool:
    if one.longer is None or not _always(one.longer):
        return False
    direction = 1 if one.longer.interval.value > 0.5 else -1
    return _stands_apart(one.longer, [other.longer for other in figures if other is not one], direction, 0.0)


def _few(one: AnnotatorFigures, figures: Sequence[AnnotatorFigures]) -> bool:
    return one.votes < FEW_VOTES


def _always(share: Share | None) -> bool:
    return (
        share is not None
        and share.of >= FEW_VOTES
        and max(share.interval.value, 1 - share.interval.value) >= ALWAYS
    )


def _stands_apart(own: Share | None, others: Sequence[Share | None], direction: int, least: float) -> bool:
    """Whether a share lies above (direction 1) or below (-1) that of all others by `least`, and beyond chance.

    The others' interval counts at most one vote an item, which is careful where votes on one item depend on each other.
    """
    rest = [share for share in others if share is not None]
    if own is None or own.of < FEW_VOTES or not rest:
        return False
    total = sum(share.of for share in rest)
    pooled = sum(share.successes for share in rest) / total
    size = min(total, max(share.of for share in rest))
    apart = independent_difference(own.strict, wilson(pooled * size, size))
    lead = (apart.value, apart.low) if direction > 0 else (-apart.value, -apart.high)
    return lead[0] >= least and lead[1] > 0


_TESTS: Mapping[str, Callable[[AnnotatorFigures, Sequence[AnnotatorFigures]], bool]] = {
    "weak_annotator": _weak,
    "one_sided_annotator": _one_sided,
    "length_bound_annotator": _length_bound,
    "few_votes": _few,
}
_ABOUT: Mapping[str, tuple[Severity, str, str]] = {
    "weak_annotator": (
        "warning",
        "agrees with the others less than they do among themselves",
        "Read some of these votes against the guideline; train the annotator, or leave the votes out.",
    ),
    "one_sided_annotator": (
        "warning",
        "takes the same position in almost every vote",
        "Leave these votes out: they say nothing of the replies.",
    ),
    "length_bound_annotator": (
        "warning",
        "goes by length alone in almost every vote, unlike the others",
        "Read some of these votes where the other choice was better; leave them out if length decided.",
    ),
    "few_votes": (
        "note",
        f"has fewer than {FEW_VOTES} votes, too few to be judged",
        "Nothing: such annotators are not tested one by one.",
    ),
}


def _about(kind: str, named: Sequence[AnnotatorFigures], figures: Sequence[AnnotatorFigures]) -> Finding:
    severity, words, action = _ABOUT[kind]
    names = ", ".join(f"{one.name}{_shown(kind, one)}" for one in named[:5])
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return Finding(
        kind,
        severity,
        f"{len(named)} of {len(figures)} annotators: {words} ({names}{more}).",
        action,
        count=len(named),
        of=len(figures),
        unit="annotators",
        figures={"annotators": [one.name for one in named]},
    )


def _shown(kind: str, one: AnnotatorFigures) -> str:
    share = {
        "weak_annotator": one.agreement,
        "one_sided_annotator": one.first,
        "length_bound_annotator": one.longer,
    }.get(kind)
    if share is None:
        return f" {one.votes}" if kind == "few_votes" else ""
    what = {"weak_annotator": "", "one_sided_annotator": " first", "length_bound_annotator": " longer"}[kind]
    return f" {100 * share.interval.value:.0f} %{what}"
