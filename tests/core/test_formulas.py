"""The written formulas are computed as they stand and compared with the losses they describe."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch

from simpo.core.formulas import FORMULAS, score_formula, written
from simpo.core.methods import METHODS

PAIRWISE = [name for name, method in METHODS.items() if method.pairwise]


def test_every_loss_of_the_table_is_written_and_no_other() -> None:
    assert set(FORMULAS) == {method.loss_name for method in METHODS.values()}


def computable(text: str) -> str:
    """A written formula as Python reads it: `log f(` is the logarithm of f, `^2` a square."""
    return re.sub(r"\blog (\w+)\(", r"log_of(\1)(", text).replace("^2", "**2")


@pytest.mark.parametrize("scores", [(-0.4, -1.3), (-1.3, -0.4), (-0.7, -0.7)])
@pytest.mark.parametrize("name", PAIRWISE)
def test_a_written_formula_gives_the_value_of_the_loss(name: str, scores: tuple[float, float]) -> None:
    method, (chosen, rejected) = METHODS[name], scores

    def log_of(function: Callable[[float], float]) -> Callable[[float], float]:
        return lambda value: math.log(function(value))

    values = {key: str(value) for key, value in method.defaults.items()}
    loss, where = (computable(part.format_map(values)) for part in written(method))
    known = {"exp": math.exp, "max": max, "log_of": log_of, "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
    if where:
        head, _, body = where.partition(" = ")
        known[head.removesuffix("(s)")] = eval(f"lambda s: {body}", known)
    expected = method.loss(
        torch.tensor([chosen], dtype=torch.float64),
        torch.tensor([rejected], dtype=torch.float64),
        **method.defaults,
    )
    assert eval(loss, known, {"s_w": chosen, "s_l": rejected}) == pytest.approx(float(expected), rel=1e-12)


def test_the_score_is_written_with_and_without_a_reference() -> None:
    told = {name: score_formula(METHODS[name]) for name in ("simpo", "cpo", "dpo", "dpo_norm")}
    assert told == {
        "simpo": "s = a",
        "cpo": "s = log p(y)",
        "dpo": "s = log p(y) - log p_ref(y)",
        "dpo_norm": "s = a - a_ref",
    }
