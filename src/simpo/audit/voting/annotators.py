"""Each annotator against the others: who agrees less, who takes one side, who goes by length, who voted too little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import Finding, Severity
from simpo.audit.voting.votes import TIE, UNKNOWN, Ints, VoteTable
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
    agreement, longer = (_Pool.of_all([getter(one) for one in figures]) for getter in (_agreement, _longer))
    tests: dict[str, Callable[[AnnotatorFigures], bool]] = {
        "weak_annotator": lambda one: _stands_apart(one.agreement, agreement, -1, WEAK),
        "one_sided_annotator": lambda one: _always(one.first),
        "length_bound_annotator": lambda one: _length_bound(one.longer, longer),
        "few_votes": lambda one: one.votes < FEW_VOTES,
    }
    return {kind: [one for one in figures if test(one)] for kind, test in tests.items()}


def _agreement(one: AnnotatorFigures) -> Share | None:
    return one.agreement


def _longer(one: AnnotatorFigures) -> Share | None:
    return one.longer


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


@dataclass(frozen=True, slots=True)
class _Pool:
    """A share over all annotators: successes of votes, and the most votes of one annotator."""

    successes: int
    of: int
    largest: int

    @classmethod
    def of_all(cls, shares: Sequence[Share | None]) -> _Pool:
        known = [share for share in shares if share is not None]
        return cls(
            sum(share.successes for share in known),
            sum(share.of for share in known),
            max((share.of for share in known), default=0),
        )

    def without(self, own: Share) -> Interval | None:
        """The share of all others; None where there are none.

        It counts at most as many votes as one annotator has, which is careful: votes on one item depend on each other.
        """
        of = self.of - own.of
        if of <= 0:
            return None
        size = min(of, self.largest)
        return wilson((self.successes - own.successes) / of * size, size)


def _always(share: Share | None) -> bool:
    if share is None or share.of < FEW_VOTES:
        return False
    return max(share.interval.value, 1 - share.interval.value) >= ALWAYS


def _length_bound(own: Share | None, pool: _Pool) -> bool:
    if own is None or not _always(own):
        return False
    return _stands_apart(own, pool, 1 if own.interval.value > 0.5 else -1, 0.0)


def _stands_apart(own: Share | None, pool: _Pool, direction: int, least: float) -> bool:
    """Whether a share lies above (direction 1) or below (-1) that of all others by `least`, and beyond chance."""
    rest = None if own is None or own.of < FEW_VOTES else pool.without(own)
    if own is None or rest is None:
        return False
    apart = independent_difference(own.strict, rest)
    lead = (apart.value, apart.low) if direction > 0 else (-apart.value, -apart.high)
    return lead[0] >= least and lead[1] > 0


@dataclass(frozen=True, slots=True)
class _Trait:
    """How a trait is told: of one annotator, of several, which share shows it, and what to do."""

    severity: Severity
    one: str
    several: str
    shown: Callable[[AnnotatorFigures], Share | None]
    action: str


_TRAITS: Mapping[str, _Trait] = {
    "weak_annotator": _Trait(
        "warning",
        "agrees less with the others than these do among themselves",
        "agree less with the others than these do among themselves",
        _agreement,
        "Read some of these votes against the guideline; train the annotator, or leave the votes out.",
    ),
    "one_sided_annotator": _Trait(
        "warning",
        "takes the same position in almost every vote (share of the first)",
        "take the same position in almost every vote (share of the first)",
        lambda one: one.first,
        "Leave these votes out: they say nothing of the replies.",
    ),
    "length_bound_annotator": _Trait(
        "warning",
        "goes by length in almost every vote, unlike the others (share of the longer)",
        "go by length in almost every vote, unlike the others (share of the longer)",
        _longer,
        "Read some of these votes where the other choice was better; leave them out if length decided.",
    ),
    "few_votes": _Trait(
        "note",
        f"has fewer than {FEW_VOTES} votes, too few to be judged",
        f"have fewer than {FEW_VOTES} votes, too few to be judged",
        lambda one: None,
        "Nothing: such annotators are not tested one by one.",
    ),
}


def _about(kind: str, named: Sequence[AnnotatorFigures], figures: Sequence[AnnotatorFigures]) -> Finding:
    trait = _TRAITS[kind]
    words = trait.one if len(named) == 1 else trait.several
    listed = ", ".join(f"{one.name}{_percent(trait.shown(one))}" for one in named[:5])
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return Finding(
        kind,
        trait.severity,
        f"{len(named):,} of {len(figures):,} annotators {words}: {listed}{more}.",
        trait.action,
        count=len(named),
        of=len(figures),
        unit="annotators",
        figures={"annotators": [one.name for one in named]},
    )


def _percent(share: Share | None) -> str:
    return "" if share is None else f" {100 * share.interval.value:.0f} %"
