"""How far a trained model has moved from the one it started from: full-vocabulary KL at the tokens of given replies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simpo.data.render import Renderer
from simpo.errors import RecipeError, RunFailed
from simpo.evaluate.generation import Progress
from simpo.model.load import Policy
from simpo.model.score import PaddedBatch, evaluating, length_batches, pad_groups
from simpo.records import Example, Row, TokenGroup

MAX_LOGITS = 2**26  # of one forward of one model, in its own type: 256 MiB in float32
CHUNK_LOGITS = 2**23  # turned into float32 probabilities at a time: 32 MiB, and a few copies of it


@dataclass(frozen=True, slots=True)
class TokenKL:
    """KL(policy || base) over one completion: summed over its positions, in nats, and how many those are."""

    row: Row
    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens


def token_kl(
    policy: Policy,
    base: Policy,
    groups: Sequence[TokenGroup],
    *,
    batch_size: int = 8,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    progress: Progress | None = None,
) -> list[TokenKL]:
    """The divergence of each group's first completion, in order: what either model would say next, at every position.

    Both models read the same tokens; at each position that predicts a completion's token (the stop token included) the
    sum runs over the whole vocabulary, in float32, a few hundred positions at a time. It is never negative, and 0 for
    equal models (rounding below 0 is cut off).

    Raises RecipeError for models of unequal vocabularies, RunFailed where a divergence is not finite.
    """
    vocabulary = _vocabulary(policy)
    if vocabulary != _vocabulary(base):
        raise RecipeError(
            f"{policy.name} and {base.name} have vocabularies of {vocabulary} and {_vocabulary(base)} tokens: "
            "their predictions cannot be compared"
        )
    first = [TokenGroup(group.prompt, group.completions[:1], group.row) for group in groups]
    found: dict[int, TokenKL] = {}
    with evaluating(policy.model), evaluating(base.model), torch.inference_mode(), autocast():
        for indices in length_batches(
            first, batch_size=batch_size, vocab_size=vocabulary, max_logits=MAX_LOGITS
        ):
            batch = pad_groups([first[index] for index in indices], policy.device)
            divergences = _batch_kl(policy.model, base.model, batch)
            rows = torch.arange(len(indices), device=policy.device)[:, None].expand_as(batch.scored)
            totals = torch.zeros(len(indices), dtype=torch.float64, device=policy.device)
            totals.index_add_(0, rows[batch.scored], divergences.double())
            for index, total in zip(indices, totals.tolist(), strict=True):
                found[index] = TokenKL(
                    first[index].row, total if not total < 0 else 0.0, len(first[index].completions[0])
                )
            if progress is not None:
                progress(len(found), len(first))
    _require_finite(found.values(), policy.name)
    return [found[index] for index in range(len(first))]


def reply_groups(
    replies: Sequence[Mapping[str, Any]], rows: Sequence[Row], renderer: Renderer
) -> list[TokenGroup]:
    """The replies of an evaluation behind their prompts, as they were written: a cut one without a stop token.

    replies: lines of `<label>.replies.jsonl`; rows: the data they answer, found again by prompt. A reply that is empty
    or cannot be rendered is left out.
    """
    by_prompt = {row.prompt_id: row for row in reversed(rows)}
    groups = []
    for reply in replies:
        row = by_prompt.get(str(reply["prompt_id"]))
        if row is None or not reply["reply"]:
            continue
        rendered = renderer.render(Example(row.prompt, str(reply["reply"]), row.source, tools=row.tools))
        if not isinstance(rendered, TokenGroup):
            continue
        completion = rendered.completions[0]
        if not reply["stopped"]:
            completion = completion[:-1]
        if len(completion):
            groups.append(TokenGroup(rendered.prompt, (completion,), row))
    return groups


def _batch_kl(policy: Any, base: Any, batch: PaddedBatch) -> Tensor:
    """[sum of scored] divergences at the scored positions of a batch, row by row."""
    ours, theirs = (_scored_logits(model, batch) for model in (policy, base))
    size = max(1, CHUNK_LOGITS // ours.shape[-1])
    parts = []
    for start in range(0, len(ours), size):
        log_p = torch.log_softmax(ours[start : start + size].float(), dim=-1)
        log_q = torch.log_softmax(theirs[start : start + size].float(), dim=-1)
        # Where a model rules a token out, p is 0 and so is its part; 0 * -inf would be NaN.
        parts.append(torch.where(log_p == -torch.inf, 0.0, log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(parts)


def _scored_logits(model: Any, batch: PaddedBatch) -> Tensor:
    """[sum of scored, V] logits that predict the scored tokens, in the model's own type."""
    if "logits_to_keep" in inspect.signature(type(model).forward).parameters:
        logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.positions).logits
    else:
        logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, batch.first : -1]
    scored: Tensor = logits[batch.scored]
    return scored


def _vocabulary(policy: Policy) -> int:
    return int(policy.model.config.get_text_config().vocab_size)


def _require_finite(found: Any, name: str) -> None:
    for each in found:
        if not each.total < float("inf"):
            raise RunFailed(
                f"the divergence of {name} from its start is not finite on row {each.row.id}",
                where=str(each.row.source),
                fix="evaluate an earlier checkpoint, or train with a lower train.lr",
            )
