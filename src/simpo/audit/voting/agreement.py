"""How far the annotators agree with each other beyond chance, and how clear their majorities are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from simpo.audit.findings import Finding
from simpo.audit.voting.annotators import AnnotatorFigures, annotator_findings, annotator_rows
from simpo.audit.voting.votes import UNKNOWN, Ints, VoteTable
from simpo.core.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from simpo.core.intervals import Interval

LOW_ALPHA = 0.4  # about where one vote in five is wrong
TENTATIVE_ALPHA, RELIABLE_ALPHA = 0.667, 0.8  # Krippendorff's own bars, which preferences seldom reach
MAX_PAIRWISE = 10  # annotators whose kappas are computed pair by pair


def agreement_findings(table: VoteTable, annotators: Sequence[AnnotatorFigures]) -> list[Finding]:
    """What the votes say of the labels and of the annotators, whose figures are of the same table; ties count as votes.

    Counted are the votes on pairs and on the ties among the rows that were left out, by item. Nothing where there are
    none.
    """
    if table.num_items == 0:
        return []
    return [_overall(table, annotator_rows(annotators)), *annotator_findings(annotators)]


def _overall(table: VoteTable, rows: list[dict[str, Any]]) -> Finding:
    counts = table.counts()
    votes = counts.sum(1)
    paired = votes >= 2
    alpha = krippendorff_alpha(counts, table.prompt)
    contested = int((paired & (counts.max(1) < votes)).sum())
    figures = {
        "num_votes": len(table.item),
        "num_items": table.num_items,
        "num_items_with_two": int(paired.sum()),
        "num_ties_left_out": int((table.pair == UNKNOWN).sum()),
        "num_unread": table.num_unread,
        "alpha": alpha.to_json() if not math.isnan(alpha.value) else None,
        "kappa": _kappa(table, counts),
        "pairwise": _pairwise(table),
        "margins": _margins(counts[paired]),
        "annotators": rows,
        "num_annotators": len(table.annotators),
    }
    return Finding(
        "agreement",
        "warning" if alpha.value < LOW_ALPHA else "note",
        _overall_title(table, alpha, int(paired.sum())),
        _overall_action(alpha),
        count=contested,
        of=int(paired.sum()),
        unit="items",
        figures=figures,
    )


def _overall_title(table: VoteTable, alpha: Interval, num_paired: int) -> str:
    who = f"{len(table.annotators):,} annotator{'s' * (len(table.annotators) > 1)}"
    if num_paired == 0:
        return f"{who} voted on {table.num_items:,} items, none of them twice: agreement cannot be measured."
    if math.isnan(alpha.value):
        return f"{who}: all votes on the {num_paired:,} items with several votes are the same choice."
    span = "" if math.isnan(alpha.low) else f" ({alpha.low:.2f} to {alpha.high:.2f})"
    return f"{who} agree with Krippendorff's alpha {alpha.value:.2f}{span} on {num_paired:,} items with several votes."


def _overall_action(alpha: Interval) -> str:
    if math.isnan(alpha.value):
        return "Have some items judged by two annotators: without it nobody knows how far a label can be trusted."
    if alpha.value < LOW_ALPHA:
        return "Sharpen the guideline, collect a third vote where two disagree, and prefer pairs with a clear majority."
    if alpha.value < TENTATIVE_ALPHA:
        return "Usual for preferences, below the 0.667 that Krippendorff asks for: prefer pairs with a clear majority."
    if alpha.value < RELIABLE_ALPHA:
        return "Good for preferences: a third vote where two disagree would still help."
    return "Nothing: the labels are as reliable as agreement can show."


def _kappa(table: VoteTable, counts: Ints) -> dict[str, Any] | None:
    """Cohen's kappa for two annotators; for more Fleiss', over the items with the commonest number of votes."""
    if len(table.annotators) < 2:
        return None
    if len(table.annotators) == 2:
        found = _cohen(table, 0, 1)
        return None if found is None else {"name": "Cohen", **found}
    votes = counts.sum(1)
    if votes.max() < 2:
        return None
    usual = int(np.bincount(votes[votes >= 2]).argmax())
    same = votes == usual
    kappa = fleiss_kappa(counts[same], table.prompt[same])
    if math.isnan(kappa.value):
        return None
    return {"name": "Fleiss", "votes_each": usual, "of": int(same.sum()), **kappa.to_json()}


def _cohen(table: VoteTable, first: int, second: int) -> dict[str, Any] | None:
    mine, theirs = (_by_item(table, annotator) for annotator in (first, second))
    both = (mine != UNKNOWN) & (theirs != UNKNOWN)
    if not both.any():
        return None
    kappa = cohen_kappa(mine[both], theirs[both], 3, table.prompt[both])
    equal = float((mine[both] == theirs[both]).mean())
    value = {"value": None, "low": None, "high": None} if math.isnan(kappa.value) else kappa.to_json()
    return {"of": int(both.sum()), "equal": equal, **value}


def _by_item(table: VoteTable, annotator: int) -> Ints:
    """[M] what an annotator took, his first vote where he has several, UNKNOWN where he has none."""
    own = np.flatnonzero(table.annotator == annotator)[::-1]
    took = np.full(table.num_items, UNKNOWN)
    took[table.item[own]] = table.took[own]
    return took


def _pairwise(table: VoteTable) -> list[dict[str, Any]]:
    """Cohen's kappa of each two of the annotators with most votes."""
    votes = np.bincount(table.annotator, minlength=len(table.annotators))
    largest = sorted(np.argsort(-votes, kind="stable")[:MAX_PAIRWISE].tolist())
    found = []
    for first, second in combinations(largest, 2):
        kappa = _cohen(table, first, second)
        if kappa is not None:
            found.append({"first": table.annotators[first], "second": table.annotators[second], **kappa})
    return found


def _margins(counts: Ints) -> list[dict[str, Any]]:
    """How clear the majorities are: items by |votes for A - votes for B| / votes, from unanimous to split."""
    if not len(counts):
        return []
    margins = np.abs(counts[:, 0] - counts[:, 1]) / counts.sum(1)
    values, sizes = np.unique(np.round(margins, 3), return_counts=True)
    return [
        {"margin": float(value), "items": int(size), "share": float(size / len(counts))}
        for value, size in zip(values[::-1], sizes[::-1], strict=True)
    ]
