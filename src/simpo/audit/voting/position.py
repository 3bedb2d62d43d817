"""Position bias: how often the reply that was shown first wins, and verdicts that turn when the order is swapped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import Finding
from simpo.audit.voting.annotators import AnnotatorFigures, Share, strict_level
from simpo.audit.voting.votes import TIE, UNKNOWN, A, VoteTable
from simpo.core.clustered import clustered_share, dense
from simpo.core.intervals import Interval

SLIGHT = 0.02  # distance from one half within which a bias, though beyond chance, is not worth a word
CLEAR = 0.05  # from here on it is a warning
MANY_TURNED = 0.1  # share of verdicts that turn with the order, from where on it is a warning

Mask = npt.NDArray[np.bool_]


def position_findings(table: VoteTable, annotators: Sequence[AnnotatorFigures]) -> list[Finding]:
    """Findings about the order in which replies were shown; nothing where no vote says it.

    Counted are decided votes (ties aside) whose order is known; one with `"order": "unknown"` never is. annotators:
    of the same table.
    """
    ordered = (table.took != TIE) & (table.first != UNKNOWN)
    return [_first_shown(table, ordered, annotators), *_turned(table)] if ordered.any() else []


def _first_shown(table: VoteTable, ordered: Mask, annotators: Sequence[AnnotatorFigures]) -> Finding:
    wins, prompts = (table.took == table.first)[ordered], table.clusters[ordered]
    share, strict = (clustered_share(wins, prompts, level=at) for at in (0.95, strict_level(table)))
    overall = Share(share, strict, int(wins.sum()), len(wins))
    biased = [one for one in annotators if one.first is not None and _beyond_chance(one.first)]
    named = ", ".join(f"{one.name} {_percent(one.first)}" for one in biased[:5])
    more = f" and {len(biased) - 5} more" if len(biased) > 5 else ""
    concerned = [one.first for one in biased] + [overall] * _beyond_chance(overall)
    within = _within_items(table, ordered)
    return Finding(
        "position_bias",
        "warning" if any(found and _distance(found) >= CLEAR for found in concerned) else "note",
        f"The reply shown first wins {_percent(overall)} of {len(wins):,} decided votes ({_span(share)})"
        + (f"; beyond chance by annotator: {named}{more}." if biased else "."),
        _action(bool(concerned), within),
        count=overall.successes,
        of=overall.of,
        unit="votes",
        figures={
            "first": share.to_json(),
            "beyond_chance": _beyond_chance(overall),
            "within_items": None if within is None else within.to_json(),
            "annotators": [
                {"annotator": one.name, **one.first.to_json(), "beyond_chance": one in biased}
                for one in annotators
                if one.first is not None
            ],
        },
    )


def _beyond_chance(share: Share) -> bool:
    return _distance(share) >= SLIGHT and not share.strict.low <= 0.5 <= share.strict.high


def _distance(share: Share) -> float:
    return abs(share.interval.value - 0.5)


def _percent(share: Share | None) -> str:
    return "" if share is None else f"{100 * share.interval.value:.1f} %"


def _span(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _action(biased: bool, within: Interval | None) -> str:
    if not biased:
        return "Nothing: the order shows no effect beyond chance."
    if within is None:
        return (
            "No item was shown in both orders: if the order was drawn at random, show each pair in both; if one source "
            "always stood first, this may be its quality."
        )
    return "Show each pair in both orders, and keep the verdicts that stay."


def _within_items(table: VoteTable, ordered: Mask) -> Interval | None:
    """How often the first reply wins among items whose votes saw both orders, each item and order weighing the same.

    There the quality of the replies cancels, whatever decided which one stood first; None where there is no such item.
    """
    items, first_is_a = table.item[ordered], table.first[ordered] == A
    wins = (table.took == table.first)[ordered]
    rates = []
    for mask in (first_is_a, ~first_is_a):
        votes = np.bincount(items[mask], minlength=table.num_items)
        won = np.bincount(items[mask], weights=wins[mask], minlength=table.num_items)
        rates.append(np.where(votes > 0, won / np.maximum(votes, 1), np.nan))
    both = ~np.isnan(rates[0] + rates[1])
    if not both.any():
        return None
    return clustered_share(((rates[0] + rates[1]) / 2)[both], table.prompt[both])


def _turned(table: VoteTable) -> list[Finding]:
    """The pairs that one annotator judged in both orders, and how the two verdicts compare."""
    known = np.flatnonzero((table.first != UNKNOWN) & (table.key[table.item] != 0))
    items = table.item[known]
    # Of rows with the same two replies A may be either: name the reply by the order of the texts.
    swapped = ~table.a_low[items]
    first_low = (table.first[known] == A) != swapped
    took = table.took[known]
    low = np.where(took == TIE, TIE, (took == A) == swapped)  # 0 for the reply that comes first in that order
    # A pair and an annotator as one number: the odd factor spreads the annotators over 64 bits.
    judged = table.key[items] ^ (table.annotator[known].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    groups = dense(judged)
    verdicts = []
    for mask in (first_low, ~first_low):
        verdict = np.full(int(groups.max()) + 1 if len(groups) else 0, UNKNOWN)
        verdict[groups[mask][::-1]] = low[mask][::-1]  # the first such verdict stands
        verdicts.append(verdict)
    both = (verdicts[0] != UNKNOWN) & (verdicts[1] != UNKNOWN)
    if not both.any():
        return []
    one, other = verdicts[0][both], verdicts[1][both]
    decided = (one != TIE) & (other != TIE)
    turned = decided & (one != other)
    prompts = np.zeros(len(both), np.uint64)
    prompts[groups] = table.prompt[items]
    share = clustered_share(turned, prompts[both])
    return [
        Finding(
            "order_turns_verdict",
            "warning" if share.value >= MANY_TURNED and int(turned.sum()) >= 5 else "note",
            f"{int(turned.sum()):,} of {len(one):,} verdicts turn when the same annotator sees the same two replies in "
            "the other order.",
            "Judge each pair in both orders and keep what stays; count the rest as ties."
            if turned.any()
            else "Nothing.",
            count=int(turned.sum()),
            of=len(one),
            unit="verdicts",
            figures={
                "turned": share.to_json(),
                # In the first order the low reply stood first: it won there, so whoever stood first won both times.
                "first_both_times": int((turned & (one == 0)).sum()),
                "second_both_times": int((turned & (one == 1)).sum()),
                "same": int((decided & (one == other)).sum()),
                "with_a_tie": int((~decided).sum()),
            },
        )
    ]
