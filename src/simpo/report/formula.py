"""A method's loss written out for a person: symbols, the same with the run's values, and words."""

# ruff: noqa: RUF001 - mathematics is set in its own signs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simpo.core.methods import METHODS, Method
from simpo.recipe import MethodRecipe
from simpo.report.words import general

# By the table's `loss_name`; s is the score that `_score_words` explains, the names are the loss's own parameters.
LOSSES: Mapping[str | None, str] = {
    "simpo_loss": "−log σ( {beta} · ( s(chosen) − s(rejected) − {gamma} ) )",
    "simpo_hinge_loss": "max( 0, 1 − {beta} · ( s(chosen) − s(rejected) − {gamma} ) )",
    "dpo_loss": "−log σ( {beta} · ( s(chosen) − s(rejected) ) )",
    "ipo_loss": "( s(chosen) − s(rejected) − 1 / (2 · {beta}) )²",
    "orpo_loss": "−{odds_weight} · log σ( log-odds(exp s(chosen)) − log-odds(exp s(rejected)) )",
    "cpo_loss": "−log σ( {beta} · ( s(chosen) − s(rejected) ) )",
    "simper_loss": "exp s(rejected) − exp s(chosen)",
    "repo_loss": "max( 0, {gamma} − ( s(chosen) − s(rejected) ) )",
    "alphapo_loss": "−log σ( {beta} · ( r(chosen) − r(rejected) − {gamma} ) ),  "
    "r = ( 1 − exp(−{alpha} · s) ) / {alpha}",
    None: "−s(completion)",
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
    loss = LOSSES[method.loss_name]
    names = {key: SYMBOLS.get(key, key) for key in values}
    numbers = {key: general(value) for key, value in values.items()}
    symbols, filled = f"L = {loss.format_map(names)}", f"L = {loss.format_map(numbers)}"
    if method.pairwise and recipe.chosen_sft_weight > 0:
        symbols += " − w · a(chosen)"
        filled += f" − {general(recipe.chosen_sft_weight)} · a(chosen)"
    return Formula(method.title, method.source, symbols, filled, tuple(_words(method, recipe)))


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
