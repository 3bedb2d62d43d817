"""Bytes that a weight takes, and a trained one beside itself, by how a recipe holds it."""

from __future__ import annotations

from simpo.recipe import Recipe

# Bytes of a number in each type, and of one in NF4 with quantised constants: half a byte, one more for each block of
# 64, four for each 256 blocks.
SIZES = {"float32": 4.0, "bfloat16": 2.0}
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
EIGHT_BIT = 1 + 4 / 256  # a code, and a float32 scale for each block of 256


def bytes_per_weight(recipe: Recipe) -> dict[str, float]:
    """Bytes a trained weight takes beside itself, where it lies: its gradient, its moments and its float32 master."""
    train, size = recipe.train, SIZES[recipe.model.dtype]
    if train.optimizer == "adamw_8bit":
        return {"gradients": size, "moments": 2 * EIGHT_BIT, "masters": 0.0}
    if size == 2 and train.rounding in ("stochastic", "nearest"):
        return {"gradients": 2.0, "moments": 4.0, "masters": 0.0}
    masters = 4.0 if size == 2 or train.offload_optimizer else 0.0
    return {"gradients": 4.0, "moments": 8.0, "masters": masters}
