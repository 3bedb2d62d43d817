"""From findings to a verdict: fit to train on, fit with the listed repairs, or not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simpo.audit.findings import Finding, Repair
from simpo.audit.kinds import percent
from simpo.audit.limits import LIMITS
from simpo.data.reasons import NO_PAIR, REASONS

Fit = Literal["fit", "repair", "unfit"]
MAX_REASONS = 8
# A repair that needs somebody to read each row first: a build makes it only where it is named.
JUDGEMENTS = frozenset({"suspected_flip"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the data is fit to train on, why, and which repairs make it so; against: what no repair mends."""

    fit: Fit
    title: str
    reasons: tuple[str, ...]
    repairs: tuple[tuple[str, Repair, int], ...]
    against: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as audit.json has it."""
        return {
            "fit": self.fit,
            "title": self.title,
            "reasons": list(self.reasons),
            "repairs": [
                {"kind": kind, "repair": repair, "count": count} for kind, repair, count in self.repairs
            ],
        }


def judge(findings: Sequence[Finding], pairs: int, prompts: int, rows_read: int) -> Verdict:
    """The verdict on `pairs` whole pairs of `prompts` prompts, of `rows_read` rows; findings in their order.

    Not fit: too few pairs, too many broken rows, an error that no repair mends, or repairs that drop too much. Fit with
    repairs: an error or a warning that a repair mends. Fit otherwise.
    """
    serious = [finding for finding in findings if finding.severity != "note"]
    repairs = tuple(
        (finding.kind, finding.repair, finding.count)
        for finding in serious
        if finding.repair is not None and finding.kind not in JUDGEMENTS
    )
    against = _against(serious, pairs, rows_read)
    reasons = tuple(dict.fromkeys([*against, *(finding.title for finding in serious)]))[:MAX_REASONS]
    if against:
        return Verdict(
            "unfit", f"Not fit to train on: {_lowered(against[0])}", reasons, repairs, tuple(against)
        )
    if repairs:
        count = f"{len(repairs)} repair{'s are' if len(repairs) > 1 else ' is'}"
        return Verdict("repair", f"Fit to train on once {count} made.", reasons, repairs)
    look = f"; look at {len(serious)} warning{'s' * (len(serious) > 1)} first" if serious else ""
    return Verdict("fit", f"Fit to train on: {pairs:,} pairs of {prompts:,} prompts{look}.", reasons, ())


def _against(serious: Sequence[Finding], pairs: int, rows_read: int) -> list[str]:
    found = []
    if pairs < LIMITS["min_pairs"].value:
        found.append(f"{pairs:,} whole pair{'' if pairs == 1 else 's'}; {LIMITS['min_pairs'].why}.")
    broken = sum(
        finding.count
        for finding in serious
        if finding.unit == "rows" and finding.kind in REASONS.keys() - NO_PAIR
    )
    if rows_read and broken > LIMITS["max_broken"].value * rows_read:
        found.append(f"{percent(broken / rows_read)} of the rows cannot be used; {LIMITS['max_broken'].why}.")
    found += [finding.title for finding in serious if finding.severity == "error" and finding.repair is None]
    dropped = len({int(row) for finding in serious if _drops(finding) for row in finding.rows})
    if pairs and dropped > LIMITS["max_dropped"].value * pairs:
        found.append(
            f"The repairs drop {percent(dropped / pairs)} of the pairs; {LIMITS['max_dropped'].why}."
        )
    return found


def _drops(finding: Finding) -> bool:
    return finding.repair == "drop" and finding.kind not in JUDGEMENTS


def _lowered(sentence: str) -> str:
    return (
        sentence[:1].lower() + sentence[1:]
        if sentence[:2].istitle() or sentence.startswith("In ")
        else sentence
    )
