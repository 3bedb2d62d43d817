"""From findings to a verdict (fit, fit with repairs, not fit) and to which method suits, by one table of limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simpo.audit.findings import Finding, Repair
from simpo.audit.kinds import percent
from simpo.data.reasons import NO_PAIR, REASONS

Fit = Literal["fit", "repair", "unfit"]
MAX_REASONS = 8


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure at which the verdict or the advice changes, and why there."""

    value: float
    why: str


LIMITS: Mapping[str, Limit] = {
    "min_pairs": Limit(
        100,
        "with fewer pairs the 95 % interval of an accuracy spans 20 points: no result could be told from chance",
    ),
    "max_broken": Limit(
        0.2, "where more than a fifth of the rows cannot be read, the columns are not what they are taken for"
    ),
    "max_dropped": Limit(
        0.5,
        "where repairs drop more than half of the pairs, what is left is another data set than was collected",
    ),
    "few_prompts": Limit(
        1000,
        "published runs use tens of thousands of prompts; below 1,000 a model learns them by heart",
    ),
    "small_gold_set": Limit(
        2000, "with few pairs a reference keeps the model near its start where the data says nothing"
    ),
    "verifiable": Limit(0.5, "a check as reward pays where it covers most of the prompts"),
}


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


@dataclass(frozen=True, slots=True)
class Method:
    """Whether a way of training suits the data (None: the data cannot tell), with the figure that says so."""

    method: str
    suits: bool | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The advice as audit.json has it."""
        return {"method": self.method, "suits": self.suits, "reason": self.reason}


def judge(findings: Sequence[Finding], pairs: int, prompts: int, rows_read: int) -> Verdict:
    """The verdict on `pairs` whole pairs of `prompts` prompts, of `rows_read` rows; findings in their order.

    Not fit: too few pairs, too many broken rows, an error that no repair mends, or repairs that drop too much. Fit with
    repairs: an error or a warning that a repair mends. Fit otherwise.
    """
    serious = [finding for finding in findings if finding.severity != "note"]
    repairs = tuple(
        (finding.kind, finding.repair, finding.count) for finding in serious if finding.repair is not None
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
    return Verdict("fit", f"Fit to train on: {pairs:,} pairs of {prompts:,} prompts.", reasons, ())


def _against(serious: Sequence[Finding], pairs: int, rows_read: int) -> list[str]:
    found = []
    if pairs < LIMITS["min_pairs"].value:
        found.append(f"{pairs:,} whole pairs; {LIMITS['min_pairs'].why}.")
    broken = sum(
        finding.count
        for finding in serious
        if finding.unit == "rows" and finding.kind in REASONS.keys() - NO_PAIR
    )
    if rows_read and broken > LIMITS["max_broken"].value * rows_read:
        found.append(f"{percent(broken / rows_read)} of the rows cannot be used; {LIMITS['max_broken'].why}.")
    found += [finding.title for finding in serious if finding.severity == "error" and finding.repair is None]
    dropped = len({int(row) for finding in serious if finding.repair == "drop" for row in finding.rows})
    if pairs and dropped > LIMITS["max_dropped"].value * pairs:
        found.append(
            f"The repairs drop {percent(dropped / pairs)} of the pairs; {LIMITS['max_dropped'].why}."
        )
    return found


def _lowered(sentence: str) -> str:
    return (
        sentence[:1].lower() + sentence[1:]
        if sentence[:2].istitle() or sentence.startswith("In ")
        else sentence
    )


def suited(findings: Sequence[Finding], pairs: int, prompts: int) -> tuple[Method, ...]:
    """Which way of training suits, each with its reason in one line."""
    by_kind = {finding.kind: finding for finding in findings}
    few = prompts < LIMITS["few_prompts"].value
    gold = pairs < LIMITS["small_gold_set"].value
    verifiable = by_kind.get("verifiable_answers")
    share = verifiable.share if verifiable else 0.0
    return (
        Method(
            "simpo",
            True,
            "Pairs are all it needs: no reference model, and its reward does not grow with length.",
        ),
        Method(
            "dpo",
            True if gold else None,
            f"{pairs:,} pairs: {LIMITS['small_gold_set'].why}."
            if gold
            else f"{pairs:,} pairs: take it where drift from the reference must be kept small, which no data can tell.",
        ),
        Method(
            "dpo-norm",
            None,
            "Length-normalised as SimPO is, with a reference to hold it: compare the two on the same pairs.",
        ),
        Method(
            "collect more",
            few,
            f"{prompts:,} prompts: {LIMITS['few_prompts'].why}."
            if few
            else f"{prompts:,} prompts are enough to begin with.",
        ),
        Method(
            "rollouts (GRPO)",
            share >= LIMITS["verifiable"].value,
            f"A program could check the answer in {percent(share)} of the pairs.",
        ),
        Method(
            "RLHF",
            None,
            "Needs a reward model whose scores are calibrated; pairs alone do not tell whether one is.",
        ),
    )
