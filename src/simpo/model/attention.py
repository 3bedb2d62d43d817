"""Attention over a packed row with shared prefixes, through transformers' own interfaces: no model is patched.

Transformers lets a model name its attention function and its mask function. Ours hands the pack's layout through the
place of the mask, so that it reaches every layer and also a layer that is computed again under gradient checkpointing.
Without a pack (generation, the plain scorer) both do what `sdpa` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from simpo.model.pack import Block, CannotShare, Layout, round_up
from simpo.model.tiles import tiled_attention

NAME = "simpo_shared"

# Blocks up to this many tokens are attended to at once, every token with every other under a mask: two batched
# products, fewer and larger than tile by tile.
DENSE_TOKENS = 256

# Where torch's fused attention is faster than tiles. Its backward on a CPU takes two to three times as long.
FUSED_DEVICES = ("cuda", "xpu", "mps")

# What models pass on to their attention function besides its own arguments, and which attention need not know.
HARMLESS_TENSORS = {"position_ids", "cache_position"}

# Transformers' form of a mask: whether a query at one position sees a key at another (batch, head, query, key).
Sees = Callable[[Any, Any, Tensor, Tensor], Tensor]

_layout: ContextVar[Layout | None] = ContextVar("layout of the pack in this forward", default=None)


class LooksAtMask(CannotShare, AttributeError):
    """A model does something with its attention mask that a packed row with shared prefixes does not have.

    An AttributeError too, so that `hasattr` on what stands in place of a mask answers no instead of failing.
    """


class PackMask:
    """What stands in the place of a mask while a pack is in flight: its layout and what the layer's kind of mask sees.

    layout: the blocks of the row. sees: of two positions in one sequence. A model that does anything with it but
    hand it to its attention gets LooksAtMask, and not wrong numbers or a strange error.
    """

    __slots__ = ("_masks", "layout", "sees")

    def __init__(self, layout: Layout, sees: Sees) -> None:
        self.layout, self.sees = layout, sees
        self._masks: dict[object, Tensor | None] = {}  # worked out once, for all layers of the forward

    def hidden(self, index: int, like: Tensor) -> Tensor:
        """[S, S] for a block, to be added to logits: 0 where a token sees another, in prefix and branch, else -inf.

        like: [H, S, D], S the block's length or more: what is beyond it sees everything and is seen by nobody in it.
        """
        size = like.shape[1]
        key = ("hidden", index, size, like.dtype)
        found = self._masks.get(key)
        if found is None:
            length = self.layout.blocks[index].length
            found = torch.zeros(size, size, dtype=like.dtype, device=like.device)
            found[:length, length:] = float("-inf")
            found[:length, :length].masked_fill_(~self.block(index, like.device), float("-inf"))
            self._masks[key] = found
        return found

    def block(self, index: int, device: torch.device) -> Tensor:
        """[L, L] bool for a block: each token sees the prefix and its own branch, as far back as the layer looks."""
        key = ("block", index)
        found = self._masks.get(key)
        if found is None:
            block = self.layout.blocks[index]
            owners = [-1] * block.prefix + [i for i, n in enumerate(block.branches) for _ in range(n)]
            places = [*range(block.prefix), *(block.prefix + i for n in block.branches for i in range(n))]
            owner, place = torch.tensor([owners, places], device=device)
            own = (owner[:, None] == owner[None, :]) | (owner[None, :] == -1)
            found = self._masks[key] = own & self._seen(place, place)
        return found

    def tile(self, queries: range, keys: range, like: Tensor) -> Tensor:
        """[Q, K] to be added to logits of positions in one sequence: 0 where the query sees the key, else -inf."""
        apart = queries.start - keys.start
        # Causality looks at distances alone, so that all tiles of one size share their mask.
        key = (apart, len(queries), len(keys), 0 if self.causal else keys.start, like.dtype)
        found = self._masks.get(key)
        if found is None:
            rows, columns = (torch.arange(r.start, r.stop, device=like.device) for r in (queries, keys))
            found = torch.zeros(len(queries), len(keys), dtype=like.dtype, device=like.device)
            found = self._masks[key] = found.masked_fill_(~self._seen(rows, columns), float("-inf"))
        return found

    @property
    def causal(self) -> bool:
        """Whether every query sees all keys up to itself."""
        return self.sees is causal_mask_function

    def segment(self, start: int, end: int, device: torch.device) -> Tensor | None:
        """[end - start, end] bool for queries at the end of a sequence, or None where it is a whole causal square."""
        if start == 0 and self.causal:
            return None
        key = ("segment", start, end)
        if key not in self._masks:
            place = torch.arange(end, device=device)
            seen = self._seen(place[start:], place)
            whole = start == 0 and bool(seen.tril().sum() == end * (end + 1) // 2)
            self._masks[key] = None if whole else seen
        return self._masks[key]

    def _seen(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Which of the keys' positions each query's position sees; causal whatever the model's function says."""
        row, column = queries[:, None], keys[None, :]
        causal = column <= row
        return causal if self.causal else causal & self.sees(0, 0, row, column)

    def __getattr__(self, name: str) -> Any:
        raise LooksAtMask(f"the model looks at its attention mask ({name}): it cannot share prompts")

    def __getitem__(self, key: object) -> Any:
        raise LooksAtMask("the model takes a part of its attention mask: it cannot share prompts")

    def __bool__(self) -> bool:
        raise LooksAtMask("the model takes its attention mask for a truth value: it cannot share prompts")

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> Any:
        name = getattr(function, "__name__", function)
        raise LooksAtMask(f"the model computes with its attention mask ({name}): it cannot share prompts")


