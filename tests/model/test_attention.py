"""Attention over packs against one sequence at a time in float64, and what is refused in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

from simpo.model import attention, tiles
from simpo.model.attention import PackMask, attending, shared_attention, shared_mask
from simpo.model.pack import Block, CannotShare, Layout

LAYOUT = Layout((Block(5, (4, 2)), Block(0, (3, 1)), Block(9, (1,)), Block(2, (6, 6, 1))))
HEADS, KEY_HEADS, WIDTH, VALUE_WIDTH = 4, 2, 6, 5
MODULE = SimpleNamespace(training=False, is_causal=True)


def make() -> tuple[Tensor, Tensor, Tensor]:
    tokens = LAYOUT.num_tokens
    sizes = ((HEADS, WIDTH), (KEY_HEADS, WIDTH), (KEY_HEADS, VALUE_WIDTH))
    query, key, value = (
        torch.randn(1, heads, tokens, width, dtype=torch.float64, requires_grad=True)
        for heads, width in sizes
    )
    return query, key, value


def one_at_a_time(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, softcap: float | None, sinks: Tensor | None
) -> Tensor:
    """[T, H, E]: each token of each sequence by itself."""
    outputs: dict[int, Tensor] = {}
    start = 0
    for block in LAYOUT.blocks:
        own = start + block.prefix
        for length in block.branches:
            places = [*range(start, start + block.prefix), *range(own, own + length)]
            own += length
            for at, place in enumerate(places):
                seen = places[max(0, at + 1 - window) if window else 0 : at + 1]
                heads = []
                for h in range(HEADS):
                    shared = h // (HEADS // KEY_HEADS)
                    logits = key[0, shared, seen] @ query[0, h, place] * WIDTH**-0.5
                    if softcap is not None:
                        logits = softcap * torch.tanh(logits / softcap)
                    total = logits.exp().sum() + (0 if sinks is None else sinks[h].exp())
                    heads.append((logits.exp() / total) @ value[0, shared, seen])
                outputs[place] = torch.stack(heads)
        start = own
    return torch.stack([outputs[place] for place in range(LAYOUT.num_tokens)])


WAYS = {
    "dense": (1024, 256, ()),
    "tiles of 1": (0, 1, ()),
    "tiles of 4": (0, 4, ()),
    "fused": (0, 4, ("cpu",)),
}


def attend_by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose how long blocks are attended to, which their length and the device decide otherwise."""
    dense, tile, fused = WAYS[way]
    monkeypatch.setattr(attention, "DENSE_TOKENS", dense)
    monkeypatch.setattr(tiles, "TILE", tile)
    monkeypatch.setattr(attention, "FUSED_DEVICES", fused)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("window", "softcap", "sinks"),
    [(None, None, False), (1, None, False), (3, None, False), (99, None, False), (None, 0.7, False),
     (4, 0.7, False), (None, None, True), (3, None, True)],
)  # fmt: skip
def test_every_token_attends_to_its_own_past(
    window: int | None, softcap: float | None, sinks: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend_by(way, monkeypatch)
    query, key, value = make()
    sink = torch.randn(HEADS, dtype=torch.float64, requires_grad=True) if sinks else None
    sees = causal_mask_function if window is None else sliding_window_causal_mask_function(window)
    with attending(LAYOUT):
        mask = shared_mask(mask_function=sees)
    found, _ = shared_attention(MODULE, query, key, value, mask, softcap=softcap, s_aux=sink)
    wanted = one_at_a_time(query, key, value, window, softcap, sink)
    torch.testing.assert_close(found[0], wanted, rtol=1e-10, atol=1e-12)
    inputs = [tensor for tensor in (query, key, value, sink) if tensor is not None]
    weights = torch.randn_like(wanted)
    ours = torch.autograd.grad((found[0] * weights).sum(), inputs)
    theirs = torch.autograd.grad((wanted * weights).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def pack_mask() -> Any:
    return PackMask(LAYOUT, causal_mask_function)


@pytest.mark.parametrize(
    "use",
    [
        lambda mask: mask.shape,
        lambda mask: mask[:, None],
        lambda mask: torch.zeros(2) + mask,
        lambda mask: mask + torch.zeros(2) if hasattr(mask, "__add__") else torch.add(torch.zeros(2), mask),
        lambda mask: torch.all(mask),
        lambda mask: 1 if mask else 0,
        lambda mask: mask.to("cpu"),
    ],
)
def test_a_model_that_does_anything_with_the_mask_but_pass_it_on_is_refused_in_words(use: Any) -> None:
    with pytest.raises(CannotShare, match="cannot share prompts"):
        use(pack_mask())


def test_asking_whether_the_mask_has_an_attribute_is_answered() -> None:
    assert not hasattr(pack_mask(), "to")


def test_what_is_not_built_is_refused_in_words() -> None:
    tensors = make()
    training = SimpleNamespace(training=True)
    for module, more, words in (
        (training, {"dropout": 0.1}, "dropout"),
        (MODULE, {"position_bias": torch.zeros(1)}, "position_bias"),
        (MODULE, {"is_causal": False}, "not causal"),
    ):
        with pytest.raises(CannotShare, match=words):
            shared_attention(module, *tensors, pack_mask(), **more)
    with attending(LAYOUT):
        with pytest.raises(CannotShare, match="more than positions"):
            shared_mask(mask_function=causal_mask_function, use_vmap=True)
        with pytest.raises(CannotShare, match="given no mask"):
            shared_attention(MODULE, *tensors, None)


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("queries", [1, 6])
def test_without_a_pack_soft_caps_and_sinks_are_those_of_attention_by_the_book(
    kind: str, queries: int
) -> None:
    keys = 6
    query = torch.randn(2, HEADS, queries, WIDTH, dtype=torch.float64)
    key, value = (torch.randn(2, KEY_HEADS, keys, WIDTH, dtype=torch.float64) for _ in range(2))
    sinks = torch.randn(HEADS, dtype=torch.float64)
    seen = torch.arange(keys)[None] <= torch.arange(keys - queries, keys)[:, None]
    mask: Tensor | None = None
    if kind == "bool":
        mask = seen[None, None].expand(2, 1, -1, -1)
    elif kind == "float":
        mask = torch.zeros(2, 1, queries, keys, dtype=torch.float64).masked_fill(~seen, float("-inf"))
    found, _ = shared_attention(MODULE, query, key, value, mask, softcap=1.5, s_aux=sinks)
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key.repeat_interleave(2, 1)) * WIDTH**-0.5
    weights = (1.5 * torch.tanh(logits / 1.5)).exp() * seen
    weights = weights / (weights.sum(-1, keepdim=True) + sinks.exp()[None, :, None, None])
    wanted = torch.einsum("bhqk,bhkd->bqhd", weights, value.repeat_interleave(2, 1))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
