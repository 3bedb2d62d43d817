"""Load a policy: weights, tokenizer, chat template and stop tokens from a folder, one of our runs, or the hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from simpo.errors import RecipeError
from simpo.model.find import (
    PICKLED,
    base_of,
    first_line,
    is_adapter_folder,
    model_hash,
    resolve_model_folder,
)
from simpo.recipe import AdapterRecipe, ModelRecipe
from simpo.runs.folder import read_json

_LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, UnpicklingError)


@dataclass(slots=True)
class Policy:
    """A model ready to score or write, with its tokenizer and where it came from.

    name: as the user gave it. folder: where its files lie. hash: over its weights and configuration.
    stop_ids: the token ids at which it stops in production. parent_run: the run folder it came from, if it did.
    merged: True where an adapter was merged into the weights on loading, so that `folder` alone is not this model.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    name: str
    folder: Path
    hash: str
    stop_ids: frozenset[int]
    parent_run: Path | None = None
    merged: bool = False

    @property
    def pad_id(self) -> int:
        """A token id to fill rows with; whatever it is, it is masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.stop_ids)

    def parameter_counts(self) -> dict[str, int]:
        """How many parameters there are, and how many are trained."""
        sizes = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        return {"total": sum(n for n, _ in sizes), "trained": sum(n for n, trained in sizes if trained)}


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. Raises RecipeError for a device this machine lacks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"device {name!r} cannot be used: {first_line(error).split('. ')[0]}",
            fix="set train.device: auto",
        ) from None
    return device


def load_policy(recipe: ModelRecipe, *, device: torch.device) -> Policy:
    """Load a model for scoring, writing or as the start of a training run; an adapter is merged into its base.

    Raises RecipeError where the folder is missing, holds no safetensors, lacks a weight or cannot be read, CheckFailed
    where it is a checkpoint of ours that is not what was written.
    """
    folder, base, parent = _locate(recipe)
    tokenizer = _read_tokenizer(folder, base, recipe)
    model = _read_model(base or folder, recipe, device)
    merged = base is not None and recipe.quantize == "none"
    if base is not None:
        # Four bits cannot hold what an adapter adds: over a quantised base it stays beside it.
        model = _with_adapter(model, folder)
        # peft freezes what it merges into; the outcome is a model as any other.
        model = model.merge_and_unload().requires_grad_(True) if merged else model.requires_grad_(False)
    model.eval()
    digest = model_hash(folder, base)
    stops = _stops(model.generation_config, tokenizer)
    return Policy(model, tokenizer, device, recipe.name, folder, digest, stops, parent, merged)


def load_tokenizer(recipe: ModelRecipe) -> tuple[Any, frozenset[int]]:
    """The tokenizer of a model and the token ids at which it stops, as in its policy, without loading a weight."""
    from transformers import AutoConfig, GenerationConfig

    folder, base, _ = _locate(recipe)
    tokenizer = _read_tokenizer(folder, base, recipe)
    config = base or folder
    try:
        with _quiet_transformers():
            if (config / "generation_config.json").exists():
                settings = GenerationConfig.from_pretrained(config)
            else:
                model_config = AutoConfig.from_pretrained(config, trust_remote_code=recipe.trust_remote_code)
                settings = GenerationConfig.from_model_config(model_config)
    except _LOAD_ERRORS as error:
        raise RecipeError(
            f"the model's configuration cannot be read: {first_line(error)}",
            where=str(config),
            fix=_load_fix(error),
        ) from error
    return tokenizer, _stops(settings, tokenizer)


def _locate(recipe: ModelRecipe) -> tuple[Path, Path | None, Path | None]:
    """The model's folder, the base's where that is an adapter, and the run it came from."""
    folder, parent = resolve_model_folder(
        recipe.name, recipe.revision, code=recipe.trust_remote_code, pickled=recipe.pickled_weights
    )
    base = base_of(folder, recipe.trust_remote_code) if is_adapter_folder(folder) else None
    read_json((base or folder) / "config.json")  # its faults would else be told as the tokenizer's
    return folder, base, parent


def add_adapter(policy: Policy, adapter: AdapterRecipe, *, base_folder: Path, seed: int) -> None:
    """Wrap the policy's model in a fresh LoRA adapter whose base is to be found in `base_folder`, in place.

    The adapter starts as the identity: its B matrices are zero. Raises RecipeError for modules that do not exist.
    """
    from peft import LoraConfig, get_peft_model

    from simpo.model.adapted import fuse_adapters

    torch.manual_seed(seed)
    config = LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.target,
        task_type="CAUSAL_LM",
    )
    try:
        with without_peft_warning():
            # In the type of the model: no activation is cast for an adapted layer, and what bfloat16 cannot hold of an
            # update is the optimizer's to keep.
            policy.model = get_peft_model(policy.model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise RecipeError(
            f"adapter.target {adapter.target!r}: {error}", fix="set adapter.target: all-linear"
        ) from None
    if adapter.fused:
        fuse_adapters(policy.model)
    # Set now and not in the config before, where peft takes it for a mistake and warns.
    # Only now: peft puts the folder that the weights were read from, which after a merge is not the whole model.
    policy.model.peft_config["default"].base_model_name_or_path = str(base_folder)


@contextmanager
def without_peft_warning() -> Iterator[None]:
    """Silence a warning that nobody here can mend: peft asks transformers 5.2x for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing", category=FutureWarning)
        yield


