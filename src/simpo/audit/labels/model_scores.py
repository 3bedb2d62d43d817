"""What a model says of pairs: its mean log-probability of the chosen reply less that of the rejected one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import numpy as np

from simpo.core.intervals import Floats
from simpo.records import Pair

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 2048  # longest prompt + reply that is scored, or what the model takes, if that is less
BATCH_SIZE = 8

PairScorer = Callable[[Sequence[Pair]], Floats]
Progress = Callable[[int, int], None]


def model_scorer(name: str, *, device: str = "auto", progress: Progress | None = None) -> PairScorer:
    """A function from N pairs to [N] differences in nats per token, NaN for a pair that the model cannot take in.

    name: a folder, a run folder or a hub id. The model is loaded when the function is first called, so that a file is
    read before minutes are spent. progress: called with pairs scored and pairs in all. Calling it raises `RecipeError`
    where the model cannot be loaded.
    """

    def score(pairs: Sequence[Pair]) -> Floats:
        from simpo.data.render import Renderer, render_rows
        from simpo.model.load import choose_device, load_policy
        from simpo.model.score import score_all
        from simpo.model.trust import choose_scorer
        from simpo.recipe import ModelRecipe

        on = choose_device(device)
        policy = load_policy(ModelRecipe(name=name, dtype=_type_for(on)), device=on)
        longest = min(MAX_TOKENS, getattr(policy.model.config, "max_position_embeddings", MAX_TOKENS))
        renderer = Renderer(policy.tokenizer, stop_ids=policy.stop_ids, max_length=longest)
        groups = render_rows(pairs, renderer).groups
        differences = np.full(len(pairs), math.nan)
        if not groups:
            return differences
        scorer = choose_scorer("auto", policy.model, groups, nullcontext, gradients=False).scorer
        logps = score_all(policy.model, groups, batch_size=BATCH_SIZE, scorer=scorer, progress=progress)
        means = logps.mean.double().numpy()
        places = {id(pair): place for place, pair in enumerate(pairs)}
        rows = [places[id(group.row)] for group in groups]
        differences[rows] = means[0::2] - means[1::2]
        return differences

    return score


def _type_for(device: torch.device) -> Literal["float32", "bfloat16"]:
    """bfloat16 where the processor multiplies it: four times as fast, exact to some 0.02, which does to rank."""
    import torch

    if device.type == "cpu":
        return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
