"""The shared scorer: one packed row, each prompt once, the head at completion positions only, logits in chunks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from simpo.core.logps import SequenceLogps
from simpo.model.attention import attending
from simpo.model.head import LogitShape, picked_logps
from simpo.model.pack import CannotShare, Pack, filled, pack_groups
from simpo.records import TokenGroup

# What each model served was found to do to its logits; asked once, since reading the answer stalls a GPU.
_shapes: WeakKeyDictionary[nn.Module, LogitShape] = WeakKeyDictionary()


def shared_score(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    """Log-probabilities of every completion, as the plain scorer's, from one packed row without padding.

    The model must have been given our attention by `use_shared_attention`. Totals are float32, float64 where the model
    is. Raises CannotShare for a model that this cannot serve: no plain linear head, no positions, a mask that
    it looks into, layers that are seen to be recurrent or convolutional, dropout in attention, logits made by more than
    scale and soft cap. A model that mixes tokens outside attention in a way not seen beforehand gives other numbers
    than the plain scorer: compare the two before training.
    """
    pack = pack_groups(groups, next(model.parameters()).device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    if base not in _shapes:
        _refuse_what_cannot_share(base, head)
    if pack.input_ids.device.type == "cpu":
        pack = filled(pack)
    hidden = _hidden_rows(model, base, head, pack)
    logps = picked_logps(hidden, head.weight, head.bias, pack.pick_row, pack.targets, _shapes[base])
    total = logps.new_zeros(pack.num_completions).index_add(0, pack.owner, logps)
    return SequenceLogps(total, pack.tokens)


def run_body(model: Any, groups: Sequence[TokenGroup]) -> Tensor:
    """[R, D] what the head would be given at the rows that predict, for who counts what a forward keeps and no more.

    Tensors may be fake ones, without numbers. Raises CannotShare as `shared_score`.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    _refuse_what_cannot_share(base, head)
    _shapes[base] = LogitShape()  # asked of real numbers alone
    return _hidden_rows(model, base, head, pack_groups(groups, torch.device("cpu")))


def _refuse_what_cannot_share(base: Any, head: Any) -> None:
    """CannotShare for what can be seen of a model before it is run."""
    name = type(base).__name__
    if type(head) is not nn.Linear:
        raise CannotShare(f"the shared scorer needs a plain linear output head; {name} has none")
    if "position_ids" not in inspect.signature(type(base).forward).parameters:
        raise CannotShare(f"{name} takes no positions: it cannot share prompts")
    kinds = getattr(base.config.get_text_config(), "layer_types", None) or ()
    if "linear_attention" in kinds or any(isinstance(module, nn.Conv1d) for module in base.modules()):
        raise CannotShare(f"{name} has recurrent or convolutional layers: it cannot share prompts")


def _hidden_rows(model: Any, base: Any, head: nn.Linear, pack: Pack) -> Tensor:
    """[R, D] what the head would be given at the rows that predict; the head itself is run on nothing."""
    # A mask of ones says that nothing is padding. Without one, transformers takes positions that start anew for
    # sequences packed without a shared prefix, and puts that into the mask that reaches us.
    inputs = {
        "input_ids": pack.input_ids,
        "attention_mask": torch.ones_like(pack.input_ids),
        "position_ids": pack.position_ids,
        "use_cache": False,
    }
    if "logits_to_keep" in inspect.signature(type(base).forward).parameters:
        inputs["logits_to_keep"] = pack.rows
    probe = None if base in _shapes else LogitShape.probe(head.out_features, pack.input_ids.device)
    with attending(pack.layout), _capturing_input(head, probe) as captured:
        logits = model(**inputs).logits
    if len(captured) != 1 or captured[0].dim() != 3 or len(captured[0]) != 1:
        raise CannotShare("the model does not call its output head once with [1, T, D]")
    if probe is not None:
        _shapes[base] = LogitShape.fit(probe, logits)
    hidden = captured[0][0]
    return hidden if len(hidden) == len(pack.rows) else hidden[pack.rows]


@contextmanager
def _capturing_input(head: nn.Linear, probe: Tensor | None) -> Iterator[list[Tensor]]:
    """Keep what the head is given ([1, R, D]), let it compute on no rows, and answer the probe [1, 1, V] in its place.

    Under autocast the head would take its input in the lower precision, so it is kept in that.
    """
    captured: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0]
        kind = hidden.device.type
        low = torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64
        captured.append(hidden.to(torch.get_autocast_dtype(kind)) if low else hidden)
        return (hidden[:, :0], *inputs[1:])

    handles = [head.register_forward_pre_hook(keep)]
    if probe is not None:
        handles.append(head.register_forward_hook(lambda *_: probe.clone()))
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