def stop_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token id at which generation ends: the generation config's eos (one or several) and the tokenizer's."""
    return _stops(model.generation_config, tokenizer)


def _stops(settings: Any, tokenizer: Any) -> frozenset[int]:
    eos = settings.eos_token_id
    listed = eos if isinstance(eos, list) else [eos]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _read_tokenizer(model: Path, base: Path | None, recipe: ModelRecipe) -> Any:
    from transformers import AutoTokenizer

    folder = base if base is not None and not (model / "tokenizer_config.json").exists() else model
    try:
        with _quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=recipe.trust_remote_code)
    except _LOAD_ERRORS as error:
        raise RecipeError(
            f"the tokenizer cannot be loaded: {first_line(error)}",
            where=str(folder),
            fix="put tokenizer.json and tokenizer_config.json of the model into the folder",
        ) from error


def _read_model(folder: Path, recipe: ModelRecipe, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    safe = bool(list(folder.glob("*.safetensors")))
    pickled = list(folder.glob(PICKLED))
    if not safe and not (pickled and recipe.pickled_weights):
        told = ", or set model.pickled_weights: true where you trust who wrote them" if pickled else ""
        raise RecipeError(
            "the folder holds no safetensors weights; pickled weights can run code and are not read",
            where=str(folder),
            fix=f"convert the model with save_pretrained, which writes safetensors{told}",
        )
    try:
        with _quiet_transformers():
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, recipe.dtype),
                attn_implementation=recipe.attention,
                trust_remote_code=recipe.trust_remote_code,
                use_safetensors=safe,
                ignore_mismatched_sizes=True,  # told below, by name
                output_loading_info=True,
                **_quantisation(recipe, device),
            )
        _require_all_weights(folder, found)
        return model if recipe.quantize != "none" else model.to(device)
    except torch.OutOfMemoryError:
        raise RecipeError(
            f"the model does not fit in the memory of {device}",
            where=str(folder),
            fix="set model.dtype: bfloat16, or take a smaller model or another train.device",
        ) from None
    except _LOAD_ERRORS as error:
        raise RecipeError(
            f"the model cannot be loaded: {first_line(error)}", where=str(folder), fix=_load_fix(error)
        ) from error


def _quantisation(recipe: ModelRecipe, device: torch.device) -> dict[str, Any]:
    """What transformers is told of a base in 4 bits: NF4 with quantised constants, products in the model's type."""
    if recipe.quantize == "none":
        return {}
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, recipe.dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _require_all_weights(folder: Path, found: Mapping[str, Any]) -> None:
    """Raise RecipeError for a weight that the files lack: transformers would go on with random numbers in its place."""
    mismatched = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in found["mismatched_keys"]]
    for what, names in (
        ("lacks", sorted(found["missing_keys"])),
        ("has, in another shape,", sorted(mismatched)),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise RecipeError(
                f"the folder {what} weights that its config.json asks for: {names[0]}{more}",
                where=str(folder),
                fix="copy or download the model anew, config.json and all safetensors files",
            )


def _load_fix(error: Exception) -> str | None:
    text = str(error)
    if "custom code" in text or "trust_remote_code" in text:
        return "read the code that ships with the model, then set model.trust_remote_code: true"
    if isinstance(error, ImportError) or "attn_implementation" in text or "attention implementation" in text:
        return "install what is missing, or set model.attention: sdpa"
    if isinstance(error, (OSError, SafetensorError)):
        return "copy or download the model anew, config.json and all safetensors files"
    return None


def _with_adapter(model: Any, adapter: Path) -> Any:
    """The model wrapped in the adapter that a folder holds."""
    from peft import PeftModel, get_peft_model_state_dict

    weights = adapter / "adapter_model.safetensors"
    if not weights.exists():
        raise RecipeError(
            "the adapter's folder holds no adapter_model.safetensors; pickled weights can run code and are not read",
            where=str(adapter),
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys", category=UserWarning)
            with without_peft_warning():
                wrapped = PeftModel.from_pretrained(model, str(adapter))
        with safe_open(weights, framework="pt") as file:
            missing = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False)) - set(file.keys())
    except (*_LOAD_ERRORS, TypeError) as error:
        raise RecipeError(
            f"the adapter cannot be loaded: {first_line(error)}",
            where=str(adapter),
            fix="copy the adapter anew; it must belong to the base model that adapter_config.json names",
        ) from error
    if missing:
        raise RecipeError(
            f"the adapter lacks {len(missing)} weights, {min(missing)} among them", where=str(adapter)
        )
    return wrapped


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar and no table of what the files lack: we say it ourselves."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


__all__ = [
    "Policy",
    "add_adapter",
    "choose_device",
    "load_policy",
    "load_tokenizer",
    "model_hash",
    "resolve_model_folder",
    "stop_token_ids",
    "without_peft_warning",
]
