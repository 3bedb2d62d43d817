"""The sizing table of docs/plan.md: model size by method and adapter, in GB on one GPU, as `simpo plan` predicts them.

python -m benchmarks.sizing
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.gpu import SHAPES
from simpo.recipe import Recipe
from simpo.sizing.footprint import Footprint, footprint
from simpo.sizing.given import Lengths
from simpo.sizing.target import plan_device

MODELS = ("llama-1b", "qwen-7b", "llama-8b")
LENGTHS = Lengths(300, 250, 250, 2048, None, "as given")
BFLOAT16: dict[str, Any] = {"model": {"dtype": "bfloat16"}}
CHECKPOINTED = {"gradient_checkpointing": True}
WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("full, float32 weights, autocast", {"train": {"precision": "bf16", **CHECKPOINTED}}),
    ("full, bfloat16 with masters", {**BFLOAT16, "train": CHECKPOINTED}),
    ("full, bfloat16 rounded at random", {**BFLOAT16, "train": {"rounding": "stochastic", **CHECKPOINTED}}),
    (
        "full, the same, 8-bit moments",
        {**BFLOAT16, "train": {"rounding": "stochastic", "optimizer": "adamw_8bit", **CHECKPOINTED}},
    ),
    ("full, states on the CPU", {**BFLOAT16, "train": {"offload_optimizer": True, **CHECKPOINTED}}),
    ("LoRA", {**BFLOAT16, "adapter": {"type": "lora"}, "train": CHECKPOINTED}),
    (
        "QLoRA",
        {
            "model": {"dtype": "bfloat16", "quantize": "nf4"},
            "adapter": {"type": "lora"},
            "train": CHECKPOINTED,
        },
    ),
)


METHODS = (("", {"name": "simpo"}), (", DPO with a live reference", {"name": "dpo", "reference": "live"}))


def config_of(shape: str) -> Any:
    """The configuration of a shape of benchmarks/gpu."""
    from transformers import LlamaConfig

    hidden, inner, layers, heads, groups, width, vocabulary = SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=groups, head_dim=width, max_position_embeddings=8192,
    )  # fmt: skip


def recipe_of(sections: dict[str, Any], method: dict[str, Any]) -> Recipe:
    """A recipe of these sections, micro-batches of 4096 tokens."""
    values: dict[str, Any] = {
        "output": "run",
        "model": {},
        "data": {"train": "pairs.jsonl"},
        "method": method,
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    values["model"]["name"] = "shape"
    values["train"] = {**values["train"], "tokens_per_microbatch": 4096, "batch_size": 128}
    return Recipe.model_validate(values)


def _cell(each: Footprint) -> str:
    return f"{each.peak / 1e9:.0f}" + (f" (+ {each.host / 1e9:.0f} host)" if each.host else "")


def main() -> int:
    """Print the table as Markdown; a live DPO reference is a second copy of the weights."""
    device = plan_device("80GB", "auto")
    print(f"| way to train | {' | '.join(MODELS)} |\n| --- |{' ---: |' * len(MODELS)}")
    for name, sections in WAYS:
        for label, method in METHODS:
            if label and name not in ("full, bfloat16 rounded at random", "LoRA"):
                continue
            recipe = recipe_of(sections, method)
            peaks = [footprint(recipe, config_of(shape), LENGTHS, device) for shape in MODELS]
            cells = [_cell(each) for each in peaks]
            print(f"| {name}{label} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
