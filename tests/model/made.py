"""Tiny random models of several architectures, and token groups of given lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from simpo.records import Message, Pair, Source, TokenGroup

VOCABULARY = 60
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,  # so that the model's words differ much in probability
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def make_model(name: str, **changes: Any) -> Any:
    """A seeded random model in evaluation mode: llama, qwen2, gemma2 (soft caps), mistral (window of 6) or gpt2."""
    import transformers

    own: dict[str, Any] = {
        "llama": {},
        "qwen2": {"use_sliding_window": False},
        "gemma2": {
            "head_dim": 4,
            "final_logit_softcapping": 3.0,
            "attn_logit_softcapping": 2.0,
            "sliding_window": 8,
        },
        "mistral": {"sliding_window": 6, "head_dim": 4},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "gpt2":
            config = transformers.GPT2Config(
                vocab_size=VOCABULARY,
                n_positions=64,
                n_embd=16,
                n_layer=2,
                n_head=4,
                initializer_range=0.5,
                **changes,
            )
        else:
            kind = {"llama": "Llama", "qwen2": "Qwen2", "gemma2": "Gemma2", "mistral": "Mistral"}[name]
            config = getattr(transformers, f"{kind}Config")(**{**SMALL, **own[name], **changes})
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def make_group(prompt: int, *completions: int, seed: int = 0) -> TokenGroup:
    """A group of random tokens with these lengths, and a row of its own."""
    draw = np.random.default_rng([seed, prompt, *completions])

    def ids(length: int) -> Any:
        return draw.integers(2, VOCABULARY, length).astype(np.int32)

    row = Pair((Message("user", f"{seed} {prompt}"),), f"{completions}", "no", Source("made.jsonl", seed + 1))
    return TokenGroup(ids(prompt), tuple(ids(length) for length in completions), row)


# Prompts of one token, completions of one token, more and fewer than two completions, and longer than any window.
GROUPS = (
    make_group(5, 7, 3),
    make_group(1, 1, 20, seed=1),
    make_group(20, 1, seed=2),
    make_group(3, 2, 9, 4, 1, seed=3),
    make_group(12, 6, 6, seed=4),
    make_group(2, 25, 1, seed=5),
    make_group(9, 30, 28, seed=6),
    make_group(4, 5, 5, seed=7),
)
