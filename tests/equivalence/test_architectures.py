"""{plain, shared} on every architecture: log-probabilities and every parameter's gradient, against float64.

The truth is each completion after its prompt alone, in float64. In float64 the shared scorer is held to it; in float32
and bfloat16 its error may not exceed the plain scorer's by more than a factor and a floor.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simpo.core.logps import SequenceLogps
from simpo.model import attention, tiles
from simpo.model.attention import use_shared_attention
from simpo.model.lean import make_lean
from simpo.model.pack import CannotShare
from simpo.model.score import Scorer, score
from simpo.model.shared import shared_score
from tests.model.made import VOCABULARY, make_group
from tests.oracles import scoring as oracle

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # so that the model's words differ much in probability
    "sliding_window": 7,  # shorter than the longest prompt
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "head_dim": 4,
    "num_key_value_heads": 4,
}
DEEPSEEK = {
    **LATENT,
    **EXPERTS,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}

# What each has that the others have not: that is why it is here.
DENSE: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},  # biases, a window in the upper layers
    "qwen3": {"use_sliding_window": True, "max_window_layers": 1},  # norms of queries and keys
    "mistral": {},  # a window in every layer
    "ministral": {},
    "gemma": {},  # one key head's width apart from hidden size
    "gemma2": {
        "final_logit_softcapping": 3.0,  # soft caps on both kinds of logits, windows in turn
        "attn_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 16,
    },
    "gemma3_text": {"query_pre_attn_scalar": 16},  # rotations of two kinds
    "vaultgemma": {"query_pre_attn_scalar": 16},
    "phi": {},  # a head with a bias, attention beside the feed-forward
    "phi3": {},  # fused projections
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},  # learned positions
    "gpt_neox": {},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},  # one key head
    "olmo": {},
    "olmo2": {},  # norms after the layers
    "olmo3": {},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},  # windows with rotation, full layers without
    "granite": {"logits_scaling": 4.0, "attention_multiplier": 0.3},  # divides the logits
    "hyperclovax": {"logits_scaling": 0.5},  # multiplies them
    "minicpm3": {**LATENT, "dim_model_base": 16},  # divides the head's input; values narrower than keys
    "nanochat": {},
    "starcoder2": {},
    "stablelm": {},
    "smollm3": {},  # layers without positions
    "glm4": {},
    "exaone4": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},  # positions from the mask, if it gets none
    "helium": {},
    "nemotron": {},
    "seed_oss": {},
    "llama4_text": {  # attention in pieces of the sequence
        "attention_chunk_size": 8,
        "num_local_experts": 4,
        "intermediate_size_mlp": 48,
    },
}
ROUTED: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {**EXPERTS, "num_experts": 4},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": DEEPSEEK,
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 4.0},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},  # attention sinks
}
GROUPS = (
    make_group(5, 7, 3),
    make_group(1, 1, 20, seed=1),
    make_group(26, 1, 6, seed=2),
    make_group(3, 2, 9, 4, 1, seed=3),
    make_group(12, 17, seed=4),
)
LENGTHS = torch.tensor([len(completion) for group in GROUPS for completion in group.completions])
WEIGHTS = torch.linspace(1.0, -0.7, len(LENGTHS), dtype=torch.float64) / LENGTHS


@pytest.fixture(autouse=True)
def _short_and_long_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the groups two are attended to at once and three tile by tile, as lengths of hundreds of tokens would be."""
    monkeypatch.setattr(attention, "DENSE_TOKENS", 15)
    monkeypatch.setattr(tiles, "TILE", 4)