@contextmanager
def attending(layout: Layout) -> Iterator[None]:
    """Let the forward inside the block attend as the layout says."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def use_shared_attention(model: Any) -> None:
    """Name our attention in the model's configuration.

    Raises CannotShare for a model that takes no attention by name (it has attention layers of its own).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not base._can_set_attn_implementation():  # transformers would log a warning and leave it as it was
        raise CannotShare(f"{type(base).__name__} takes no attention function by name")
    base.set_attn_implementation(NAME)


def shared_mask(
    *args: Any, mask_function: Sees = causal_mask_function, use_vmap: bool = False, **kwargs: Any
) -> Any:
    """In place of a mask: the pack's layout and the layer's kind of mask, or sdpa's mask where no pack is in flight.

    Raises CannotShare for masks that depend on more than two positions (images, blocks of the input).
    """
    layout = _layout.get()
    if layout is None:
        return sdpa_mask(*args, mask_function=mask_function, use_vmap=use_vmap, **kwargs)
    if use_vmap:
        raise CannotShare("the model's mask depends on more than positions: it cannot share prompts")
    return PackMask(layout, mask_function)


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
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of every token of a packed row over its prefix and its own branch.

    query: [1, H, T, D]. key: [1, Hkv, T, D], value: [1, Hkv, T, E], Hkv dividing H. attention_mask: a PackMask of T
    tokens, else this is sdpa (with soft cap and sinks, which that lacks). softcap: logits become
    softcap * tanh(logits / softcap). s_aux: [H] logits of attention sinks, one place more that each query may attend
    to and that holds nothing. Returns [1, T, H, E]. Raises CannotShare for what a pack does not have: dropout in a
    pack, position biases, attention that is not causal.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if not isinstance(attention_mask, PackMask):
        if _layout.get() is not None:
            raise CannotShare("a layer of the model is given no mask: it cannot share prompts")
        if softcap is None and s_aux is None:
            return sdpa_attention_forward(  # type: ignore[no-any-return]
                module, query, key, value, attention_mask, dropout=dropout, scaling=scale, **kwargs
            )
        return _unpacked(module, query * scale, key, value, attention_mask, dropout, softcap, s_aux), None
    _refuse_what_a_pack_lacks(module, dropout, kwargs)
    blocks, fill = attention_mask.layout.blocks, attention_mask.layout.fill
    lengths = [*(block.length for block in blocks), fill]
    # One split, not a slice for each block: its backward is one concatenation.
    by_block = list(
        zip(*(torch.split(tensor[0], lengths, dim=1) for tensor in (query * scale, key, value)), strict=True)
    )
    parts = []
    for index, (queries, keys, values) in enumerate(by_block[:-1]):
        if blocks[index].length <= DENSE_TOKENS:
            parts.append(_dense(queries, keys, values, attention_mask, index, softcap, s_aux))
        elif queries.device.type == "cpu" or softcap is not None or s_aux is not None:
            parts.append(
                tiled_attention(queries, keys, values, attention_mask, blocks[index], softcap, s_aux)
            )
        else:
            parts.append(_by_branch(queries, keys, values, blocks[index], attention_mask))
    if fill:
        parts.append(value.new_zeros(query.shape[1], fill, value.shape[3]).to(parts[0].dtype))
    return torch.cat([part.transpose(0, 1) for part in parts]).unsqueeze(0), None


