"""Attention over a long block on a CPU: tile by tile, by batched products and torch's softmax, nothing square kept.

A tile is a run of queries with the keys they may see: the block's prefix and their own branch up to the last of them.
Only queries, keys and values are kept for the backward; the weights are worked out again. That costs one product in
seven, and spares what weights would take: heads * L * L numbers a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from simpo.model.pack import Block, round_up

# Queries of a tile. Fewer spare more of the keys that causality hides; more make faster products. Measured on two
# cores, forward and backward of 9 heads: 256 is best in bfloat16 from 40 + 2 x 200 tokens to 2000 + 2 x 400.
TILE = 256


class Visibility(Protocol):
    """Which keys a query sees, by their positions in one sequence: all up to its own, or fewer."""

    @property
    def causal(self) -> bool:
        """Whether it is all up to its own."""
        ...

    def tile(self, queries: range, keys: range, like: Tensor) -> Tensor:
        """[Q, K] to be added to logits: 0 where the query sees the key, else -inf."""
        ...


@dataclass(frozen=True, slots=True)
class Tile:
    """Queries [start, end) of the block, of a run (its prefix or a branch) that begins at `run`.

    They see `prefix` tokens from the block's beginning (0 where they are the prefix) and their run up to themselves.
    `rows` and `columns`: queries and keys of the tile's products, of few sizes; beyond the tile's own they are zeros or
    hidden.
    """

    start: int
    end: int
    run: int
    prefix: int

    @property
    def size(self) -> int:
        """Queries."""
        return self.end - self.start

    @property
    def keys(self) -> int:
        """Keys that the last query sees, also the position after it."""
        return self.prefix + self.end - self.run

    @property
    def rows(self) -> int:
        """Queries that the tile's products take."""
        return round_up(self.size)

    @property
    def columns(self) -> int:
        """Keys that they take: no query is without the one at its own position."""
        return round_up(self.keys - self.size + self.rows)


def tiles_of(block: Block, size: int) -> list[list[Tile]]:
    """The tiles of each run that has tokens, in order; together they hold every token of the block once."""
    runs, place = [], 0
    for prefix, length in ((0, block.prefix), *((block.prefix, n) for n in block.branches)):
        cuts = [*range(place, place + length, size), place + length]
        runs.append([Tile(start, end, place, prefix) for start, end in pairwise(cuts)])
        place += length
    return [run for run in runs if run]


