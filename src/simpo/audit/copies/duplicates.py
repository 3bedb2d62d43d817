"""Pairs that come twice: word for word, after normalising, or nearly so; and prompts that ask nearly the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simpo.audit.copies.compared import Columns, Compared
from simpo.audit.copies.groups import Groups, Refused, first_of_group
from simpo.audit.copies.minhash import (
    I64,
    NEAR,
    PERMUTATIONS,
    U32,
    candidates,
    overlap,
    shingle_set,
    signatures,
)
from simpo.audit.copies.prompts import Prompts
from simpo.audit.findings import MAX_EXAMPLES, Finding, Rows
from simpo.audit.kinds import percent
from simpo.audit.words import counted, part_of

# What makes two pairs nearly the same, so that one is dropped: a typing error moves a prompt, which is often short,
# further than an answer; and of two answers to one prompt, what differs may be what the label is about.
NEAR_PROMPT, NEAR_COMPLETION = 0.6, 0.8
# Which texts are compared depends on the others: where copies were dropped, a few that were not seen before may be.
FEW = 0.001
_SIGNED_AT_ONCE = 4096
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Alike:
    """Two pairs, by their rows (one < other), that are nearly the same, or the same but for their sides.

    prompt, first, second: Jaccard's index of the prompts, and of the completions that correspond.
    """

    one: int
    other: int
    swapped: bool
    prompt: float
    first: float
    second: float


def repeated(compared: Compared, columns: Columns) -> list[Finding]:
    """Exact duplicates, and pairs that are the same after normalising but not word for word."""
    exact = _before(columns.id)
    same = _before(columns.pair_key)
    numbers = np.arange(len(columns))
    copies = np.flatnonzero(exact < numbers)
    alike = np.flatnonzero((same < numbers) & (exact == numbers))
    of = len(columns)
    findings = []
    if len(copies):
        findings.append(
            Finding(
                "exact_duplicate",
                "warning",
                f"{part_of(len(copies), of, 'pairs')} a copy, word for word, of an earlier pair.",
                "Drop the copies: they weigh a judgement twice, and count as a test where they cross a split.",
                len(copies),
                of,
                examples=compared.witnesses(copies, exact[copies], "word for word the same pair"),
                rows=copies,
                repair="drop",
                figures={"largest": int(np.bincount(exact).max())},
            )
        )
    if len(alike):
        findings.append(
            Finding(
                "normalised_duplicate",
                "warning",
                f"{part_of(len(alike), of, 'pairs')} an earlier pair again but for case, "
                "white space or the form of characters.",
                "Drop the later ones.",
                len(alike),
                of,
                examples=compared.witnesses(alike, same[alike], "the same pair after normalising"),
                rows=alike,
                repair="drop",
            )
        )
    return findings


def _before(keys: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> I64:
    """[N] for each row the first row with its key."""
    return first_of_group(np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64))


def near_duplicates(compared: Compared, columns: Columns, coarse: Groups) -> list[Finding]:
    """Pairs nearly the same as an earlier one, and pairs nearly the same as another with its sides exchanged.

    coarse: groups of prompts outside of which no two are nearly equal, as `Prompts.near` gives them.
    """
    groups = Groups(len(columns))
    partner: dict[int, Alike] = {}
    against: dict[int, Alike] = {}
    for found in _alike(compared, columns, coarse, groups):
        if found.swapped:
            against.setdefault(found.one, found)
            against.setdefault(found.other, found)
        else:
            partner.setdefault(found.other, found)
            partner.setdefault(found.one, found)
    rows = np.flatnonzero(first_of_group(groups.labels) < np.arange(len(columns)))
    findings = []
    if len(rows):
        findings.append(_near_duplicate(compared, rows, partner, groups))
    if against:
        findings.append(_near_contradiction(compared, against))
    return findings


def _near_duplicate(compared: Compared, rows: Rows, partner: dict[int, Alike], groups: Groups) -> Finding:
    of = len(compared)
    examples = []
    for row in rows[:MAX_EXAMPLES].tolist():
        found = partner[row]
        alike = [percent(share) for share in (found.prompt, found.first, found.second)]
        detail = f"alike: prompt {alike[0]}, chosen {alike[1]}, rejected {alike[2]}"
        examples.append(compared.witness(row, detail, found.one if row == found.other else found.other))
    return Finding(
        "near_duplicate",
        "warning" if len(rows) >= FEW * of else "note",
        f"{part_of(len(rows), of, 'pairs')} nearly the same as another: prompt and both completions.",
        "Drop all but the first of each group; never let a group cross a split.",
        len(rows),
        of,
        examples=tuple(examples),
        rows=rows,
        repair="drop",
        figures={"threshold": NEAR_COMPLETION, "largest": int(groups.sizes().max())},
    )


def _near_contradiction(compared: Compared, against: dict[int, Alike]) -> Finding:
    rows = np.array(sorted(against), dtype=np.int64)
    of = len(compared)
    examples = []
    for row in [row for row in rows.tolist() if against[row].other == row][:MAX_EXAMPLES]:
        found = against[row]
        detail = (
            "chosen here is rejected there; alike: "
            f"{percent(found.first)} and {percent(found.second)}, prompts {percent(found.prompt)}"
        )
        examples.append(compared.witness(row, detail, found.one))
    return Finding(
        "near_contradiction",
        "warning",
        f"{part_of(len(rows), of, 'pairs', 'rank')} nearly the same answers to nearly the same "
        "prompt the other way round than another pair.",
        "Look at them: where the small difference does not decide, one of the two labels is wrong.",
        len(rows),
        of,
        examples=tuple(examples),
        rows=rows,
        figures={"threshold": NEAR_COMPLETION},
    )


def _alike(compared: Compared, columns: Columns, coarse: Groups, groups: Groups) -> Iterator[Alike]:
    """Pairs of rows that are alike; those with the same sides are joined in `groups`."""
    rows = _worth_comparing(columns, coarse)
    if len(rows) < 2:
        return
    signed = np.empty((len(rows), PERMUTATIONS), np.uint8)
    for start in range(0, len(rows), _SIGNED_AT_ONCE):
        part = slice(start, start + _SIGNED_AT_ONCE)
        signed[part] = signatures(["\n".join(compared.completions(row)) for row in rows[part]])
    sets = _CompletionSets(compared)
    blocks, keys = coarse.labels[columns.prompt[rows]], columns.pair_key[rows]
    refused = Refused(len(columns))
    for one, other in candidates(signed, [keys], within=blocks):
        left, right = rows[one], rows[other]
        worth = groups.apart(left, right) & refused.open(left, right)
        links = []
        for pair in zip(left[worth].tolist(), right[worth].tolist(), strict=True):
            low, high = min(pair), max(pair)
            if (low, high) in refused:
                continue
            found = _compare(low, high, columns, sets, compared.prompts)
            if found is not None:
                yield found
            if found is not None and not found.swapped:
                links.append((low, high))
            else:
                refused.add(low, high)
        if links:
            joined = np.array(links, dtype=np.int64)
            groups.join(joined[:, 0], joined[:, 1])


def _worth_comparing(columns: Columns, coarse: Groups) -> I64:
    """The first row of each distinct pair whose prompt is in a group with other distinct pairs."""
    rows = np.unique(columns.pair_key, return_index=True)[1]
    blocks = coarse.labels[columns.prompt[rows]]
    crowded = np.bincount(blocks, minlength=len(coarse.labels))[blocks] > 1
    return np.sort(rows[crowded]).astype(np.int64)


def _compare(one: int, other: int, columns: Columns, sets: _CompletionSets, prompts: Prompts) -> Alike | None:
    """The likeness of two pairs that are nearly the same; None for others.

    They must differ by less than half of what the completions of either differ by: where answers are edits of one text,
    the labels are about small differences.
    """
    chosen, rejected, contrast = sets.of(one)
    chosen_too, rejected_too, contrast_too = sets.of(other)
    least = max(NEAR_COMPLETION, (1 + max(contrast, contrast_too)) / 2)
    direct, crossed = overlap(chosen, chosen_too), overlap(chosen, rejected_too)
    if max(direct, crossed) < least:
        return None
    second, crossed_second = overlap(rejected, rejected_too), overlap(rejected, chosen_too)
    swapped = min(crossed, crossed_second) > min(direct, second)
    first, second = (crossed, crossed_second) if swapped else (direct, second)
    if min(first, second) < least:
        return None
    same_prompt = columns.prompt[one] == columns.prompt[other]
    if swapped and same_prompt and first == second == 1.0:
        return None  # a contradiction, which is a finding of its own
    prompt = 1.0 if same_prompt else prompts.alike(int(columns.prompt[one]), int(columns.prompt[other]))
    return None if prompt < NEAR_PROMPT else Alike(one, other, swapped, prompt, first, second)


class _CompletionSets:
    """The shingles of the completions of rows, and how alike the two are, kept while they are likely to be needed."""

    def __init__(self, compared: Compared) -> None:
        self._compared = compared
        self._kept: dict[int, tuple[U32, U32, float]] = {}

    def of(self, row: int) -> tuple[U32, U32, float]:
        if row not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            chosen, rejected = map(shingle_set, self._compared.completions(row))
            self._kept[row] = chosen, rejected, overlap(chosen, rejected)
        return self._kept[row]


def near_prompts(compared: Compared, columns: Columns, verified: Groups) -> list[Finding]:
    """Prompts that are nearly equal to another one, which a split must keep together; and templates."""
    sizes = verified.sizes()
    near = np.flatnonzero(sizes > 1)
    templates = [template.size for template in compared.prompts.templates]
    if len(near) == 0 and not templates:
        return []
    of = len(sizes)
    first_row = np.unique(columns.prompt, return_index=True)[1]
    first = first_of_group(verified.labels)
    later = near[first[near] < near]
    title = f"{part_of(len(near), of, 'prompts')} nearly equal to another prompt."
    if templates:
        title += (
            f" {part_of(sum(templates), of, 'prompts', 'follow')} {counted(len(templates), 'templates')}; these are "
            "compared by what is not of the template."
        )
    return [
        Finding(
            "near_prompt",
            "note",
            title,
            "Keep each group on one side of a split: `simpo build` does.",
            len(near),
            of,
            "prompts",
            examples=compared.witnesses(first_row[later], first_row[first[later]], "nearly the same prompt"),
            figures={
                "groups": len(np.unique(verified.labels[near])),
                "largest": int(sizes.max()),
                "threshold": NEAR,
                "templates": sorted(templates, reverse=True),
            },
        )
    ]
