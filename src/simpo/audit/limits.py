"""The figures at which the verdict or the advice changes, each with why it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure, what it is of, and why it stands where it does."""

    value: float
    of: str
    why: str


LIMITS: Mapping[str, Limit] = {
    "min_pairs": Limit(
        100,
        "whole pairs; with fewer the data is not fit",
        "the 95 % interval of an accuracy over fewer pairs spans 20 points, so that no result is told from chance",
    ),
    "max_broken": Limit(
        0.2,
        "share of rows that cannot be used; above it the data is not fit",
        "where more than a fifth of the rows cannot be read, the columns are not what they are taken for",
    ),
    "max_dropped": Limit(
        0.5,
        "share of pairs that the repairs drop; above it the data is not fit",
        "where repairs drop more than half of the pairs, what is left is another data set than was collected",
    ),
    "length_skew": Limit(
        0.15,
        "distance from one half of the share of pairs whose longer reply is chosen; from it on length counts as skewed",
        "below 65 % length alone predicts few labels, and what the replies say decides what is learnt",
    ),
    "few_prompts": Limit(
        1000,
        "different prompts; with fewer: collect more",
        "published runs use tens of thousands of prompts; below 1,000 a model learns them by heart",
    ),
    "low_alpha": Limit(
        0.4,
        "Krippendorff's alpha; below it: collect more",
        "about one vote in five is wrong, and more votes on the same pairs help more than any method",
    ),
    "small_gold_set": Limit(
        2000,
        "pairs; with fewer DPO suits",
        "with few pairs a reference keeps the model near its start where the data says nothing",
    ),
    "verifiable": Limit(
        0.5,
        "share of pairs whose answer a program can check; from it on rollouts suit",
        "a check as the reward sees every answer that the model writes, and pairs only those that were written down",
    ),
}
