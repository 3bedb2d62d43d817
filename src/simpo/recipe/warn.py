"""Settings that are allowed and known to be bad."""

from __future__ import annotations

import math

from simpo.core.methods import METHODS
from simpo.recipe.schema import Recipe


def warnings_for(recipe: Recipe) -> list[str]:
    """Known bad settings, each with its reason; a run with them starts all the same."""
    method, train = recipe.method, recipe.train
    found: list[str] = []
    values = method.parameters
    if method.name in ("simpo", "simpo_hinge") and values["beta"] < 1:
        found.append(
            f"method.beta {values['beta']:g} is small for SimPO: rewards are nats per token, so the gradient is "
            "nearly the same for every pair whatever the model says. The authors use 2.0 to 10."
        )
    full = recipe.adapter.type == "none"
    if full and METHODS[method.name].pairwise and train.lr >= 5e-6:
        found.append(
            f"train.lr {train.lr:g} is high for a full fine-tune on preferences: the authors use 3e-7 to 1e-6 and "
            "report that 1e-5 can produce completely repetitive responses."
        )
    if full and recipe.model.dtype == "bfloat16" and train.rounding == "nearest":
        found.append(
            "train.rounding nearest loses what a full fine-tune learns: AdamW changes a weight by about train.lr, and "
            "bfloat16 holds no change below 1/256 of it (at lr 1e-6, after 100 steps, 99 of 100 weights are as "
            "they were). Leave it out for float32 masters, or set train.rounding: stochastic."
        )
    if method.name in ("simpo", "simpo_hinge") and method.chosen_sft_weight > 0:
        found.append(
            f"method.sft_weight {method.chosen_sft_weight:g} adds an SFT term that SimPO does not have; the result is "
            "not comparable with the paper's."
        )
    if math.isclose(train.warmup, 0.0) and METHODS[method.name].pairwise:
        found.append(
            "train.warmup 0: AdamW's first steps are its noisiest; the authors warm up over 10 % of the steps."
        )
    return found
