"""How a run cuts batches into micro-batches: by pairs, by tokens, or by the tokens that memory and speed allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    optimizer: torch.optim.Optimizer,
    choice: Choice,
    events: Path,
    emit: Callable[..., None],
    ranks: Ranks,
) -> Cut:
    """How a batch is cut into micro-batches; a budget that was found once is a run's for good.

    Rounding differs from cut to cut, and a resumed run is to be the run without interruption. Of several ranks the one
    with least room decides.
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


def _find(prepared: Prepared, optimizer: Any, choice: Choice, emit: Callable[..., None], ranks: Ranks) -> int:
    policy = prepared.policy
    own = find_budget(policy.model, optimizer, choice, prepared.train, free_bytes(policy.device))
    found = min(ranks.gather(own), key=lambda budget: budget.tokens)
    emit("budget", tokens=found.tokens, reason=found.reason)
    return found.tokens