def _refuse_what_a_pack_lacks(module: Any, dropout: float, kwargs: dict[str, Any]) -> None:
    if dropout and module.training:
        raise CannotShare("a model with dropout in attention cannot share prompts")
    if kwargs.get("is_causal", True) is False:
        raise CannotShare("attention that is not causal cannot share prompts")
    unknown = sorted(
        name for name, given in kwargs.items() if isinstance(given, Tensor) and name not in HARMLESS_TENSORS
    )
    if unknown:
        raise CannotShare(f"attention with {', '.join(unknown)} cannot share prompts")


def _dense(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: PackMask,
    index: int,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """A whole block by two batched products, softmax in float32: [H, L, E] from scaled queries.

    Query heads that share a key head are stacked as more queries, so that no key is copied.
    """
    heads, length, width = queries.shape
    size = length
    if queries.device.type == "cpu":  # few shapes: see SHAPE_STEP
        size = round_up(length)
        queries, keys, values = (F.pad(part, (0, 0, 0, size - length)) for part in (queries, keys, values))
    logits = queries.reshape(keys.shape[0], -1, width) @ keys.transpose(-1, -2)
    hidden = mask.hidden(index, queries)
    weights = _softmax(_capped(logits, softcap).view(heads, size, size) + hidden, sinks)
    weights = weights.to(values.dtype).view(keys.shape[0], -1, size)
    return (weights @ values).view(heads, size, -1)[:, :length]


def _capped(logits: Tensor, softcap: float | None) -> Tensor:
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _softmax(logits: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax of [..., H, Q, K] over K in float32 or better; a head's sink takes its share and is dropped."""
    precise = torch.promote_types(logits.dtype, torch.float32)
    if sinks is None:
        return logits.softmax(-1, dtype=precise)
    sink = sinks.to(precise).view(-1, 1, 1).expand(*logits.shape[:-1], 1)
    return torch.cat([logits.to(precise), sink], dim=-1).softmax(-1)[..., :-1]


def _by_branch(queries: Tensor, keys: Tensor, values: Tensor, block: Block, mask: PackMask) -> Tensor:
    """A long block branch by branch with torch's fused attention: [H, L, E] from scaled queries."""
    repeats = queries.shape[0] // keys.shape[0]
    keys, values = keys.repeat_interleave(repeats, dim=0), values.repeat_interleave(repeats, dim=0)
    lengths = [block.prefix, *block.branches]
    parts = list(
        zip(*(torch.split(tensor, lengths, dim=1) for tensor in (queries, keys, values)), strict=True)
    )
    (query, prefix_keys, prefix_values), branches = parts[0], parts[1:]
    outputs = [_fused(query, prefix_keys, prefix_values, mask)] if block.prefix else []
    for query, key, value in branches:
        seen = torch.cat([prefix_keys, key], dim=1), torch.cat([prefix_values, value], dim=1)
        outputs.append(_fused(query, *seen, mask))
    return torch.cat(outputs, dim=1)


def _fused(queries: Tensor, keys: Tensor, values: Tensor, mask: PackMask) -> Tensor:
    """[H, L, E] from scaled [H, L, D] queries that stand at the end of the [H, K, D] keys, L <= K."""
    total = keys.shape[1]
    seen = mask.segment(total - queries.shape[1], total, queries.device)
    return F.scaled_dot_product_attention(
        queries.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0),
        attn_mask=seen, is_causal=seen is None, scale=1.0,
    )[0]  # fmt: skip


def _unpacked(
    module: Any,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    dropout: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """What sdpa would say with soft caps and sinks: [B, Q, H, E] from scaled [B, H, Q, D] queries, sdpa's mask."""
    repeats = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)
    length, total = queries.shape[2], keys.shape[2]
    if mask is None and length > 1:  # sdpa's reading of no mask: causal from the first key on
        mask = torch.ones(length, total, dtype=torch.bool, device=queries.device).tril()
    logits = _capped(queries @ keys.transpose(-1, -2), softcap)
    if mask is not None:
        lowest = torch.finfo(logits.dtype).min  # not -inf: a row of padding sees nothing and must stay finite
        logits = logits.masked_fill(~mask, lowest) if mask.dtype == torch.bool else logits + mask
    weights = F.dropout(_softmax(logits, sinks).to(values.dtype), dropout, module.training)
    return (weights @ values).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, shared_attention)
AttentionMaskInterface.register(NAME, shared_mask)
