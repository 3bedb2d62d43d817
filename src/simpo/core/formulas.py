"""Each loss as a person reads it, in plain signs: the one place that writes formulas out.

A parameter of the loss stands in braces, to be filled with its name or its value. `s_w` and `s_l` are the scores of the
chosen and the rejected completion; a test computes every line and compares it with the loss itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from simpo.core.methods import Method


class Written(NamedTuple):
    """A loss in plain signs, and the definition of a function that it uses, empty where there is none."""

    loss: str
    where: str = ""


# By the table's `loss_name`; None is SFT.
FORMULAS: Mapping[str | None, Written] = MappingProxyType(
    {
        "simpo_loss": Written("-log sigmoid({beta} * (s_w - s_l - {gamma}))"),
        "simpo_hinge_loss": Written("max(0, 1 - {beta} * (s_w - s_l - {gamma}))"),
        "dpo_loss": Written("-log sigmoid({beta} * (s_w - s_l))"),
        "ipo_loss": Written("(s_w - s_l - 1 / (2 * {beta}))^2"),
        "orpo_loss": Written(
            "-{odds_weight} * log sigmoid(log odds(s_w) - log odds(s_l))", "odds(s) = exp(s) / (1 - exp(s))"
        ),
        "cpo_loss": Written("-log sigmoid({beta} * (s_w - s_l))"),
        "simper_loss": Written("exp(s_l) - exp(s_w)"),
        "repo_loss": Written("max(0, {gamma} - (s_w - s_l))"),
        "alphapo_loss": Written(
            "-log sigmoid({beta} * (r(s_w) - r(s_l) - {gamma}))", "r(s) = (1 - exp(-{alpha} * s)) / {alpha}"
        ),
        None: Written("-s"),
    }
)


def written(method: Method) -> Written:
    """The formula of a method's loss."""
    return FORMULAS[method.loss_name]


def score_formula(method: Method) -> str:
    """What the score s of a completion y is, where a = log p(y) / |y| is its mean log-probability."""
    policy, reference = ("a", "a_ref") if method.score == "mean" else ("log p(y)", "log p_ref(y)")
    return f"s = {policy} - {reference}" if method.reference else f"s = {policy}"


__all__ = ["FORMULAS", "Written", "score_formula", "written"]
