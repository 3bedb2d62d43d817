"""AdamW whose moments take 8 bits a number, from torchao, and its states as plain tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def eight_bit_adamw(
    groups: list[dict[str, Any]], *, stochastic: bool, **settings: Any
) -> torch.optim.Optimizer:
    """torchao's AdamW8bit: moments quantised by blocks of 256 numbers (Dettmers et al. 2021, arXiv:2110.02861).

    stochastic: whether bfloat16 weights are rounded at random. Tensors of fewer than 4096 numbers keep full moments.
    """
    from torchao.optim import AdamW8bit  # type: ignore[import-not-found,import-untyped,unused-ignore]

    optimizer: torch.optim.Optimizer = AdamW8bit(groups, bf16_stochastic_round=stochastic, **settings)
    return optimizer


def is_eight_bit(value: object) -> bool:
    """Whether a state is one of torchao's tensors."""
    return type(value).__name__ == "OptimState8bit"


def parts_of(value: Any) -> dict[str, Tensor]:
    """The plain tensors that such a state is made of, and whether it is signed."""
    names, settings = value.__tensor_flatten__()
    signed = torch.tensor(bool(settings[0]))
    return {name: getattr(value, name).contiguous() for name in names} | {"signed": signed}


def whole(state: dict[str, Tensor]) -> dict[str, Any]:
    """A parameter's state with `NAME.PART` tensors put together again; any other as it is."""
    made: dict[str, Any] = {name: value for name, value in state.items() if "." not in name}
    for name in sorted({name.partition(".")[0] for name in state if "." in name}):
        from torchao.optim.subclass_8bit import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            OptimState8bit,
        )

        parts = {part: state[f"{name}.{part}"] for part in ("codes", "scale", "qmap", "signed")}
        made[name] = OptimState8bit(*(parts[n] for n in ("codes", "scale", "qmap")), bool(parts["signed"]))
    return made
