"""What many tests need: a tiny tokenizer and model made here, the real small model, the folder of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two workers on two cores: more threads only wait for each other
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks a hub

# Slow machines are no failures; and where CI judges a change, it judges it by the same examples each time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

SPECIAL_TOKENS = ("<|pad|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CORPUS = (
    "My parcel has not arrived and the tracking page has shown the same place for a week.",
    "I am sorry about the wait. I have asked the carrier to look for it and will write to you tomorrow.",
    "The invoice of March charges me twice for the same plan. Please refund one of the two.",
    "I have refunded the second charge. It takes three to five working days to reach your account.",
    "system user assistant\n\n",
)


def build_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 400 tokens with a ChatML template: any text goes in, the same text comes out."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that encodes any text, with <|im_start|>/<|im_end|> turns; stop token <|im_end|>."""
    return build_tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of 2 layers (hidden 32, 4 heads, 2 key-value heads) and its tokenizer.

    Seeded, so that every test session trains and scores the same weights. Treat it as read-only.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,  # at the usual 0.02 a random model says nearly the same of every token
        bos_token_id=None,
        eos_token_id=tiny_tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tiny_tokenizer.convert_tokens_to_ids("<|pad|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, fetched once into the cache; skips where it cannot be had."""
    from simpo.errors import SimpoError
    from simpo.model.fetch import find_quickstart_model

    try:
        return find_quickstart_model()
    except SimpoError as error:
        pytest.skip(f"SmolLM2-135M-Instruct cannot be had here: {error}")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real preference data named by SIMPO_TEST_DATA; skips without it."""
    named = os.environ.get("SIMPO_TEST_DATA")
    if not named:
        pytest.skip("SIMPO_TEST_DATA names no folder of real data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"SIMPO_TEST_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state, whatever ran before it in this worker."""
    import random

    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
