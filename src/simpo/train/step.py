"""One optimizer step: score, divide by the global batch, backward, clip, check, update. It logs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps, concatenate
from simpo.core.objective import Objective
from simpo.errors import Collapsed
from simpo.model.reference import Reference
from simpo.model.score import Scorer
from simpo.model.sharding import whole
from simpo.records import TokenGroup
from simpo.runs.ranks import ALONE, Ranks
from simpo.train.balance import own_turns
from simpo.train.reduce import all_rows, drawing_alike, sum_gradients


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step saw, over its whole global batch.

    loss: as minimised (per pair, or nats per token for SFT). grad_norm: before clipping. chosen_logps, rejected_logps:
    mean over pairs of nats per token. margin: mean reward difference. accuracy: in [0, 1], ties half. Pair figures are
    None for SFT.
    """

    loss: float
    grad_norm: float
    pairs: int
    tokens: int
    chosen_logps: float | None
    rejected_logps: float | None
    margin: float | None
    accuracy: float | None


def train_step(
    accelerator: Any,
    model: Any,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Sequence[TokenGroup]],
    *,
    objective: Objective,
    scorer: Scorer,
    reference: Reference | None,
    max_grad_norm: float,
    ranks: Ranks = ALONE,
) -> StepRecord:
    """Take one step over the micro-batches of one global batch.

    The gradient is the mean over the pairs of the global batch (for SFT over its scored tokens), however it is cut and
    dealt. Several ranks are given the micro-batches of all of them, as `divide` orders them; in a turn for which one
    has nothing left it scores the shortest group, which counts nothing: sharded weights need all ranks in a forward.
    accelerator: what takes losses back and clips, accelerate's or an optimizer that does both itself (`ZeroAdamW`).

    Raises Collapsed *before* the weights change when the loss or the gradient is not finite, naming the row if it can.
    """
    groups = [group for batch in batches for group in batch]
    tokens = sum(group.num_completion_tokens for group in groups)
    denominator = objective.denominator(len(groups), tokens)
    optimizer.zero_grad(set_to_none=True)
    losses: list[Tensor] = []
    policies: list[SequenceLogps] = []
    baselines: list[SequenceLogps] = []
    for batch in own_turns(batches, ranks):
        turn = batch or [min(groups, key=lambda group: group.longest)]
        policy = scorer(model, turn)
        baseline = None if reference is None else reference(turn)
        loss = objective.losses(policy, baseline)
        accelerator.backward((loss.sum() if batch else 0 * loss.sum()) / denominator)
        if not batch:
            continue
        # Kept on the device and read after the last micro-batch: a look at each would make a GPU wait each time.
        losses.append(loss.detach())
        policies.append(policy.detach())
        baselines += [] if baseline is None else [baseline]
    updated = [weight for group in optimizer.param_groups for weight in group["params"]]
    sum_gradients(updated, ranks)
    grad_norm = float(whole(accelerator.clip_grad_norm_(updated, max_grad_norm)))
    losses, policies, baselines = all_rows((losses, policies, baselines), ranks)
    seen = torch.cat(losses).cpu().double()
    _require_finite(seen, concatenate(policies), groups)
    if not math.isfinite(grad_norm):
        raise Collapsed(
            f"the gradient is not finite (norm {grad_norm}); the step was refused and the weights are unchanged",
            fix="lower train.lr, or set train.precision: float32",
        )
    with drawing_alike(ranks):
        optimizer.step()
    sums = PairSums()
    if objective.method.pairwise:
        policy = concatenate(policies)
        sums.add(policy, objective.rewards(policy, concatenate(baselines) if baselines else None))
    return StepRecord(float(seen.sum()) / denominator, grad_norm, len(groups), tokens, **sums.means())


class PairSums:
    """Sums over pairs, of which training and evaluation report the means: both curves mean the same."""

    def __init__(self) -> None:
        self.pairs = 0
        self.totals = {"chosen_logps": 0.0, "rejected_logps": 0.0, "margin": 0.0, "accuracy": 0.0}

    def add(self, policy: SequenceLogps, rewards: Tensor) -> None:
        """Count [2B] completions in, chosen at even places."""
        margins = (rewards[0::2] - rewards[1::2]).cpu().double()
        means = policy.mean.cpu().double()
        self.pairs += len(margins)
        self.totals["chosen_logps"] += float(means[0::2].sum())
        self.totals["rejected_logps"] += float(means[1::2].sum())
        self.totals["margin"] += float(margins.sum())
        self.totals["accuracy"] += float((margins > 0).double().sum() + 0.5 * (margins == 0).double().sum())

    def means(self) -> dict[str, float | None]:
        """Means over the pairs seen; None each where there were none."""
        return {name: total / self.pairs if self.pairs else None for name, total in self.totals.items()}


def _require_finite(losses: Tensor, policy: SequenceLogps, groups: Sequence[TokenGroup]) -> None:
    """Collapsed where the loss of a row is not finite, or (SimPER, hinge) is although a log-probability is not."""
    finite = torch.isfinite(losses)
    finite &= torch.isfinite(policy.total.cpu()).view(len(losses), -1).all(dim=1)
    if bool(finite.all()):
        return
    broken = int((~finite).sum())
    row = groups[int((~finite).nonzero()[0])].row
    whose = f"row {row.id}" if broken == 1 else f"{broken} of the step's {len(groups)} rows, first {row.id}"
    look = "lower train.lr, or set train.precision: float32"
    raise Collapsed(
        f"the loss is not finite ({whose}); the step was refused and the weights are unchanged",
        where=str(row.source),
        fix=look if broken == len(groups) else f"look at the row; {look}",
    )
