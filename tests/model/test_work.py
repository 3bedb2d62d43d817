"""The work of a step, counted by hand on a tiny model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simpo.model.work import matmul_peak, work_of
from simpo.records import Message, Pair, Source, TokenGroup


def test_the_work_of_one_pair_is_what_pencil_and_paper_say(tiny_model_dir: object) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    row = Pair((Message("user", "a"),), "b", "c", Source("x.jsonl", 1))
    ids = np.arange(20, dtype=np.int32)
    group = TokenGroup(ids[:5], (ids[5:8], ids[10:12]), row)
    config = model.config
    found = work_of(model, [group])
    # Prompt 5, chosen 3, rejected 2: ten tokens. Four places predict chosen and rejected tokens: the prompt's last, two
    # in chosen, one in rejected.
    assert found.tokens == 10
    layers = [module for name, module in model.model.named_modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(module.weight.numel() for module in layers)
    assert found.body == 6 * weights * 10
    assert found.head == 6 * config.vocab_size * config.hidden_size * 4
    # The prompt sees 1 + 2 + ... + 5 = 15 places, chosen 6 + 7 + 8 = 21, rejected 6 + 7 = 13: 49.
    assert found.attention == 3 * 4 * 49 * config.hidden_size * config.num_hidden_layers
    model.requires_grad_(False)
    assert work_of(model, [group]).body == 4 * weights * 10


def test_a_peak_is_a_number_of_operations_a_second() -> None:
    assert matmul_peak(torch.float32, torch.device("cpu"), size=64, repeats=1) > 1e6


@pytest.mark.parametrize("method", ["body", "head", "attention"])
def test_every_part_of_the_work_grows_with_the_pairs(method: str, tiny_model_dir: object) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    row = Pair((Message("user", "a"),), "b", "c", Source("x.jsonl", 1))
    ids = np.arange(20, dtype=np.int32)
    group = TokenGroup(ids[:5], (ids[5:8], ids[10:12]), row)
    one, two = work_of(model, [group]), work_of(model, [group, group])
    assert getattr(two, method) == 2 * getattr(one, method)
