"""Replies written by a policy: batched, padded on the left, greedy or sampled so that batching changes nothing."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simpo.core.metrics import Summary, distinct_n, is_repetitive, repeated_ngrams
from simpo.data.render import Renderer
from simpo.errors import RecipeError
from simpo.model.load import Policy
from simpo.model.sharding import whole_weights
from simpo.records import Message, TokenIds
from simpo.runs.ranks import current

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a policy wrote: `text` without special tokens, `tokens` as ids without the stop token.

    stopped: whether it ended by itself; False where it ran into `max_new_tokens`.
    """

    text: str
    tokens: tuple[int, ...]
    stopped: bool


def generate_replies(
    policy: Policy,
    prompts: Sequence[tuple[Message, ...]],
    renderer: Renderer,
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Reply]:
    """One reply to each prompt, in order, as production would write it. See `generate_from_ids`."""
    return generate_from_ids(
        policy,
        [renderer.prompt_ids(prompt) for prompt in prompts],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )


def generate_from_ids(
    policy: Policy,
    prompts: Sequence[TokenIds],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Reply]:
    """One reply to each rendered prompt [P_i], in order; ends at `policy.stop_ids` or after `max_new_tokens`.

    temperature: 0 for greedy. Samples are exact draws from softmax(logits / temperature), the whole vocabulary; each
    prompt has a random stream of its own from `seed`, its tokens and how often the same prompt came before, so a
    reply depends neither on the batch size nor on the other prompts, up to the rounding of a padded forward. Nothing of
    the model's own generation config (repetition penalty, top-p ...) has any effect. The longest prompts go first, so
    that a batch that does not fit in memory fails at once. progress: called with prompts done and all prompts.

    Several ranks share the prompts out and all get all replies; sharded weights are put together meanwhile.

    Raises RecipeError for a prompt that leaves no room for `max_new_tokens` in the model's positions.
    """
    check_room(policy, prompts, max_new_tokens)
    ranks = current()
    seeds = _prompt_seeds(prompts, seed)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    batch_size = min(batch_size, max(1, math.ceil(len(order) / ranks.size)))
    turn = batch_size * ranks.size
    replies: dict[int, Reply] = {}
    with (
        whole_weights(policy.model),
        _ready_to_write(policy, max_new_tokens) as (model, config),
        torch.inference_mode(),
    ):
        for start in range(0, len(order), turn):
            indices = order[start : start + turn][ranks.rank :: ranks.size]
            if indices:
                noise = _GumbelNoise(temperature, [seeds[index] for index in indices], policy.device)
                input_ids, attention_mask = _pad_left([prompts[index] for index in indices], policy)
                written = model.generate(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    generation_config=config,
                    logits_processor=[noise] if temperature > 0 else [],
                    synced_gpus=False,  # with whole weights no rank needs the others, and some may have no prompt
                )
                new_tokens = written[:, input_ids.shape[1] :].tolist()
                replies.update(zip(indices, (_reply(policy, row) for row in new_tokens), strict=True))
            if progress is not None:
                progress(min(start + turn, len(order)), len(order))
    replies = ranks.merge(replies)
    return [replies[index] for index in range(len(prompts))]


def check_room(policy: Policy, prompts: Sequence[TokenIds], max_new_tokens: int) -> None:
    """Raise RecipeError where the longest prompt and a reply do not fit the positions the model was made for."""
    positions = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max((len(prompt) for prompt in prompts), default=0)
    if positions is not None and longest + max_new_tokens > positions:
        raise RecipeError(
            f"a prompt of {longest} tokens and a reply of up to {max_new_tokens} do not fit the model's "
            f"{positions} positions",
            where=policy.name,
            fix=f"set evaluate.max_new_tokens to {max(1, positions - longest)} or less, or lower data.max_length",
        )


@dataclass(frozen=True, slots=True)
class ReplyFigures:
    """What can be counted of a list of replies without reading them; shares are over the replies.

    repeated_4gram: mean over the replies of their share of repeated 4-grams; repetitive: share of replies of which
    more than half repeats.
    """

    chars: Summary
    tokens: Summary
    stopped: float
    distinct_1: float
    distinct_2: float
    repeated_4gram: float
    repetitive: float

    def to_json(self) -> dict[str, Any]:
        """As the evaluation file holds them."""
        return {
            "chars": self.chars.to_json(),
            "tokens": self.tokens.to_json(),
            "stopped": self.stopped,
            "distinct_1": self.distinct_1,
            "distinct_2": self.distinct_2,
            "repeated_4gram": self.repeated_4gram,
            "repetitive": self.repetitive,
        }


def summarise_replies(replies: Sequence[Reply]) -> ReplyFigures:
    """Lengths, stops, diversity and repetition of replies. Raises ValueError for no replies."""
    tokens = [reply.tokens for reply in replies]
    return ReplyFigures(
        chars=Summary.of([len(reply.text) for reply in replies]),
        tokens=Summary.of([len(ids) for ids in tokens]),
        stopped=float(np.mean([reply.stopped for reply in replies])),
        distinct_1=distinct_n(tokens, 1),
        distinct_2=distinct_n(tokens, 2),
        repeated_4gram=float(np.mean([repeated_ngrams(ids) for ids in tokens])),
        repetitive=float(np.mean([is_repetitive(ids) for ids in tokens])),
    )


class _GumbelNoise:
    """Turns the argmax of greedy decoding into a draw: argmax(logits / temperature + Gumbel noise) is one.

    Each row draws from its own generator, which is what keeps a reply independent of its batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], device: torch.device) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
        for row, generator in zip(waits, self.generators, strict=True):
            row.exponential_(generator=generator)
        gumbel = -torch.log(waits.clamp_min(torch.finfo(torch.float32).tiny))
        return scores.float() / self.temperature + gumbel


@contextmanager
def _ready_to_write(policy: Policy, max_new_tokens: int) -> Iterator[tuple[Any, Any]]:
    """The model that writes and a config that is all there is; mode and the model's own config are put back.

    transformers fills whatever a given config leaves open from the model's own, so the latter steps aside meanwhile.
    """
    from transformers import GenerationConfig

    model = policy.model
    writer = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(policy.stop_ids),
        pad_token_id=policy.pad_id,
        use_cache=True,
    )
    own, training = writer.generation_config, model.training
    writer.generation_config = GenerationConfig()
    model.eval()
    try:
        yield writer, config
    finally:
        writer.generation_config = own
        model.train(training)


def _prompt_seeds(prompts: Sequence[TokenIds], seed: int) -> list[int]:
    seen: Counter[bytes] = Counter()
    seeds = []
    for prompt in prompts:
        key = np.asarray(prompt, dtype="<i4").tobytes()
        digest = hashlib.sha256(f"{seed} {seen[key]} ".encode() + key).digest()
        seeds.append(int.from_bytes(digest[:8], "little") >> 1)
        seen[key] += 1
    return seeds


def _pad_left(prompts: Sequence[TokenIds], policy: Policy) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), longest), policy.pad_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, longest - len(prompt) :] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
        attention_mask[row, longest - len(prompt) :] = 1
    return input_ids.to(policy.device), attention_mask.to(policy.device)


def _reply(policy: Policy, written: Sequence[int]) -> Reply:
    """Cut at the first stop token: a row that stops before its batch is filled up with padding."""
    end = next((at for at, token in enumerate(written) if token in policy.stop_ids), None)
    tokens = tuple(written if end is None else written[:end])
    text = policy.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Reply(text, tokens, end is not None)
