"""What a model says of a completion: one sequence at a time, all its logits, no padding, sums in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from simpo.records import TokenGroup
from tests.oracles.logps import token_logp


def completion_logps(model: Any, group: TokenGroup) -> list[list[float]]:
    """Log-probability of each token of each completion after the group's prompt."""
    found = []
    for completion in group.completions:
        ids = [*group.prompt.tolist(), *completion.tolist()]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().tolist()
        places = range(len(group.prompt), len(ids))
        found.append([token_logp(logits[place - 1], ids[place]) for place in places])
    return found


def totals(model: Any, groups: Sequence[TokenGroup]) -> list[float]:
    """Sum over each completion, completions in order."""
    return [sum(logps) for group in groups for logps in completion_logps(model, group)]


def graphs(model: Any, group: TokenGroup) -> list[torch.Tensor]:
    """Sum over each completion as a tensor of the model's own precision, to be differentiated."""
    found = []
    for completion in group.completions:
        ids = torch.tensor([*group.prompt.tolist(), *completion.tolist()])
        logits = model(input_ids=ids[None], use_cache=False).logits[0, len(group.prompt) - 1 : -1]
        found.append(-torch.nn.functional.cross_entropy(logits, ids[len(group.prompt) :], reduction="sum"))
    return found
