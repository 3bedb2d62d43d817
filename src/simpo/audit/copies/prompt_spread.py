"""How the pairs are spread over prompts, and which prompts have more than their share."""

from __future__ import annotations

import numpy as np

from simpo.audit.copies.compared import Columns, Compared
from simpo.audit.findings import MAX_EXAMPLES, Finding
from simpo.audit.kinds import percent
from simpo.audit.words import counted

DOMINANT_SHARE = 0.01  # of all pairs
DOMINANT_TIMES = 10  # the mean number of pairs of the other prompts
DOMINANT_LEAST = 10  # pairs
MUCH = 0.1  # share of the pairs from which dominant prompts are worth a warning


def prompt_spread(compared: Compared, columns: Columns) -> list[Finding]:
    """One finding: a warning where dominant prompts have a tenth of the pairs or more, else a note.

    A prompt dominates where it has ten pairs, more than 1 % of all, and more than ten times the mean of the others. The
    effective number of prompts is 1 / sum of squared shares (Simpson's): as many with equal shares would be as unlike.
    """
    counts = np.bincount(columns.prompt)
    of = len(columns)
    ordered = np.sort(counts)[::-1]
    others = (of - counts) / max(len(counts) - 1, 1)
    dominant = (
        (counts > DOMINANT_SHARE * of) & (counts > DOMINANT_TIMES * others) & (counts >= DOMINANT_LEAST)
    )
    rows = np.flatnonzero(dominant[columns.prompt])
    effective = of**2 / float((counts.astype(np.float64) ** 2).sum())
    pairs, prompts = counted(of, "pairs"), counted(len(counts), "prompts")
    equal = f"as spread as {counted(round(effective), 'prompts')} with equal shares would be"
    title = f"{pairs} of {prompts}, {equal}"
    if len(rows):
        have = "have" if dominant.sum() > 1 else "has"
        title = f"{dominant.sum():,} of {prompts} {have} {percent(len(rows) / of)} of the pairs: {equal}"
    return [
        Finding(
            "prompt_spread",
            "warning" if len(rows) > MUCH * of else "note",
            title + ".",
            "Take fewer pairs of the frequent prompts, or give theirs less weight."
            if len(rows)
            else "Nothing.",
            len(rows),
            of,
            examples=_examples(compared, columns, counts) if len(rows) else (),
            rows=rows,
            figures={
                "prompts": len(counts),
                "effective_prompts": round(effective, 1),
                "pairs_a_prompt": {
                    "mean": round(of / len(counts), 3),
                    "median": float(np.median(counts)),
                    "largest": int(ordered[0]),
                },
                "share_of_top": {str(top): round(float(ordered[:top].sum()) / of, 6) for top in (1, 10, 100)},
                "share_of_top_percent": round(float(ordered[: -(-len(counts) // 100)].sum()) / of, 6),
            },
        )
    ]


def _examples(compared: Compared, columns: Columns, counts: np.ndarray) -> tuple:  # type: ignore[type-arg]
    top = np.argsort(-counts, kind="stable")[:MAX_EXAMPLES]
    first = np.unique(columns.prompt, return_index=True)[1]
    return tuple(
        compared.witness(int(first[prompt]), f"the prompt of {counts[prompt]:,} pairs")
        for prompt in top.tolist()
    )
