"""What the ranks of a step put together: gradients as their sum, and the figures of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.model.sharding import is_sharded
from simpo.runs.ranks import Ranks, peers

# Numbers sent at once: 64 MiB in float32, which is enough to keep a network busy.
BUCKET = 2**24

Rows = tuple[list[Tensor], list[SequenceLogps], list[SequenceLogps]]


def sum_gradients(weights: Sequence[Tensor], ranks: Ranks) -> None:
    """Replace each gradient by its sum over the ranks, in float32; nothing for one rank, or for sharded weights.

    Each rank has divided by the pairs of the global batch, so that the sum is the mean over them, however they were
    dealt. A weight that no rank has a gradient of keeps none.
    """
    if ranks.size == 1 or any(is_sharded(weight) for weight in weights):
        return  # sharded weights have summed theirs in the backward
    with peers():
        present = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
        dist.all_reduce(present, dist.ReduceOp.MAX, group=ranks.control)
        gradients = []
        for weight, there in zip(weights, present.tolist(), strict=True):
            if there:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                gradients.append(weight.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1).float() for gradient in bucket])
            dist.all_reduce(flat)
            place = 0
            for gradient in bucket:
                gradient.copy_(flat[place : place + gradient.numel()].view_as(gradient))
                place += gradient.numel()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    together: list[Tensor] = []
    for gradient in gradients:
        if together and sum(other.numel() for other in together) + gradient.numel() > BUCKET:
            yield together
            together = []
        together.append(gradient)
    if together:
        yield together


def all_rows(rows: Rows, ranks: Ranks) -> Rows:
    """Losses and log-probabilities of the rows of all ranks, in the order of their micro-batches, on the CPU."""
    if ranks.size == 1:
        return rows
    losses, policies, baselines = rows
    own: Rows = ([loss.cpu() for loss in losses], _on_cpu(policies), _on_cpu(baselines))
    found: Rows = ([], [], [])
    for theirs in ranks.gather(own):
        found[0].extend(theirs[0])
        found[1].extend(theirs[1])
        found[2].extend(theirs[2])
    return found


def _on_cpu(parts: Sequence[SequenceLogps]) -> list[SequenceLogps]:
    return [SequenceLogps(part.total.cpu(), part.tokens.cpu()) for part in parts]


@contextmanager
def drawing_alike(ranks: Ranks) -> Iterator[None]:
    """Let all ranks draw the same random numbers while the block runs: copies that round at random stay copies."""
    if ranks.size > 1:
        torch.manual_seed(ranks.on_main(torch.initial_seed) ^ 1)
    yield


def seed_step(seed: int, step: int, ranks: Ranks) -> None:
    """Give each rank random numbers of its own, for dropout, that the step decides: a resumed run draws the same."""
    if ranks.size > 1:
        state = np.random.SeedSequence([seed, step, ranks.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]) >> 1)
