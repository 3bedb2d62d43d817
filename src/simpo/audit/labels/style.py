"""How much of the labels length and style foretell, beside a model of all words: what a ruler would know."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import Finding
from simpo.audit.labels.features import MARKS
from simpo.audit.labels.judged import Judged
from simpo.audit.labels.length_bias import MATCHED
from simpo.audit.labels.sample import PairSample
from simpo.core.clustered import clustered_share
from simpo.core.intervals import Floats
from simpo.core.ranking import pair_accuracy, pair_auc

STRONG = 0.7  # accuracy from where on a predictor without understanding is worth a warning
CLOSE = 0.03  # how near the model of all words is to it then

Prompts = npt.NDArray[np.uint64]


def style_findings(judged: Judged, sample: PairSample) -> list[Finding]:
    """What the lengths, marks of style and words of a sample's pairs foretell of their labels."""
    features, prompts = judged.features, sample.prompts
    predictors = {
        "length": _predictor(features.log_ratio, prompts),
        "length_and_marks": _predictor(judged.by_marks, prompts),
        "all_words": _predictor(judged.by_words, prompts),
    }
    length, marks, words = (_right(one) for one in predictors.values())
    length = max(length, 1 - length)  # a ruler may also say that the shorter one wins
    ruler = max(length, marks)
    among = "" if sample.whole else f" (of a sample of {len(prompts):,} pairs)"
    by_style = ruler >= STRONG and words - ruler < CLOSE
    return [
        Finding(
            "style_bias",
            "warning" if by_style else "note",
            f"Length alone foretells {100 * length:.0f} % of the labels, length and style {100 * marks:.0f} %, "
            f"all words {100 * words:.0f} %{among}.",
            "The labels say little that a ruler does not: collect pairs whose replies differ in substance."
            if by_style
            else "Compare a trained model's held-out accuracy with these: below them it has learnt less than style.",
            count=round(ruler * len(prompts)),
            of=len(prompts),
            figures={
                "sampled": not sample.whole,
                "predictors": predictors,
                "length_matched": _matched(judged, prompts),
                "marks": [
                    _mark(name, what, features.marks[:, at], prompts) for at, (name, what) in enumerate(MARKS)
                ],
            },
        )
    ]


def _predictor(scores: Floats, prompts: Prompts) -> dict[str, Any]:
    return {
        "accuracy": pair_accuracy(scores, prompts).to_json(),
        "auc": pair_auc(scores, prompts).to_json(),
    }


def _right(predictor: dict[str, Any]) -> float:
    return float(predictor["accuracy"]["value"])


def _matched(judged: Judged, prompts: Prompts) -> dict[str, Any] | None:
    """What is left to foretell where the two replies are of one length."""
    matched = np.abs(judged.features.log_ratio) <= MATCHED
    if not matched.any():
        return None
    found = {
        name: pair_accuracy(scores[matched], prompts[matched]).to_json()
        for name, scores in (("length_and_marks", judged.by_marks), ("all_words", judged.by_words))
    }
    return {"pairs": int(matched.sum()), **found}


def _mark(name: str, what: str, differences: Floats, prompts: Prompts) -> dict[str, Any]:
    """One mark of style: where the replies differ in it, how often the one with more of it is chosen, and its AUC."""
    differing = differences != 0
    more = (
        clustered_share(differences[differing] > 0, prompts[differing]).to_json() if differing.any() else None
    )
    return {
        "mark": name,
        "what": what,
        "differs": float(differing.mean()),
        "pairs": int(differing.sum()),
        "more_chosen": more,
        "auc": pair_auc(differences, prompts).to_json(),
    }
