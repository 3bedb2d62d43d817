"""Which knob to turn first when a run collapses: the settings that are furthest from what is known to work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from simpo.core.guard import Verdict
from simpo.errors import Collapsed
from simpo.recipe import Recipe
from simpo.records import TokenGroup, TokenIds

# What the authors' full fine-tunes and our adapters of small models stayed under.
HIGH_LR = {"none": 5e-6, "lora": 3e-4}
USUAL_LR = {"none": 1e-6, "lora": 1e-4}
LARGE_GAMMA = 1.0  # nats per token; the authors search [0, 1]
SMALL_BETA = 1.0
SIMILAR = 0.8
_LOOKED_AT = 256  # pairs are enough to tell


def first_knobs(recipe: Recipe, groups: Sequence[TokenGroup], epochs_done: float) -> tuple[str, ...]:
    """What to change, the first thing first; each a clause such as `lower train.lr (it is 0.0001 ...)`."""
    values, train = recipe.method.parameters, recipe.train
    beta, gamma = values.get("beta"), values.get("gamma")
    kind = recipe.adapter.type
    knobs: list[str] = []
    high = train.lr > HIGH_LR[kind]
    if high:
        what = "an adapter" if kind == "lora" else "a full fine-tune"
        knobs.append(f"lower train.lr ({train.lr:g} is high for {what}; try {USUAL_LR[kind]:g})")
    if gamma is not None and gamma > LARGE_GAMMA:
        knobs.append(
            f"take a smaller method.gamma ({gamma:g} nats per token is more than pairs can give; try 0.5)"
        )
    if beta is not None and beta < SMALL_BETA and "gamma" in values:
        knobs.append(f"take a larger method.beta ({beta:g} leaves every pair its full gradient; try 2)")
    if train.epochs > 2 and epochs_done > 1:
        knobs.append(f"take fewer train.epochs ({epochs_done:.3g} of {train.epochs:g} were done; try 1)")
    alike = similarity(groups)
    if alike > SIMILAR:
        knobs.append(
            f"leave out pairs that hardly differ (half of them share {alike:.0%} of the tokens of both sides)"
        )
    if not high:
        knobs.append(f"lower train.lr ({train.lr:g}; try {train.lr / 3:.1g})")
    if beta is not None and beta >= SMALL_BETA and "gamma" in values and beta < 10:
        knobs.append(f"take a larger method.beta ({beta:g}; at 10 a pair that is won pulls no more)")
    return tuple(knobs)


def collapsed(run: Path, step: str, verdict: Verdict, kept: int | None, knobs: Sequence[str]) -> Collapsed:
    """The error that ends a collapsing run: what was seen, which checkpoint there is, and what to change first."""
    saved = "no checkpoint was saved before" if kept is None else f"the checkpoint of step {kept} is kept"
    return Collapsed(
        f"the model is collapsing at step {step}: {verdict.words}; {saved}",
        where=str(run),
        fix="start a new run and " + ", or ".join(knobs),
    )


def similarity(groups: Sequence[TokenGroup]) -> float:
    """Median over (some) pairs of the share of tokens that chosen and rejected have in common, in [0, 1]."""
    shares = [_shared(*group.completions) for group in groups[:_LOOKED_AT] if len(group.completions) == 2]
    return median(shares) if shares else 0.0


def _shared(chosen: TokenIds, rejected: TokenIds) -> float:
    one, other = Counter(chosen.tolist()), Counter(rejected.tolist())
    return 2 * (one & other).total() / (one.total() + other.total())
