"""Score many groups in batches that are bounded twice: in number, and in the memory that their logits take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simpo.core.logps import SequenceLogps, concatenate
from simpo.records import TokenGroup

Progress = Callable[[int, int], None]

# Logits of one forward, 1 GiB in float32. A vocabulary of 128,000 and answers of 1,000 tokens would else take 16 GiB
# with the default batch size: an evaluation must fit wherever the training before it did.
MAX_LOGITS = 2**28


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
    """Log-probabilities of all completions, [sum of K] in the order of the groups, float32 on the CPU."""
    parts: dict[int, SequenceLogps] = {}
    for batch in batches:
        logps = score([groups[index] for index in batch]).detach()
        logps = SequenceLogps(logps.total.float().cpu(), logps.tokens.cpu())
        start = 0
        for index in batch:
            end = start + len(groups[index].completions)
            parts[index] = logps[start:end]
            start = end
        if progress is not None:
            progress(len(parts), len(groups))
    return concatenate([parts[index] for index in range(len(groups))])


def _num_logits(groups: Sequence[TokenGroup], batch: Sequence[int], vocab_size: int) -> int:
    sequences = sum(len(groups[index].completions) for index in batch)
    span = max(groups[index].longest for index in batch) - min(len(groups[index].prompt) for index in batch)
    return sequences * span * vocab_size
