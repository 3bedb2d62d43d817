"""The plain scorer: each completion beside its prompt in one padded forward. The oracle for every faster one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps, concatenate, sum_scored, token_logps
from simpo.records import TokenGroup


class Scorer(Protocol):
    """What every scorer is: token groups in, the log-probabilities of all their completions out, in order.

    Returns N = sum of K over the groups; differentiable in the model's parameters. For pairs, chosen completions are at
    even places and rejected ones at odd places.
    """

    def __call__(self, model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps: ...


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """N sequences padded on the right to one length.

    input_ids, attention_mask: [N, T] int64. targets: [N, S] int64, the tokens at positions first + 1 ... first + S, and
    scored: [N, S] bool, which of them belong to a completion. Logits are needed at positions first ... first + S - 1.
    """

    input_ids: Tensor
    attention_mask: Tensor
    targets: Tensor
    scored: Tensor
    first: int

    @property
    def positions(self) -> Tensor:
        """[S] positions whose logits predict the targets."""
        return torch.arange(self.first, self.first + self.targets.shape[1], device=self.input_ids.device)


def pad_groups(groups: Sequence[TokenGroup], device: torch.device, pad_id: int = 0) -> PaddedBatch:
    """Concatenate each prompt with each of its completions, pad on the right, and mark what is scored."""
    pairs = [(group.prompt, completion) for group in groups for completion in group.completions]
    longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
    input_ids = torch.full((len(pairs), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(pairs), longest), dtype=torch.int64)
    scored = torch.zeros((len(pairs), longest), dtype=torch.bool)
    for row, (prompt, completion) in enumerate(pairs):
        end = len(prompt) + len(completion)
        input_ids[row, : len(prompt)] = torch.from_numpy(prompt)
        input_ids[row, len(prompt) : end] = torch.from_numpy(completion)
        attention_mask[row, :end] = 1
        scored[row, len(prompt) : end] = True
    first = min(len(prompt) for prompt, _ in pairs) - 1
    return PaddedBatch(
        input_ids.to(device),
        attention_mask.to(device),
        input_ids[:, first + 1 :].to(device),
        scored[:, first + 1 :].to(device),
        first,
    )


def score(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    """Log-probabilities of every completion after its prompt, by one padded forward of the model as it is.

    Logits are asked for at the positions from the shortest prompt's end on, where the model allows it.
    """
    batch = pad_groups(groups, next(model.parameters()).device)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    if _takes_logits_to_keep(model):
        logits = model(**inputs, logits_to_keep=batch.positions).logits
    else:
        logits = model(**inputs).logits[:, batch.first : -1]
    return sum_scored(token_logps(logits[:, : batch.targets.shape[1]], batch.targets), batch.scored)


def score_all(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    batch_size: int = 8,
    scorer: Scorer = score,
    progress: Callable[[int, int], None] | None = None,
) -> SequenceLogps:
    """Score many groups with a model in evaluation mode and without a graph; its training mode is restored.

    batch_size: groups in one forward. Returns float32 totals [sum of K] in the order given, on the CPU.
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return score_in_batches(lambda batch: scorer(model, batch), groups, batch_size, progress)
    finally:
        model.train(training)


def score_in_batches(
    score_batch: Callable[[Sequence[TokenGroup]], SequenceLogps],
    groups: Sequence[TokenGroup],
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> SequenceLogps:
    """Call `score_batch` with batches of like lengths, the longest first, and put the results back in order."""
    order = sorted(range(len(groups)), key=lambda index: -groups[index].longest)
    parts: dict[int, SequenceLogps] = {}
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        logps = score_batch([groups[index] for index in indices])
        logps = SequenceLogps(logps.total.float().cpu(), logps.tokens.cpu())
        place = 0
        for index in indices:
            count = len(groups[index].completions)
            parts[index] = logps[place : place + count]
            place += count
        if progress is not None:
            progress(min(start + batch_size, len(order)), len(order))
    return concatenate([parts[index] for index in range(len(groups))])


def _takes_logits_to_keep(model: Any) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(type(base).forward).parameters
