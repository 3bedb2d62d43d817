"""The plain scorer: each completion beside its prompt in one padded forward. The oracle for every faster one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps, concatenate, sum_scored, token_logps
from simpo.records import TokenGroup
from simpo.runs.ranks import apart, current

# Logits of one forward without gradients, 1 GiB in float32. A vocabulary of 128,000 and answers of 1,000 tokens would
# else take 16 GiB with the default batch size: an evaluation must fit wherever the training before it did.
MAX_LOGITS = 2**28

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """What every scorer is: token groups in, the log-probabilities of all their completions out, in order.

    Returns N = sum of K over the groups; differentiable in the model's parameters. For pairs, chosen completions are at
    even places and rejected ones at odd places.
    """

    def __call__(self, model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps: ...


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """N sequences padded on the right to one length T.

    input_ids: [N, T] int64. targets: [N, S] int64, the tokens at positions first + 1 ... first + S, and scored: [N, S]
    bool, which of them belong to a completion. Logits are needed at positions first ... first + S - 1. There is no
    attention mask: padding stands on the right, where causal attention never looks from a scored position, and
    attention kernels are fastest without one.
    """

    input_ids: Tensor
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
    scored = torch.zeros((len(pairs), longest), dtype=torch.bool)
    for row, (prompt, completion) in enumerate(pairs):
        end = len(prompt) + len(completion)
        input_ids[row, : len(prompt)] = torch.from_numpy(prompt)
        input_ids[row, len(prompt) : end] = torch.from_numpy(completion)
        scored[row, len(prompt) : end] = True
    first = min(len(prompt) for prompt, _ in pairs) - 1
    input_ids, scored = input_ids.to(device), scored.to(device)
    return PaddedBatch(input_ids, input_ids[:, first + 1 :], scored[:, first + 1 :], first)


def padded_tokens(groups: Sequence[TokenGroup]) -> int:
    """Tokens of one padded forward over the groups, padding included."""
    return sum(len(group.completions) for group in groups) * max(group.longest for group in groups)


def score(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    """Log-probabilities of every completion after its prompt, by one padded forward of the model as it is.

    For causal models. Logits are asked for at the positions from the shortest prompt's end on, where the model allows
    it, and turned into float32 one sequence at a time: two copies of all of them are more than the rest of a forward.
    """
    batch = pad_groups(groups, next(model.parameters()).device)
    if _takes_logits_to_keep(model):
        logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.positions).logits
    else:
        logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, batch.first : -1]
    logps = [token_logps(row, targets) for row, targets in zip(logits, batch.targets, strict=True)]
    return sum_scored(torch.stack(logps), batch.scored)


def score_all(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    batch_size: int = 8,
    scorer: Scorer = score,
    progress: Progress | None = None,
) -> SequenceLogps:
    """Score many groups with a model in evaluation mode and without a graph; its training mode is restored.

    batch_size: groups in one forward, at most; fewer where their logits would be too many (`length_batches`). Returns
    float32 totals [sum of K] in the order given, on the CPU.
    """
    batches = model_batches(model, groups, batch_size)
    # no_grad, not inference_mode: what is scored here may serve as a reference in a loss with gradients.
    with evaluating(model), torch.no_grad():
        return score_in_batches(lambda batch: scorer(model, batch), groups, batches, progress=progress)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a model in evaluation mode while the block runs, then each of its modules back in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def model_batches(model: Any, groups: Sequence[TokenGroup], batch_size: int) -> list[list[int]]:
    """`length_batches` for the vocabulary of this model."""
    vocab_size = _innermost(model).config.get_text_config().vocab_size
    return length_batches(groups, batch_size=batch_size, vocab_size=vocab_size)


def length_batches(
    groups: Sequence[TokenGroup], *, batch_size: int, vocab_size: int, max_logits: int = MAX_LOGITS
) -> list[list[int]]:
    """Places of the groups in batches of like lengths, longest first: at most `batch_size`, at least one group.

    Within that, sequences x positions with logits (the shortest prompt's end to the longest completion's) x
    `vocab_size` stays within `max_logits`.
    """
    order = sorted(range(len(groups)), key=lambda index: -groups[index].longest)
    batches: list[list[int]] = []
    for index in order:
        together = [*batches[-1], index] if batches else []
        if (
            together
            and len(together) <= batch_size
            and _num_logits(groups, together, vocab_size) <= max_logits
        ):
            batches[-1] = together
        else:
            batches.append([index])
    return batches


def score_in_batches(
    score: Callable[[Sequence[TokenGroup]], SequenceLogps],
    groups: Sequence[TokenGroup],
    batches: Sequence[Sequence[int]],
    *,
    progress: Progress | None = None,
) -> SequenceLogps:
    """Log-probabilities of all completions, [sum of K] in the order of the groups, float32 on the CPU.

    Several ranks take the batches in turn and tell each other. Each runs the model as often as the others, since
    sharded weights need all of them for every forward: where no batch is left, the last once more, for nothing.
    """
    ranks = current()
    parts: dict[int, SequenceLogps] = {}
    for first in range(0, len(batches), ranks.size):
        turn = batches[first : first + ranks.size]
        batch = turn[min(ranks.rank, len(turn) - 1)]
        with apart():
            logps = score([groups[index] for index in batch]).detach()
        logps = SequenceLogps(logps.total.float().cpu(), logps.tokens.cpu())
        start = 0
        for index in batch:
            end = start + len(groups[index].completions)
            parts[index] = logps[start:end]
            start = end
        if progress is not None:
            progress(sum(map(len, batches[: first + ranks.size])), len(groups))
    parts = ranks.merge(parts)
    return concatenate([parts[index] for index in range(len(groups))])


def _num_logits(groups: Sequence[TokenGroup], batch: Sequence[int], vocab_size: int) -> int:
    sequences = sum(len(groups[index].completions) for index in batch)
    span = max(groups[index].longest for index in batch) - min(len(groups[index].prompt) for index in batch)
    return sequences * span * vocab_size


def _takes_logits_to_keep(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(type(_innermost(model)).forward).parameters


def _innermost(model: Any) -> Any:
    """The transformers model inside what torch.compile, data parallelism and peft wrap around it."""
    for wrapper in ("_orig_mod", "module"):
        model = getattr(model, wrapper, model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
