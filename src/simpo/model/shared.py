"""The shared scorer: one packed row, each prompt once, the head at completion positions only, logits in chunks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from simpo.core.logps import SequenceLogps
from simpo.model.attention import attending
from simpo.model.head import LogitShape, picked_logps
from simpo.model.pack import Pack, pack_groups
from simpo.records import TokenGroup


def shared_score(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    """Log-probabilities of every completion, as the plain scorer's, from one packed row without padding.

    The model must have been given our attention by `use_shared_attention`. Raises NotImplementedError for a model that
    this cannot serve (no plain linear head, attention sinks, dropout in attention).
    """
    pack = pack_groups(groups, next(model.parameters()).device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise NotImplementedError("the shared scorer needs a plain linear output head")
    hidden = _hidden_rows(model, base, head, pack)
    shape = LogitShape.of(base.config.get_text_config())
    logps = picked_logps(hidden, head.weight, head.bias, pack.pick_row, pack.targets, shape)
    total = torch.zeros(pack.num_completions, device=logps.device).index_add(0, pack.owner, logps)
    return SequenceLogps(total, pack.tokens)


def _hidden_rows(model: Any, base: Any, head: nn.Linear, pack: Pack) -> Tensor:
    """[R, D] what the head would be given at the rows that predict; the head itself is run on nothing."""
    inputs = {"input_ids": pack.input_ids, "position_ids": pack.position_ids, "use_cache": False}
    keeps = "logits_to_keep" in inspect.signature(type(base).forward).parameters
    if keeps:
        inputs["logits_to_keep"] = pack.rows
    with attending(pack.layout), _capturing_input(head) as captured:
        model(**inputs)
    hidden = captured[0][0]
    return hidden if keeps else hidden[pack.rows]


@contextmanager
def _capturing_input(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Keep what the head is given ([1, R, D]) and let it compute on no rows."""
    captured: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        captured.append(inputs[0])
        return (inputs[0][:, :0], *inputs[1:])

    handle = head.register_forward_pre_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()
