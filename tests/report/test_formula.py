"""Every method of the table is written out, with the values of its recipe."""

# ruff: noqa: RUF001 - mathematics is set in its own signs

from __future__ import annotations

import pytest

from simpo.core.methods import METHODS
from simpo.recipe import MethodRecipe
from simpo.report.formula import formula


@pytest.mark.parametrize("name", METHODS)
def test_each_parameter_of_a_loss_is_told(name: str) -> None:
    written = formula(MethodRecipe(name=name))
    everything = written.symbols + written.filled + " ".join(written.words)
    for key, value in METHODS[name].defaults.items():
        if value:
            assert f"{value:g}" in everything, key
    assert written.words


def test_simpo_is_written_with_its_values_and_both_margins() -> None:
    written = formula(MethodRecipe(name="simpo", beta=2.5, reward_margin=1.0, sft_weight=0.1))
    assert written.filled == "L = −log σ(2.5 · (s(chosen) − s(rejected) − 0.4)) − 0.1 · a(chosen)"
    words = " ".join(written.words)
    assert "0.4 nats per token (reward margin β · γ = 1)" in words
    assert "mean log-probability in nats per token" in words and "no reference model" in words


def test_a_reference_is_told_where_the_method_has_one() -> None:
    assert "less the same of the reference model" in " ".join(formula(MethodRecipe(name="dpo")).words)


def test_a_function_that_a_loss_uses_is_defined_behind_it() -> None:
    written = formula(MethodRecipe(name="orpo"))
    assert written.symbols == (
        "L = −λ · log σ(log odds(s(chosen)) − log odds(s(rejected))) − w · a(chosen),  "
        "odds(s) = exp(s) / (1 − exp(s))"
    )
    assert written.filled.startswith("L = −0.1 · log σ(")
