"""Attention over a packed row with shared prefixes, through transformers' own interfaces: no model is patched.

Transformers lets a model name its attention function and its mask function. Ours hands the pack's layout through the place
of the mask, so that it reaches every layer and also a layer that is computed again under gradient checkpointing. Without
a layout (generation, the plain scorer) both do what `sdpa` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from simpo.model.pack import Block, Layout

NAME = "simpo_shared"

# Blocks up to this many tokens are attended to at once, under a mask of at most a million places: on a CPU two batched
# products reach the speed of other products where the fused kernel does not. Longer ones go branch by branch.
DENSE_TOKENS = 1024

_layout: ContextVar[Layout | None] = ContextVar("layout of the pack in this forward", default=None)


@contextmanager
def attending(layout: Layout) -> Iterator[None]:
    """Let the forward inside the block attend as the layout says."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def use_shared_attention(model: Any) -> None:
    """Name our attention in the model's configuration. Raises ValueError for a model that takes none by name."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(NAME)


def shared_mask(*args: Any, **kwargs: Any) -> Any:
    """In place of a mask: the layout of the pack, or sdpa's mask where no pack is in flight."""
    layout = _layout.get()
    return sdpa_mask(*args, **kwargs) if layout is None else layout


def shared_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every segment over its context and itself.

    query: [1, H, T, D]. key, value: [1, Hkv, T, D], Hkv dividing H. attention_mask: a Layout of T tokens, else this is
    sdpa. sliding_window: a query sees itself and the window - 1 tokens before it in its own sequence. softcap: logits
    become softcap * tanh(logits / softcap). Returns [1, T, H, D]. Raises NotImplementedError for attention sinks and
    dropout, which are not built.
    """
    if not isinstance(attention_mask, Layout):
        more = {"sliding_window": sliding_window, "softcap": softcap, **kwargs}
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    if s_aux is not None or (dropout and module.training):
        raise NotImplementedError("attention sinks and attention dropout are not built for shared prefixes")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    lengths = [block.length for block in attention_mask.blocks]
    parts = []
    # One split, not a slice for each block: its backward is one concatenation.
    by_block = zip(*(tensor[0].split(lengths, dim=1) for tensor in (query * scale, key, value)), strict=True)
    for index, (queries, keys, values) in enumerate(by_block):
        block = attention_mask.blocks[index]
        if softcap is not None or block.length <= DENSE_TOKENS:
            hidden = _hidden(attention_mask, index, sliding_window, queries)
            parts.append(_dense(queries, keys, values, hidden, softcap))
        else:
            parts.append(_by_branch(queries, keys, values, block, sliding_window))
    return torch.cat(parts, dim=1).transpose(0, 1).unsqueeze(0), None


def _dense(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor, softcap: float | None) -> Tensor:
    """A whole block by two batched products, softmax in float32: [H, L, D] from scaled queries.

    Query heads that share a key head are stacked as more queries, so that no key is copied.
    """
    heads, length, width = queries.shape
    stacked = queries.reshape(keys.shape[0], -1, width)
    logits = stacked @ keys.transpose(-1, -2)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.view(heads, length, length) + hidden
    weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32)).to(values.dtype)
    return (weights.view(keys.shape[0], -1, length) @ values).view(heads, length, width)


def _by_branch(queries: Tensor, keys: Tensor, values: Tensor, block: Block, window: int | None) -> Tensor:
    """A long block branch by branch with torch's fused attention: [H, L, D] from scaled queries."""
    repeats = queries.shape[0] // keys.shape[0]
    keys, values = keys.repeat_interleave(repeats, dim=0), values.repeat_interleave(repeats, dim=0)
    lengths = [block.prefix, *block.branches]
    parts = list(zip(*(tensor.split(lengths, dim=1) for tensor in (queries, keys, values)), strict=True))
    (query, prefix_keys, prefix_values), branches = parts[0], parts[1:]
    outputs = [_causal(query, prefix_keys, prefix_values, window)] if block.prefix else []
    for query, key, value in branches:
        seen = torch.cat([prefix_keys, key], dim=1), torch.cat([prefix_values, value], dim=1)
        outputs.append(_causal(query, *seen, window))
    return torch.cat(outputs, dim=1)


def _causal(queries: Tensor, keys: Tensor, values: Tensor, window: int | None) -> Tensor:
    """[H, L, D] queries that stand at the end of the [H, K, D] keys, L <= K, already scaled."""
    length, total = queries.shape[1], keys.shape[1]
    mask = None
    if length < total or (window is not None and total > window):
        mask = _seen(torch.arange(total - length, total), torch.arange(total), window).to(queries.device)
    return F.scaled_dot_product_attention(
        queries.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0),
        attn_mask=mask, is_causal=mask is None, scale=1.0,
    )[0]  # fmt: skip


def _hidden(layout: Layout, index: int, window: int | None, like: Tensor) -> Tensor:
    """[L, L] for one block, to be added to the logits: 0 where a token sees its own past, in prefix and branch, else -inf."""
    key = (index, window)
    if key not in layout.masks:
        block = layout.blocks[index]
        branch = torch.tensor(
            [-1] * block.prefix + [b for b, n in enumerate(block.branches) for _ in range(n)]
        )
        position = torch.cat(
            [torch.arange(block.prefix), *(block.prefix + torch.arange(n) for n in block.branches)]
        )
        seen = ((branch[:, None] == branch[None, :]) | (branch[None, :] == -1)) & _seen(
            position, position, window
        )
        layout.masks[key] = torch.zeros_like(seen, dtype=like.dtype, device=like.device).masked_fill_(
            ~seen.to(like.device), float("-inf")
        )
    return layout.masks[key]


def _seen(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Which positions a query sees: its own and earlier ones, the nearest `window` of them if there is one."""
    distance = queries[:, None] - keys[None, :]
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


AttentionInterface.register(NAME, shared_attention)
AttentionMaskInterface.register(NAME, shared_mask)
