"""The work that a training step cannot do without: floating-point operations on unique tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from simpo.model.pack import Block, pack_groups
from simpo.records import TokenGroup


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of one forward and backward, a multiplication and an addition counted as two.

    body: 6 for each weight of the linear layers and each token of the pack (4 where the weights are frozen, which then
    get no gradient). head: the same for the output head at the places that predict something. attention: logits and
    weighted sums over the places that a query sees, forward once and backward twice, nothing recomputed.
    """

    body: float
    head: float
    attention: float
    tokens: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.body + self.head + self.attention


def work_of(model: Any, groups: Sequence[TokenGroup]) -> Work:
    """The work of one training step over the groups, each in a block of its own."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    config = base.config.get_text_config()
    pack = pack_groups(groups, torch.device("cpu"))
    tokens = pack.layout.num_tokens
    layers = [
        module for module in base.modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    body = sum(_uses(module) * tokens for module in layers)
    trained_head = 6 if head.weight.requires_grad else 4
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    seen = sum(_seen(block) for block in pack.layout.blocks)
    attention = 3 * 4.0 * seen * width * config.num_attention_heads * config.num_hidden_layers
    return Work(body, trained_head * float(head.weight.numel()) * len(pack.rows), attention, tokens)


def _uses(module: torch.nn.Linear) -> float:
    return (6.0 if module.weight.requires_grad else 4.0) * module.weight.numel()


def _seen(block: Block) -> float:
    """Pairs of a query and a key it sees, in one block."""
    own = sum(length * (length + 1) / 2 + length * block.prefix for length in block.branches)
    return block.prefix * (block.prefix + 1) / 2 + own


def matmul_peak(dtype: torch.dtype, device: torch.device, *, size: int = 2048, repeats: int = 8) -> float:
    """Operations a second of the fastest of some square matrix products."""
    import time

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 2):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
