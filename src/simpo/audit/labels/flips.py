"""Labels that stand against what the other pairs teach: ranked, and how many of them are probably turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import MAX_EXAMPLES, Finding, Witness
from simpo.audit.labels.judged import Judged
from simpo.audit.labels.sample import Kept, PairSample
from simpo.audit.tally import witness
from simpo.core.intervals import Floats
from simpo.core.noise import MAX_RATE, Noise, fit_noise
from simpo.core.ranking import pair_accuracy, pair_auc

MIN_PAIRS = 200  # fewer teach nothing about single labels
MIN_COUNTED = 500  # fewer allow a ranking, and no count
MIN_GROUP = 1000  # pairs of like votes that get a rate of their own
LIKELY = 0.5  # chance of being turned from where on a label is counted as suspected
NUM_RANKED = 50
SHIFTED = 0.1  # difference of the share with the shorter reply chosen, from where on it is said
MAX_TEXT = 600  # characters of each text in the ranked list

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """noise: over all pairs. groups: by votes, where there are enough. wrong: [N] chance that a label is turned.

    counted: whether the chances can be taken at their word: enough pairs, and scores that bound the rate.
    """

    noise: Noise
    groups: dict[str, Noise]
    wrong: Floats
    counted: bool


def suspicion(scores: Floats, kept: Sequence[Kept], prompts: npt.NDArray[np.uint64]) -> Suspicion:
    """The chance of each label to be turned, from its score, how sure scores are in general, and its votes.

    Votes set the groups: labels that all annotators chose, labels that some did not, and labels without votes. Each
    group of 1,000 pairs gets its own rate, so that an uncertain score says less where the annotators disagreed.
    """
    noise = fit_noise(scores, prompts)
    wrong = noise.wrong(scores)
    votes = np.array([_votes_of(one) for one in kept])
    groups = {}
    for name in np.unique(votes).tolist() if len(np.unique(votes)) > 1 else ():
        members = votes == name
        if members.sum() >= MIN_GROUP:
            groups[name] = fit_noise(scores[members], prompts[members])
            wrong[members] = groups[name].wrong(scores[members])
    return Suspicion(noise, groups, wrong, noise.bounded and len(scores) >= MIN_COUNTED)


def _votes_of(one: Kept) -> str:
    if one.num_votes < 2 or one.margin is None:
        return "without votes"
    return "unanimous" if one.margin == one.num_votes else "contested"


def flip_findings(judged: Judged, sample: PairSample) -> list[Finding]:
    """The labels that look turned, most suspected first. Nothing for fewer than 200 pairs or for one prompt.

    Only where the scores are sure enough to bound the rate of turned labels are labels counted as suspected; else the
    ranked list says where to look first, and the finding says that it cannot tell how many are wrong.
    """
    prompts = sample.prompts
    if len(prompts) < MIN_PAIRS or len(np.unique(prompts)) < 2 or not judged.scores.any():
        return []
    found = suspicion(judged.scores, sample.kept, prompts)
    # The scores break ties: where no label can be turned all chances are 0.
    order = np.lexsort((judged.scores, -found.wrong))
    likely = (found.wrong >= LIKELY) & found.counted
    count = int(likely.sum())
    figures = _figures(judged, found, prompts, likely)
    figures["sampled"] = not sample.whole
    figures["ranked"] = [_ranked(sample, judged, found, place) for place in order[:NUM_RANKED].tolist()]
    return [
        Finding(
            "suspected_flip",
            "warning" if count else "note",
            _title(found, count, len(prompts), sample.whole),
            _action(judged.features.log_ratio < 0, likely),
            count=count,
            of=len(prompts),
            examples=tuple(_example(sample, found, place) for place in order[:MAX_EXAMPLES].tolist()),
            rows=np.array([sample.kept[place].number for place in np.flatnonzero(likely)], dtype=np.int64),
            repair="drop" if count else None,
            figures=figures,
        )
    ]


def _title(found: Suspicion, count: int, of: int, whole: bool) -> str:
    among = f"{of:,} pairs" if whole else f"a sample of {of:,} pairs"
    rate = found.noise.rate
    if not found.counted:
        most = f" (no more than {100 * rate.high:.0f} %)" if rate.high < MAX_RATE else ""
        return f"How many labels are turned cannot be told from the texts of {among}{most}."
    span = f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"
    return (
        f"Some {100 * rate.value:.1f} % of the labels look turned at random ({span}); {count:,} of {among} are more "
        "likely turned than not."
    )


def _action(shorter: Mask, likely: Mask) -> str:
    if not likely.any():
        return "Read the first of the ranked list: they are the likeliest to be wrong."
    action = "Read the ranked list from the top and correct what is wrong; dropping them unread also drops right labels"
    among, overall = float(shorter[likely].mean()), float(shorter.mean())
    if abs(among - overall) < SHIFTED:
        return f"{action}."
    return f"{action}: in {100 * among:.0f} % of them the shorter reply is chosen, in {100 * overall:.0f} % of all."


def _figures(
    judged: Judged, found: Suspicion, prompts: npt.NDArray[np.uint64], likely: Mask
) -> dict[str, Any]:
    shorter = judged.features.log_ratio < 0
    known = None if judged.model is None else ~np.isnan(judged.model)
    return {
        "noise_rate": found.noise.rate.to_json(),
        "counted": found.counted,
        "groups": {
            name: {**noise.rate.to_json(), "bounded": noise.bounded} for name, noise in found.groups.items()
        },
        "accuracy": pair_accuracy(judged.scores, prompts).to_json(),
        "auc": pair_auc(judged.scores, prompts).to_json(),
        "shorter_chosen": {
            "all": float(shorter.mean()),
            "suspected": float(shorter[likely].mean()) if likely.any() else None,
            "without_suspected": float(shorter[~likely].mean()) if not likely.all() else None,
        },
        "model": None
        if judged.model is None or known is None or not known.any()
        else {
            "pairs": int(known.sum()),
            "accuracy": pair_accuracy(judged.model[known], prompts[known]).to_json(),
            "auc": pair_auc(judged.model[known], prompts[known]).to_json(),
        },
    }


def _ranked(sample: PairSample, judged: Judged, found: Suspicion, place: int) -> dict[str, Any]:
    one = sample.kept[place]
    pair = witness(sample.pair(place), "")
    model = None if judged.model is None else float(judged.model[place])
    return {
        "source": str(one.source),
        "row": one.number,
        "probability": float(found.wrong[place]) if found.counted else None,
        "score": float(judged.scores[place]),
        "model": None if model is None or math.isnan(model) else model,
        "margin": one.margin,
        "votes": one.num_votes,
        "prompt": _cut(pair.prompt, from_end=True),
        "chosen": _cut(pair.chosen),
        "rejected": _cut(pair.rejected),
    }


def _example(sample: PairSample, found: Suspicion, place: int) -> Witness:
    chance = (
        f"{100 * found.wrong[place]:.0f} % likely turned"
        if found.noise.bounded
        else "among the first to read"
    )
    return witness(sample.pair(place), chance)


def _cut(text: str | None, *, from_end: bool = False) -> str:
    text = text or ""
    if len(text) <= MAX_TEXT:
        return text
    return f"...{text[-MAX_TEXT:]}" if from_end else f"{text[:MAX_TEXT]}..."