def build(kind: str, **changes: Any) -> Any:
    """A seeded random model with every bias and norm away from its default, in evaluation mode."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    own = {**DENSE, **ROUTED}.get(kind, {})
    config = CONFIG_MAPPING[kind](**{**COMMON, **own, **changes})
    config._experts_implementation = "eager"  # the fused one knows no float64
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@dataclass
class Found:
    """What a scorer says of the groups: totals [N], and the gradients of a weighted sum of means, in float64."""

    totals: Tensor
    gradients: dict[str, Tensor]

    def errors(self, truth: Found) -> tuple[float, float]:
        """Largest error of a mean in nats per token; largest of one gradient's element over its parameter's largest.

        A parameter whose gradient is next to nothing (a key's bias: softmax does not see it) is measured by the
        largest of all.
        """
        value = float(((self.totals - truth.totals).abs() / LENGTHS).max())
        highest = max(float(gradient.abs().max()) for gradient in truth.gradients.values())
        return value, max(
            float((self.gradients[name] - gradient).abs().max())
            / max(float(gradient.abs().max()), 1e-2 * highest)
            for name, gradient in truth.gradients.items()
        )


def gradients(model: Any, totals: Tensor) -> Found:
    found = torch.autograd.grad(
        (totals.double() * WEIGHTS).sum(), list(model.parameters()), allow_unused=True
    )
    named = {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(model.named_parameters(), found, strict=True)
    }
    return Found(totals.detach().double(), {name: tensor.double() for name, tensor in named.items()})


def truth_of(model: Any) -> Found:
    """One sequence at a time through the float64 model, in float64 to the end."""
    return gradients(model, torch.stack([total for group in GROUPS for total in oracle.graphs(model, group)]))


def measure(model: Any, scorer: Scorer) -> Found:
    return gradients(model, scorer(model, GROUPS).total)


def shared(model: Any, groups: Any) -> SequenceLogps:
    use_shared_attention(model)
    return shared_score(model, groups)


@pytest.mark.parametrize("kind", [*DENSE, *ROUTED])
def test_the_shared_scorer_says_what_each_architecture_says(kind: str) -> None:
    model = build(kind)
    truth = truth_of(model.double())
    plain, fast = measure(model.float(), score), measure(model.float(), shared)
    plain_errors, fast_errors = plain.errors(truth), fast.errors(truth)
    exact = measure(model.double(), shared).errors(truth)
    # Models take their norms in float32 whatever they are given: what is left is that rounding.
    assert exact[0] <= 1e-6 and exact[1] <= 5e-6, exact
    for ours, theirs, floor in zip(fast_errors, plain_errors, (2e-6, 2e-5), strict=True):
        assert ours <= 2 * theirs + floor, (fast_errors, plain_errors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [*DENSE, *ROUTED])
def test_lean_layers_say_what_each_architecture_says(kind: str, dtype: torch.dtype) -> None:
    model = build(kind).to(dtype)
    thin = copy.deepcopy(model)
    make_lean(thin)
    before, after = measure(model, score), measure(thin, score)
    assert torch.equal(after.totals, before.totals)
    # Gradients are those of other roundings, which a router passes on unchanged: its choice is the same.
    floor = {torch.float32: 2e-5, torch.bfloat16: 0.06}[dtype]
    assert after.errors(before)[1] <= floor


# In bfloat16 a router's choice between experts hangs on rounding: there is no error to be bounded in ROUTED.
@pytest.mark.parametrize("kind", [name for name in DENSE if name != "llama4_text"])
def test_in_bfloat16_the_shared_scorer_rounds_no_worse_than_the_plain_one(kind: str) -> None:
    model = build(kind).to(torch.bfloat16)
    plain, fast = measure(model, score), measure(model, shared)
    truth = truth_of(model.double())  # the weights that bfloat16 holds
    for ours, theirs, floor in zip(fast.errors(truth), plain.errors(truth), (0.02, 0.03), strict=True):
        assert ours <= 2 * theirs + floor, (fast.errors(truth), plain.errors(truth))


# What cannot share


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "qwen3_next": (
        {
            "num_experts": 4,
            "shared_expert_intermediate_size": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            **EXPERTS,
        },
        "recurrent or convolutional",
    ),
    "lfm2": ({"layer_types": ["conv", "full_attention", "conv"]}, "recurrent or convolutional"),
    "jamba": (
        {
            "num_experts": 2,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "use_mamba_kernels": False,
        },
        "recurrent or convolutional",
    ),
    "falcon_h1": (
        {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
        "recurrent or convolutional",
    ),
    "recurrent_gemma": ({}, "recurrent or convolutional"),
    "mamba": ({"state_size": 8}, "takes no positions|takes no attention"),
    "bloom": ({}, "takes no attention function by name"),
    "doge": ({}, "looks at its attention mask"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_is_seen_not_to_share_is_refused_in_words(kind: str) -> None:
    changes, words = REFUSED[kind]
    with pytest.raises(CannotShare, match=words):
        shared(build(kind, **changes), GROUPS)


def test_dropout_in_attention_is_refused_in_training_alone() -> None:
    model = build("llama", attention_dropout=0.1)
    shared(model, GROUPS)
    with pytest.raises(CannotShare, match="dropout"):
        shared(model.train(), GROUPS)


class Mixing(nn.Module):
    """A causal convolution over the tokens of the row, which knows nothing of packs, before a layer's own work."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.weight = nn.Parameter(torch.tensor(0.05))

    def forward(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.inner(ids)
        before = torch.nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
        return hidden + self.weight * before


def test_a_model_on_no_list_that_mixes_neighbours_gives_values_and_gradients_that_a_comparison_sees() -> None:
    model = build("llama")
    model.model.embed_tokens = Mixing(model.model.embed_tokens)
    value, gradient = measure(model, shared).errors(measure(model, score))
    assert value > 0.02 and gradient > 0.02  # against 5e-6 where the two agree
    # One completion and no other group: nothing is shared, and the comparison finds nothing.
    alone = [make_group(6, 9)]
    assert torch.allclose(shared(model, alone).total, score(model, alone).total, atol=1e-4)


class Offset(nn.Module):
    """An output that no scale and soft cap explains."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.arange(logits.shape[-1])


def test_a_model_that_makes_its_logits_in_a_way_of_its_own_is_refused() -> None:
    model = build("llama")
    offset = Offset()
    model.register_forward_hook(lambda _module, _inputs, output: type(output)(logits=offset(output.logits)))
    with pytest.raises(CannotShare, match="more than scale and soft cap"):
        shared(model, GROUPS)
