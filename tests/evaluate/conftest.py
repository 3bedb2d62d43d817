"""A tiny policy, its renderer and held-out pairs for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simpo.data.render import Renderer
from simpo.model.load import Policy, load_policy
from simpo.recipe import ModelRecipe
from simpo.records import Dataset, Message, Pair, Source


@pytest.fixture
def tiny_policy(tiny_model_dir: Path) -> Policy:
    return load_policy(ModelRecipe(name=str(tiny_model_dir)), device=torch.device("cpu"))


@pytest.fixture
def tiny_renderer(tiny_policy: Policy) -> Renderer:
    return Renderer(tiny_policy.tokenizer, stop_ids=tiny_policy.stop_ids)


@pytest.fixture
def held_out() -> Dataset:
    """Ten pairs over six prompts, categories billing and shipping."""
    rows = tuple(
        Pair(
            prompt=(Message("user", f"Where is parcel {number % 6}{'?' * (number % 6)}"),),
            chosen=f"It arrives on day {number}.",
            rejected=f"I do not know{', sorry' * number}.",
            source=Source("held-out.jsonl", number + 1),
            category="shipping" if number % 2 else "billing",
            extra={"ticket": number},
        )
        for number in range(10)
    )
    return Dataset("held-out.jsonl", rows, (), "pairs")
