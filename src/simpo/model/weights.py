"""Write a policy's weights and put them back, as the plain folders that transformers and peft read."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from simpo.model.load import Policy, load_policy
from simpo.model.sharding import collected, is_sharded
from simpo.recipe import ModelRecipe


def is_adapter(policy: Policy) -> bool:
    """Whether the policy's model is a peft model, whose own weights are the adapter's alone."""
    return hasattr(policy.model, "peft_config")


def collect_weights(policy: Policy, *, keep: bool) -> dict[str, Tensor] | None:
    """Sharded weights put together on the CPU of the rank that keeps them, for `save_weights`; None for whole ones.

    Of an adapter's model the trained weights alone. All ranks must ask.
    """
    if not is_sharded(policy.model):
        return None
    tensors = policy.model.state_dict(keep_vars=True)  # so that a weight under two names is seen to be one
    if is_adapter(policy):
        trained = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
        tensors = {name: tensor for name, tensor in tensors.items() if name in trained}
    return collected(tensors, keep=keep)


def save_weights(policy: Policy, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Write the model (or its adapter alone) with its tokenizer as safetensors.

    tensors: what `collect_weights` gave, where the weights lie in shards.
    """
    if is_adapter(policy):
        policy.model.save_pretrained(folder, save_embedding_layers=False, state_dict=tensors)
    else:
        policy.model.save_pretrained(folder, state_dict=tensors)
    policy.tokenizer.save_pretrained(folder)


def load_weights(policy: Policy, folder: Path, recipe: ModelRecipe) -> None:
    """Put weights that `save_weights` wrote into the policy: in place for an adapter, as a new model otherwise."""
    if is_adapter(policy):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(policy.model, load_file(folder / "adapter_model.safetensors"))
        return
    same_settings = recipe.model_copy(update={"name": str(folder), "revision": None})
    policy.model = load_policy(same_settings, device=policy.device).model
