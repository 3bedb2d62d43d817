"""Where a model lies: a folder, one of our runs, a checkpoint or the hub; an adapter's base; and a model's hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from simpo.errors import RecipeError
from simpo.runs.checkpoint import best_model_folder, verify
from simpo.runs.folder import RunFolder, is_run_folder, read_json

# README.md names the licence, which the card of an exported model repeats.
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]
_HUB_IGNORED = ["*/*", "consolidated*"]  # the same weights once more, in other formats
PICKLED = "pytorch_model*.bin"
_NO_PART_OF_HASH = ("_name_or_path", "transformers_version", "base_model_name_or_path", "peft_version")


def resolve_model_folder(
    name: str, revision: str | None, *, code: bool = False, pickled: bool = False
) -> tuple[Path, Path | None]:
    """The local folder of a model, and the run it came from if it lies in one; hub ids are downloaded.

    name: a model folder, a run folder of ours (its best checkpoint is taken), one checkpoint of a run, or a hub id.
    code, pickled: whether to download Python files and pickled weights too.
    Raises RecipeError naming what was looked for and what to do, CheckFailed for a checkpoint that is not what was
    written.
    """
    path = Path(name).expanduser()
    if is_run_folder(path):
        return best_model_folder(path), path
    if path.is_dir():
        if (path / "manifest.json").exists() and (path / "model").is_dir():
            verify(path)
            path = path / "model"
        if not (path / "config.json").exists() and not is_adapter_folder(path):
            raise RecipeError(
                "the folder holds no config.json", where=str(path), fix="give a model folder or a run folder"
            )
        return path, _run_of(path)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise RecipeError(
            "no such model folder", where=name, fix="give a model folder, a run folder or a hub id (org/name)"
        )
    patterns = [*_HUB_PATTERNS, *(["*.py"] if code else []), *([PICKLED] if pickled else [])]
    return _download(name, revision, patterns), None


def _run_of(folder: Path) -> Path | None:
    """The run whose checkpoint a model folder is: `RUN/checkpoints/step-000120/model`."""
    parents = folder.absolute().parents
    if len(parents) < 3 or parents[1].name != "checkpoints" or not is_run_folder(parents[2]):
        return None
    return parents[2]


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=_HUB_IGNORED)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RecipeError(
            f"neither a folder here nor a model that the hub gave: {first_line(error)}",
            where=name,
            fix="check the name and the connection, or download the model and give its folder",
        ) from None


def model_hash(folder: Path, base: Path | None = None) -> str:
    """The hash of the model that a folder holds; for an adapter, together with its base, which `base` names."""
    own = _folder_hash(folder)
    return own if base is None else hashlib.sha256(f"{_folder_hash(base)}{own}".encode()).hexdigest()


def _folder_hash(folder: Path) -> str:
    """sha256 over names and contents of what decides the model's numbers: weights and configuration.

    Of the configuration, not what a copy or another version of a library writes otherwise: where the model lay, where
    the base of an adapter lies, and which version wrote it.
    """
    digest = hashlib.sha256()
    weights = set(folder.glob("*.safetensors")) or set(folder.glob(PICKLED))
    for path in sorted(folder.iterdir()):
        if path in weights:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        elif path.name in ("config.json", "adapter_config.json"):
            settings = {key: value for key, value in read_json(path).items() if key not in _NO_PART_OF_HASH}
            content = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        else:
            continue
        digest.update(f"{path.name}:{content}\n".encode())
    return digest.hexdigest()


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds a peft adapter."""
    return (folder / "adapter_config.json").exists()


def base_of(adapter: Path, code: bool) -> Path:
    """The folder of the model that an adapter was trained on, found again where it or the run was moved."""
    config = read_json(adapter / "adapter_config.json")
    named, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not named:
        raise RecipeError(
            "adapter_config.json names no base model",
            where=str(adapter),
            fix="write the base model's folder or hub id there, under base_model_name_or_path",
        )
    try:
        base = resolve_model_folder(str(named), revision, code=code)[0]
    except RecipeError as error:
        moved = _moved_base(adapter, code)
        if moved is None:
            raise RecipeError(
                f"the base model of this adapter cannot be had: {error.message} ({named})",
                where=str(adapter),
                fix="put it there, or change base_model_name_or_path in adapter_config.json",
            ) from None
        return moved
    if is_adapter_folder(base):
        raise RecipeError(
            "the base of this adapter is an adapter itself", where=str(adapter), fix=f"merge {base} first"
        )
    return base


def _moved_base(adapter: Path, code: bool) -> Path | None:
    """The base of a run's adapter, in the run or where its recipe finds it now, if it is the model it began with."""
    run = _run_of(adapter)
    if run is None:
        return None
    if (run / "base" / "config.json").exists():
        return run / "base"
    folder = RunFolder(run)
    model = folder.load_recipe().recipe.model
    try:
        base = resolve_model_folder(model.name, model.revision, code=code)[0]
    except RecipeError:
        return None
    return base if model_hash(base) == folder.lineage()["model"]["hash"] else None


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(": ") if lines else type(error).__name__


__all__ = ["base_of", "first_line", "is_adapter_folder", "model_hash", "resolve_model_folder"]
