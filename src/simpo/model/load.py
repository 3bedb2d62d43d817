"""Load a policy: weights, tokenizer, chat template and stop tokens from a folder, one of our runs, or the hub."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simpo.errors import RecipeError
from simpo.recipe import AdapterRecipe, ModelRecipe
from simpo.runs.checkpoint import best_model_folder
from simpo.runs.folder import is_run_folder

# README.md names the licence, which the card of an exported model repeats.
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]


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
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}", fix="set train.device: auto"
        ) from None
    return device


def load_policy(recipe: ModelRecipe, *, device: torch.device) -> Policy:
    """Load a model for scoring, writing or as the start of a training run; an adapter is merged into its base.

    Raises RecipeError where the folder is missing, holds no safetensors or cannot be read.
    """
    folder, parent = resolve_model_folder(recipe.name, recipe.revision, code=recipe.trust_remote_code)
    adapter = folder if (folder / "adapter_config.json").exists() else None
    base = resolve_model_folder(_base_of(folder), None)[0] if adapter else folder
    model, tokenizer = _load_folder(base, folder, recipe, device)
    if adapter is not None:
        from peft import PeftModel

        with without_peft_warning():
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.eval()
    digest = model_hash(folder, base if adapter else None)
    stops = stop_token_ids(model, tokenizer)
    return Policy(model, tokenizer, device, recipe.name, folder, digest, stops, parent, adapter is not None)


def add_adapter(policy: Policy, adapter: AdapterRecipe, *, base_folder: Path, seed: int) -> None:
    """Wrap the policy's model in a fresh LoRA adapter whose base is to be found in `base_folder`, in place.

    The adapter starts as the identity: its B matrices are zero. Raises RecipeError for modules that do not exist.
    """
    from peft import LoraConfig, get_peft_model

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
            policy.model = get_peft_model(policy.model, config)
    except ValueError as error:
        raise RecipeError(
            f"adapter.target {adapter.target!r}: {error}", fix="set adapter.target: all-linear"
        ) from None
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
    eos = model.generation_config.eos_token_id
    listed = eos if isinstance(eos, list) else [eos]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)


def resolve_model_folder(name: str, revision: str | None, *, code: bool = False) -> tuple[Path, Path | None]:
    """The local folder of a model, and the run it came from if `name` is a run folder; hub ids are downloaded.

    Raises RecipeError naming what was looked for and what to do.
    """
    path = Path(name).expanduser()
    if is_run_folder(path):
        return best_model_folder(path), path
    if path.is_dir():
        if not (path / "config.json").exists() and not (path / "adapter_config.json").exists():
            raise RecipeError(
                "the folder holds no config.json", where=str(path), fix="give a model folder or a run folder"
            )
        return path, None
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise RecipeError(
            "no such model folder", where=name, fix="give a model folder, a run folder or a hub id (org/name)"
        )
    return _download(name, revision, code), None


def _download(name: str, revision: str | None, code: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*_HUB_PATTERNS, "*.py"] if code else _HUB_PATTERNS
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(
            f"neither a folder here nor a model that the hub gave: {reason}",
            where=name,
            fix="check the name and the connection, or download the model and give its folder",
        ) from None


def _load_folder(
    base: Path, tokenizer_folder: Path, recipe: ModelRecipe, device: torch.device
) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not list(base.glob("*.safetensors")):
        raise RecipeError(
            "the folder holds no safetensors weights; pickled weights can run code and are not read",
            where=str(base),
            fix="convert the model with save_pretrained, which writes safetensors",
        )
    has_tokenizer = (tokenizer_folder / "tokenizer_config.json").exists()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer_folder if has_tokenizer else base, trust_remote_code=recipe.trust_remote_code
        )
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=getattr(torch, recipe.dtype),
            attn_implementation=recipe.attention,
            trust_remote_code=recipe.trust_remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(f"the model cannot be loaded: {reason}", where=str(base)) from error
    return model.to(device), tokenizer


def _base_of(adapter: Path) -> str:
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        return str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"cannot read adapter_config.json: {error}", where=str(adapter)) from error


def model_hash(folder: Path, base: Path | None = None) -> str:
    """The hash of the model that a folder holds; for an adapter, together with its base, which `base` names."""
    own = _folder_hash(folder)
    return own if base is None else hashlib.sha256(f"{_folder_hash(base)}{own}".encode()).hexdigest()


def _folder_hash(folder: Path) -> str:
    """sha256 over names and contents of what decides the model's numbers: weights and configuration."""
    names = sorted(
        p
        for p in folder.iterdir()
        if p.suffix == ".safetensors" or p.name in ("config.json", "adapter_config.json")
    )
    digest = hashlib.sha256()
    for path in names:
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
