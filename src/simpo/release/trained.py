"""The trained model of a run in memory, as training left it: an adapter stands beside its base, not merged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simpo.errors import CheckFailed
from simpo.model.load import Policy, add_adapter, load_policy, model_hash, resolve_model_folder
from simpo.model.weights import load_weights
from simpo.recipe import ModelRecipe, Recipe
from simpo.runs.checkpoint import best_model_folder
from simpo.runs.folder import RunFolder, read_json


@dataclass(slots=True)
class Trained:
    """A run's best checkpoint on the CPU, computing in float32.

    step: of the checkpoint. settings: how to load a model as the run did. base: the folder of the adapter's base, None
    for a full fine-tune. own_base: whether the run made that base itself, by merging the adapter it started from.
    dtypes: the type in which the run held each parameter, by name. hash: of the trained model, as evaluations give it.
    """

    policy: Policy
    step: int
    settings: ModelRecipe
    base: Path | None
    own_base: bool
    dtypes: dict[str, torch.dtype]
    hash: str


def load_trained(run: RunFolder, recipe: Recipe) -> Trained:
    """Load the best checkpoint of a run by the way a resumed run takes, then compute in float32.

    Raises RecipeError when there is no checkpoint or the base is gone; CheckFailed when the checkpoint does not verify,
    or when the base is not the one that the adapter was trained on.
    """
    folder = best_model_folder(run.path)
    step = int(folder.parent.name.removeprefix("step-"))
    cpu, settings = torch.device("cpu"), _computable(recipe.model)
    if not (folder / "adapter_config.json").exists():
        policy = load_policy(_from_folder(settings, folder), device=cpu)
        dtypes = _dtypes(policy.model)
        policy.model.float()
        return Trained(policy, step, settings, None, False, dtypes, policy.hash)
    own = run.path / "base"
    base = own if (own / "config.json").exists() else _base_folder(folder, recipe)
    policy = load_policy(_from_folder(settings, base), device=cpu)
    if base != own:
        _require_same_base(policy, run)
    dtypes = _dtypes(policy.model)
    add_adapter(policy, recipe.adapter, base_folder=base, seed=recipe.train.seed)
    load_weights(policy, folder, settings)
    dtypes |= _dtypes(policy.model)
    policy.model.float().eval()
    return Trained(policy, step, settings, base, base == own, dtypes, model_hash(folder, base))


def _computable(settings: ModelRecipe) -> ModelRecipe:
    """The settings with a dense base and an attention that computes in float32 on a CPU: FlashAttention cannot."""
    settings = settings.model_copy(update={"quantize": "none"})
    if settings.attention == "flash_attention_2":
        return settings.model_copy(update={"attention": "sdpa"})
    return settings


def _from_folder(settings: ModelRecipe, folder: Path) -> ModelRecipe:
    return settings.model_copy(update={"name": str(folder), "revision": None})


def _base_folder(adapter: Path, recipe: Recipe) -> Path:
    """Where the adapter says its base is, or where the recipe's model is now when it has moved."""
    named = Path(str(read_json(adapter / "adapter_config.json").get("base_model_name_or_path")))
    if (named / "config.json").exists():
        return named
    model = recipe.model
    return resolve_model_folder(model.name, model.revision, code=model.trust_remote_code)[0]


def _require_same_base(policy: Policy, run: RunFolder) -> None:
    began = run.lineage()["model"]["hash"]
    if policy.hash != began:
        raise CheckFailed(
            f"the base model is no longer the one that the adapter was trained on (hash {began[:12]}, now "
            f"{policy.hash[:12]})",
            where=policy.name,
            fix="put that model back: the adapter fits no other",
        )


def _dtypes(model: Any) -> dict[str, torch.dtype]:
    return {name: parameter.dtype for name, parameter in model.named_parameters()}
