"""One checkpoint of a run: what all ranks put together, and one of them writes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from simpo.model.load import Policy
from simpo.model.weights import collect_weights, save_weights
from simpo.runs.checkpoint import OPTIMIZER, Checkpoint, save_checkpoint
from simpo.runs.events import EventLog
from simpo.runs.ranks import Ranks
from simpo.train.optimizer import optimizer_tensors, save_optimizer
from simpo.train.parallel import require_same_copies
from simpo.train.state import LoopState, require_sane_weights


def save_state(
    checkpoints: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer | None,
    state: LoopState,
    events: EventLog,
    ranks: Ranks,
) -> tuple[Checkpoint, int]:
    """Write weights, state and, where there is one, the optimizer; returns the checkpoint and its size in bytes.

    All ranks must ask. Raises Collapsed for weights that are not sane, RunFailed where copies differ or the disk is
    full.
    """
    require_sane_weights(policy.model, state.step)
    require_same_copies(policy.model, ranks)
    weights = collect_weights(policy, keep=ranks.main)
    moments = None if optimizer is None else optimizer_tensors(optimizer, keep=ranks.main)

    def write(folder: Path) -> None:
        save_weights(policy, folder / "model", weights)
        if moments is not None:
            save_optimizer(moments, folder / OPTIMIZER)
        (folder / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")

    def save() -> tuple[Checkpoint, int]:
        events.sync()  # no checkpoint is ahead of its story
        return save_checkpoint(checkpoints, state.step, write)

    return ranks.on_main(save)
