"""Log-probabilities of completions: gathered in float32 from logits, kept with their token counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SequenceLogps:
    """Log-probabilities of N completions: `total` [N] in nats and the number of scored `tokens` [N], never 0.

    Sum and mean cannot be confused: whoever needs one writes `.total` or `.mean`. Raises ValueError for
    shapes that differ or for totals of less than float32, whose rounding would exceed a margin; that no count
    is zero is the maker's to see to (`sum_scored` does), since looking here would stall a GPU at every slice.
    """

    total: Tensor
    tokens: Tensor

    def __post_init__(self) -> None:
        if self.total.shape != self.tokens.shape or self.total.dim() != 1:
            raise ValueError(
                f"total {tuple(self.total.shape)} and tokens {tuple(self.tokens.shape)} must be one [N]"
            )
        if self.total.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"total must be float32 or float64, not {self.total.dtype}")

    @property
    def mean(self) -> Tensor:
        """[N] mean log-probability in nats per token: the a(y|x) of SimPO."""
        return self.total / self.tokens

    def __len__(self) -> int:
        return len(self.total)

    def __getitem__(self, index: slice) -> SequenceLogps:
        return SequenceLogps(self.total[index], self.tokens[index])

    def detach(self) -> SequenceLogps:
        """The same values without the graph that made them."""
        return SequenceLogps(self.total.detach(), self.tokens)


def concatenate(parts: Sequence[SequenceLogps]) -> SequenceLogps:
    """Several [N_i] as one [sum N_i], in order."""
    return SequenceLogps(
        torch.cat([part.total for part in parts]), torch.cat([part.tokens for part in parts])
    )


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target under its logits, in nats, computed in float32 whatever comes in.

    logits: [..., V] any floating type; finite, or -inf for tokens that are ruled out. targets: [...] int64 in
    [0, V).
    Returns [...] float32 <= 0, finite for finite logits of any size. Error, against float64 on the same
    logits: at most 2^-23 * (1 + log V + twice their largest magnitude), so 9e-6 nats for logits up to 30.
    """
    logits = logits.float()
    picked = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return picked - torch.logsumexp(logits, dim=-1)


def sum_scored(logps: Tensor, scored: Tensor) -> SequenceLogps:
    """Per-token [N, T] log-probabilities and a boolean [N, T] mask of scored tokens -> N totals and counts.

    What stands at unscored places, NaN included, reaches no total, and its gradient is 0. Raises ValueError
    where a row scores no token: its mean would be 0 / 0.
    """
    if logps.shape != scored.shape or scored.dtype != torch.bool:
        raise ValueError(
            f"scored must be a boolean mask of {tuple(logps.shape)}, not {scored.dtype} {tuple(scored.shape)}"
        )
    tokens = scored.sum(-1)
    if bool((tokens == 0).any()):
        raise ValueError("a completion has no scored token")
    return SequenceLogps(torch.where(scored, logps, 0.0).sum(-1), tokens)
