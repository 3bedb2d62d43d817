"""A method's loss written out for a person: symbols, the same with the run's values, and words."""

# ruff: noqa: RUF001 - mathematics is set in its own signs

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from simpo.core.formulas import written
from simpo.core.methods import METHODS, Method
from simpo.recipe import MethodRecipe
from simpo.report.words import general

_SIGNS = {
    r"\bs_w\b": "s(chosen)",
    r"\bs_l\b": "s(rejected)",
    r"\bsigmoid\b": "σ",
    r"\^2": "²",
    r"-": "−",
    r"\*": "·",
}
SYMBOLS = {"beta": "β", "gamma": "γ", "alpha": "α", "odds_weight": "λ"}


@dataclass(frozen=True, slots=True)
class Formula:
    """The loss of one run: `symbols` with Greek letters, `filled` with its values, `words` to read."""

    title: str
    source: str
    symbols: str
    filled: str
    words: tuple[str, ...]


def formula(recipe: MethodRecipe) -> Formula:
    """The loss that a recipe's method section asks for."""
    method = METHODS[recipe.name]
    values = recipe.parameters
    names = {key: SYMBOLS.get(key, key) for key in values}
    numbers = {key: general(value) for key, value in values.items()}
    weight = recipe.chosen_sft_weight if method.pairwise else 0.0
    symbols = _line(method, names, "w" if weight else "")
    filled = _line(method, numbers, general(weight) if weight else "")
    return Formula(method.title, method.source, symbols, filled, tuple(_words(method, recipe)))


def _line(method: Method, parameters: Mapping[str, str], sft_weight: str) -> str:
    """The loss with its parameters filled in, its SFT term if any, and the function it uses."""
    loss, where = (_typeset(part).format_map(parameters) for part in written(method))
    term = f" − {sft_weight} · a(chosen)" if sft_weight else ""
    return f"L = {loss}{term}" + (f",  {where}" if where else "")


def _typeset(text: str) -> str:
    """Plain signs as mathematical ones; parameters stay in braces."""
    for plain, sign in _SIGNS.items():
        text = re.sub(plain, sign, text)
    return text


def _words(method: Method, recipe: MethodRecipe) -> list[str]:
    values = recipe.parameters
    words = [_score_words(method)]
    if "gamma" in values:
        gamma = general(values["gamma"])
        margin = ""
        if "beta" in values:
            margin = f" (reward margin β · γ = {general(values['beta'] * values['gamma'])})"
        unit = "in units of r" if "alpha" in values else "nats per token"
        words.append(
            f"The loss asks the chosen completion to lead the rejected one by γ = {gamma} {unit}{margin}."
        )
    if values.get("alpha") == 0:
        words.append("At α = 0, r is s itself.")
    if method.pairwise:
        words.append(_sft_words(recipe.chosen_sft_weight))
    if values.get("label_smoothing"):
        share = general(values["label_smoothing"])
        words.append(f"Label smoothing {share}: that share of the loss is taken with the pair swapped.")
    return words


def _sft_words(weight: float) -> str:
    if weight == 0:
        return "There is no SFT term."
    return f"An SFT term has weight w = {general(weight)}; a is the mean log-probability in nats per token."


def _score_words(method: Method) -> str:
    if not method.pairwise:
        return (
            "s is the log-probability of a completion in nats, its one stop token included and the prompt not; the sum "
            "over a batch is divided by its scored tokens."
        )
    kind = (
        "mean log-probability in nats per token"
        if method.score == "mean"
        else "total log-probability in nats"
    )
    score = f"s is the {kind} of a completion, its one stop token included and the prompt not"
    if method.reference:
        return f"{score}, less the same of the reference model."
    return f"{score}; there is no reference model."
