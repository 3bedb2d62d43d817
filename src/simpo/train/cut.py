"""How a run cuts batches into micro-batches: by pairs, by tokens, or by the tokens that memory and speed allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from simpo.data.batches import micro_batches, micro_batches_of_tokens
from simpo.model.trust import Choice
from simpo.recipe import TrainRecipe
from simpo.runs.events import read_events
from simpo.runs.ranks import Ranks
from simpo.train.balance import Cut
from simpo.train.budget import find_budget, free_bytes
from simpo.train.prepare import Prepared


def choose_cut(
    train: TrainRecipe,
    prepared: Prepared,
    optimizer: torch.optim.Optimizer | None,
    choice: Choice,
    events: Path,
    emit: Callable[..., None],
    ranks: Ranks,
) -> Cut:
    """How a batch is cut into micro-batches; a budget that was found once is a run's for good.

    Rounding differs from cut to cut, and a resumed run is to be the run without interruption. Of several ranks the one
    with least room decides. optimizer: None where weights, and with them its states, are still to be cut into shards.
    """
    size, budget = train.micro_batch_size, train.tokens_per_microbatch
    if size is not None:
        return lambda groups: micro_batches(groups, size)
    if budget is None or budget == "auto":
        known = ranks.on_main(_known_budget, events)
        budget = known or _find(prepared, optimizer, choice, emit, ranks)
    tokens = budget
    return lambda groups: micro_batches_of_tokens(groups, tokens, choice.tokens)


def _known_budget(events: Path) -> int | None:
    """What an earlier process of this run found."""
    found = [int(event["tokens"]) for event in read_events(events) if event["event"] == "budget"]
    return found[-1] if found else None


def _find(
    prepared: Prepared,
    optimizer: torch.optim.Optimizer | None,
    choice: Choice,
    emit: Callable[..., None],
    ranks: Ranks,
) -> int:
    policy, free = prepared.policy, free_bytes(prepared.policy.device)
    if optimizer is None:
        trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.0)  # of which the weights are looked at, and nothing more
        # Gradients and two moments are counted whole there, and will be a shard each.
        states = 3 * sum(weight.numel() * weight.element_size() for weight in trained)
        free = None if free is None else free + states - states // ranks.size
    own = find_budget(policy.model, optimizer, choice, prepared.train, free)
    found = min(ranks.gather(own), key=lambda budget: budget.tokens)
    emit("budget", tokens=found.tokens, reason=found.reason)
    return found.tokens
