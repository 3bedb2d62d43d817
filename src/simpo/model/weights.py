"""Write a policy's weights and put them back, as the plain folders that transformers and peft read."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from simpo.model.load import Policy, load_policy
from simpo.recipe import ModelRecipe


def is_adapter(policy: Policy) -> bool:
    """Whether the policy's model is a peft model, whose own weights are the adapter's alone."""
    return hasattr(policy.model, "peft_config")


def save_weights(policy: Policy, folder: Path) -> None:
    """Write the model (or its adapter alone) with its tokenizer as safetensors."""
    if is_adapter(policy):
        policy.model.save_pretrained(folder, save_embedding_layers=False)
    else:
        policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)


def load_weights(policy: Policy, folder: Path, recipe: ModelRecipe) -> None:
    """Put weights that `save_weights` wrote into the policy: in place for an adapter, as a new model otherwise."""
    if is_adapter(policy):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(policy.model, load_file(folder / "adapter_model.safetensors"))
        return
    same_settings = recipe.model_copy(update={"name": str(folder), "revision": None})
    policy.model = load_policy(same_settings, device=policy.device).model
