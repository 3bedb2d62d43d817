"""QLoRA: the base in 4 bits (bitsandbytes), an adapter over it. Skipped without bitsandbytes."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from simpo.errors import RecipeError
from simpo.model.load import load_policy
from simpo.recipe import ModelRecipe
from tests.train.made_up import Workshop

HERE = importlib.util.find_spec("bitsandbytes") is not None
SECTIONS: dict[str, Any] = {"model": {"quantize": "nf4"}, "adapter": {"type": "lora", "r": 4}}
needs_bitsandbytes = [
    pytest.mark.skipif(not HERE, reason="bitsandbytes is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def wide(workshop: Workshop) -> Workshop:
    """The workshop with a model whose rows are whole blocks of 64 numbers, as bitsandbytes' CPU kernels ask for."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(workshop.model)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    folder = workshop.folder / "wide-model"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Workshop(workshop.folder, folder)


class TestNf4:
    pytestmark = needs_bitsandbytes

    def test_a_base_in_four_bits_trains_an_adapter_and_stays_as_it_is(self, wide: Workshop) -> None:
        dense = wide.train("dense", adapter=SECTIONS["adapter"])
        run = wide.train("run", **SECTIONS)
        assert run.events("scorer")[0]["name"] == "shared"
        # Four bits are far from exact on 32 hidden numbers, and near enough to be the same task.
        assert run.curve("loss")[0] == pytest.approx(dense.curve("loss")[0], rel=0.1)
        assert all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in run.weights())
        assert any(bool(tensor.any()) for name, tensor in run.weights().items() if "lora_B" in name)

    def test_its_adapter_is_loaded_beside_the_quantised_base_and_merged_into_a_dense_one(
        self, wide: Workshop
    ) -> None:
        run = wide.train("run", **SECTIONS).path
        quantised = load_policy(ModelRecipe(name=str(run), quantize="nf4"), device=torch.device("cpu"))
        assert hasattr(quantised.model, "peft_config") and not quantised.merged
        assert not any(weight.requires_grad for weight in quantised.model.parameters())
        dense = load_policy(ModelRecipe(name=str(run)), device=torch.device("cpu"))
        assert dense.merged and dense.hash == quantised.hash
        layer = quantised.model.get_base_model().model.layers[0].mlp.up_proj
        assert layer.base_layer.weight.dtype == torch.uint8
        with pytest.raises(RecipeError, match="an adapter over a quantised base"):
            wide.train("child", model={"name": str(run), "quantize": "nf4"}, adapter=SECTIONS["adapter"])


@pytest.mark.skipif(HERE, reason="bitsandbytes is installed")
def test_without_its_package_it_is_refused_before_anything_is_loaded(workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match="nf4: the package bitsandbytes is not installed"):
        workshop.train("run", **SECTIONS)
    assert not (workshop.folder / "run").exists()


def test_a_full_fine_tune_of_a_quantised_base_is_refused(workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match=r"model.quantize freezes the weights: set adapter.type: lora"):
        workshop.recipe("run", model={"quantize": "nf4"})
