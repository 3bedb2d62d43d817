"""Log-probabilities and losses the slow way: one sequence a forward, one pair a time, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simpo.core.methods import METHODS
from simpo.records import TokenGroup
from tests.oracles import losses as oracle


def token_logps(model: Any, group: TokenGroup, completion: Any) -> Tensor:
    """Of each token of one completion, by one forward of one sequence without padding, in the model's own type."""
    ids = torch.tensor([*group.prompt.tolist(), *completion.tolist()])[None]
    logits = model(ids).logits[0, len(group.prompt) - 1 : -1].double()
    logps: Tensor = logits.log_softmax(-1).gather(1, ids[0, len(group.prompt) :, None])[:, 0]
    return logps


def detached_logps(model: Any, group: TokenGroup) -> list[list[float]]:
    with torch.no_grad():
        return [token_logps(model, group, completion).tolist() for completion in group.completions]


def oracle_loss(own: list[list[float]], base: list[list[float]], name: str) -> float:
    """Of one pair, from the log-probabilities of its tokens."""
    pair = oracle.TokenPair(own[0], own[1], base[0], base[1])
    loss = oracle.PREFERENCE_LOSSES[name](pair, **METHODS[name].defaults)
    return loss + METHODS[name].sft_weight * oracle.sft_term(pair)
