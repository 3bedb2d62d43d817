"""Preferences that cannot all be true: two answers ranked both ways, answers that beat each other in a circle."""

from __future__ import annotations

import numpy as np

from simpo.audit.copies.compared import Columns, Compared
from simpo.audit.copies.minhash import I64
from simpo.audit.findings import MAX_EXAMPLES, Finding, Rows, Witness
from simpo.audit.words import counted, part_of

MANY_CONTRADICTIONS = 0.01  # share of the pairs from which contradictions are an error
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def conflicts(compared: Compared, columns: Columns) -> list[Finding]:
    """Contradictions, circles of three answers or more, and answers that are both chosen and rejected."""
    better, worse = columns.answers()
    rival = _rivals(better, worse)
    return [
        *_contradictions(compared, better, worse, rival),
        *_cycles(compared, better, worse, rival < 0),
        *_both_sides(compared, columns, better, worse),
    ]


def _codes(better: I64, worse: I64) -> tuple[I64, I64]:
    """[N] a number of each row's preference, and of the opposite one."""
    size = int(max(better.max(initial=0), worse.max(initial=0))) + 1
    return better * size + worse, worse * size + better


def _rivals(better: I64, worse: I64) -> I64:
    """[N] for each row the first row that says the opposite, or -1."""
    codes, opposite = _codes(better, worse)
    distinct, first = np.unique(codes, return_index=True)
    at = np.minimum(np.searchsorted(distinct, opposite), len(distinct) - 1)
    there = (distinct[at] == opposite) & (better != worse)
    return np.where(there, first[at], -1).astype(np.int64)


def _votes(better: I64, worse: I64) -> tuple[I64, I64]:
    """[N] how many rows say what this row says, and how many the opposite."""
    codes, opposite = _codes(better, worse)
    distinct, group, counts = np.unique(codes, return_inverse=True, return_counts=True)
    at = np.minimum(np.searchsorted(distinct, opposite), len(distinct) - 1)
    against = np.where(distinct[at] == opposite, counts[at], 0)
    return counts[group.reshape(-1)].astype(np.int64), against.astype(np.int64)


def _contradictions(compared: Compared, better: I64, worse: I64, rival: I64) -> list[Finding]:
    said, against = _votes(better, worse)
    disputed = rival >= 0
    rows = np.flatnonzero(disputed & (said <= against))
    if len(rows) == 0:
        return []
    of = len(rival)
    low, high = np.minimum(better, worse)[disputed], np.maximum(better, worse)[disputed]
    share = len(rows) / of
    return [
        Finding(
            "contradiction",
            "error" if share >= MANY_CONTRADICTIONS else "warning",
            f"{part_of(len(rows), of, 'pairs')} contradicted: the same two answers to the same "
            "prompt are ranked the other way as often or more often.",
            "Drop them, or have them judged again: of two opposite labels one is wrong, and their gradients cancel.",
            len(rows),
            of,
            examples=compared.witnesses(rows, rival[rows], "the other answer is chosen there"),
            rows=rows,
            repair="drop",
            figures={
                "answer_pairs": len(np.unique(low * (int(high.max()) + 1) + high)),
                "tied": int((said[rows] == against[rows]).sum()),
                "outvoted": int((said[rows] < against[rows]).sum()),
            },
        )
    ]


def _cycles(compared: Compared, better: I64, worse: I64, undisputed: Mask) -> list[Finding]:
    """Strongly connected components of three answers or more, in the graph without contradicted preferences."""
    rows = _peeled(better, worse, np.flatnonzero(undisputed & (better != worse)))
    if len(rows) == 0:
        return []
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    answers, ends = np.unique(np.concatenate([better[rows], worse[rows]]), return_inverse=True)
    winners, losers = ends.reshape(2, -1)
    graph = coo_array((np.ones(len(rows), np.int8), (winners, losers)), shape=(len(answers), len(answers)))
    component = connected_components(graph, directed=True, connection="strong")[1]
    inside = component[winners] == component[losers]
    rows, circle = rows[inside], component[winners][inside]
    if len(rows) == 0:
        return []
    sizes = np.bincount(component)
    of = len(better)
    circles = len(np.unique(circle))
    return [
        Finding(
            "preference_cycle",
            "warning",
            f"{part_of(len(rows), of, 'pairs')} in {counted(circles, 'circles')} of answers to one prompt, each "
            "preferred to the next.",
            "Look at them: at least one label of each circle is wrong, or the answers are as good as each other.",
            len(rows),
            of,
            examples=_circle_examples(compared, better, worse, rows, circle, sizes),
            rows=rows,
            figures={"cycles": circles, "largest": int(sizes[np.unique(circle)].max())},
        )
    ]


def _peeled(better: I64, worse: I64, rows: I64) -> I64:
    """The rows that are left when answers that never win, or never lose, are taken away again and again."""
    while len(rows):
        kept = np.isin(better[rows], worse[rows]) & np.isin(worse[rows], better[rows])
        if kept.all():
            break
        rows = rows[kept]
    return rows


def _circle_examples(
    compared: Compared, better: I64, worse: I64, rows: Rows, circle: I64, sizes: I64
) -> tuple[Witness, ...]:
    """One pair of each of the first circles, beside the pair that goes on from its worse answer."""
    examples = []
    for first in np.sort(np.unique(circle, return_index=True)[1])[:MAX_EXAMPLES].tolist():
        row = int(rows[first])
        following = int(rows[np.flatnonzero((better[rows] == worse[row]) & (circle == circle[first]))[0]])
        detail = (
            f"one of {sizes[circle[first]]} answers, each preferred to the next; rejected here, chosen there"
        )
        examples.append(compared.witness(row, detail, following))
    return tuple(examples)


def _both_sides(compared: Compared, columns: Columns, better: I64, worse: I64) -> list[Finding]:
    """Answers chosen in one pair and rejected in another: what a ranking gives, and no fault by itself."""
    both = np.intersect1d(better, worse)
    if len(both) == 0:
        return []
    answers = len(np.union1d(better, worse))
    rows = np.flatnonzero(np.isin(better, both))
    first_rejected = dict(zip(*np.unique(worse, return_index=True), strict=True))
    others = np.array([first_rejected[answer] for answer in better[rows[:MAX_EXAMPLES]]], dtype=np.int64)
    return [
        Finding(
            "chosen_and_rejected",
            "note",
            f"{part_of(len(both), answers, 'answers')} chosen in one pair and "
            "rejected in another of the same prompt.",
            "Nothing, where answers were ranked; where they were not, look whether the labels agree.",
            len(both),
            answers,
            "answers",
            examples=compared.witnesses(rows[:MAX_EXAMPLES], others, "chosen here, rejected there"),
            figures={"texts_whatever_the_prompt": len(np.intersect1d(columns.chosen, columns.rejected))},
        )
    ]