def tiled_attention(
    queries: Tensor, keys: Tensor, values: Tensor, sees: Visibility, block: Block,
    softcap: float | None = None, sinks: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Attention within one block: scaled queries [H, L, D], keys [G, L, D], values [G, L, E] to [H, L, E].

    G divides H. Products run in the tensors' type (under autocast in its), softmax in float32 at least. softcap, sinks
    ([H]): see `shared_attention`. Differentiable in queries, keys, values and sinks.
    """
    kind = queries.device.type
    if torch.is_autocast_enabled(kind) and queries.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        queries, keys, values = queries.to(dtype), keys.to(dtype), values.to(dtype)
    found: Tensor = _TiledAttention.apply(queries, keys, values, sees, block, softcap, sinks)  # type: ignore[no-untyped-call]
    return found


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, sees: Visibility, block: Block,
        softcap: float | None, sinks: Tensor | None,
    ) -> Tensor:  # fmt: skip
        out = values.new_empty(queries.shape[0], queries.shape[1], values.shape[2])
        for tiles in tiles_of(block, TILE):
            run_keys, run_values = _seen(keys, tiles), _seen(values, tiles)
            for tile in tiles:
                logits = _logits(
                    _stacked(queries, tile, len(keys)), run_keys[:, : tile.columns], tile, sees, softcap
                )
                weights, _ = _weights(logits, sinks, len(queries))
                found = weights.to(values.dtype) @ run_values[:, : tile.columns]
                out[:, tile.start : tile.end] = _unstacked(found, tile, len(queries))
        ctx.save_for_backward(queries, keys, values, sinks)
        ctx.sees, ctx.block, ctx.softcap = sees, block, softcap
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        queries, keys, values, sinks = ctx.saved_tensors
        precise = torch.promote_types(keys.dtype, torch.float32)
        grad_queries = torch.empty_like(queries)
        grad_keys, grad_values = (
            torch.zeros_like(keys, dtype=precise),
            torch.zeros_like(values, dtype=precise),
        )
        grad_sinks = None if sinks is None else torch.zeros_like(sinks, dtype=precise)
        heads, groups = len(queries), len(keys)
        for tiles in tiles_of(ctx.block, TILE):
            run_keys, run_values = _seen(keys, tiles), _seen(values, tiles)
            for tile in tiles:
                asked, asked_grad = _stacked(queries, tile, groups), _stacked(grad, tile, groups)
                seen_keys, seen_values = run_keys[:, : tile.columns], run_values[:, : tile.columns]
                logits = _logits(asked, seen_keys, tile, ctx.sees, ctx.softcap)
                weights, sunk = _weights(logits, sinks, heads)
                grad_weights = asked_grad @ seen_values.transpose(-1, -2)
                if grad_sinks is not None and sunk is not None:
                    pull = (grad_weights * weights).sum(-1).view(heads, -1)
                    grad_sinks -= (sunk * pull).sum(-1)  # a sink takes from every weight alike
                step = torch.ops.aten._softmax_backward_data(
                    grad_weights.to(weights.dtype), weights, -1, weights.dtype
                )
                if ctx.softcap is not None:
                    step.mul_(1 - (logits / ctx.softcap).nan_to_num(0.0, 0.0, 0.0) ** 2)
                step = step.to(keys.dtype)
                grad_queries[:, tile.start : tile.end] = _unstacked(step @ seen_keys, tile, heads)
                _give(grad_keys, tile, step.transpose(-1, -2) @ asked)
                _give(grad_values, tile, weights.to(values.dtype).transpose(-1, -2) @ asked_grad)
        return (
            grad_queries, grad_keys.to(keys.dtype), grad_values.to(values.dtype), None, None, None,
            None if grad_sinks is None or sinks is None else grad_sinks.to(sinks.dtype),
        )  # fmt: skip


def _seen(tensor: Tensor, tiles: list[Tile]) -> Tensor:
    """[G, K, D]: the prefix and the whole run, side by side, then zeros, for the products of all tiles of the run."""
    prefix, run = tensor[:, : tiles[0].prefix], tensor[:, tiles[0].run : tiles[-1].end]
    beyond = max(tile.columns for tile in tiles) - tiles[-1].keys
    return torch.cat([prefix, run, tensor.new_zeros(len(tensor), beyond, tensor.shape[2])], dim=1)


def _give(total: Tensor, tile: Tile, step: Tensor) -> None:
    """Add [G, K, D] to the places of the tile's keys."""
    total[:, : tile.prefix] += step[:, : tile.prefix]
    total[:, tile.run : tile.end] += step[:, tile.prefix : tile.keys]


def _stacked(tensor: Tensor, tile: Tile, groups: int) -> Tensor:
    """[G, H / G * Q, D]: heads that share a key head as more queries, so that no key is copied."""
    asked = tensor[:, tile.start : tile.end]
    if tile.rows > tile.size:
        asked = F.pad(asked, (0, 0, 0, tile.rows - tile.size))
    return asked.reshape(groups, -1, tensor.shape[2])


def _unstacked(found: Tensor, tile: Tile, heads: int) -> Tensor:
    """[H, q, D] of the tile's own queries."""
    return found.view(heads, tile.rows, -1)[:, : tile.size]


def _logits(asked: Tensor, keys: Tensor, tile: Tile, sees: Visibility, softcap: float | None) -> Tensor:
    """[G, H / G * Q, K] logits, capped, -inf where the query does not see the key."""
    logits = asked @ keys.transpose(-1, -2)
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    # Causality alone hides nothing before the tile's own keys.
    position = tile.keys - tile.size
    first = position if sees.causal else 0
    hidden = sees.tile(range(position, position + tile.rows), range(first, tile.columns), logits)
    logits.view(len(logits), -1, tile.rows, tile.columns)[..., first:] += hidden
    return logits


def _weights(logits: Tensor, sinks: Tensor | None, heads: int) -> tuple[Tensor, Tensor | None]:
    """Softmax over the keys, worked out in float32, and what each head's sink takes of it: [H, Q], None without."""
    if sinks is None:
        return logits.softmax(-1), None
    groups, rows, count = logits.shape
    precise = torch.promote_types(logits.dtype, torch.float32)
    by_head = logits.to(precise).view(heads, -1, count)
    sink = sinks.to(precise).view(heads, 1, 1).expand(heads, by_head.shape[1], 1)
    weights = torch.cat([by_head, sink], dim=-1).softmax(-1)
    return weights[..., :-1].reshape(groups, rows, count), weights[..., -1]
