"""Weights and code that come with a model: safetensors alone, pickles only where told, Python never unasked."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simpo.errors import RecipeError
from simpo.model.load import load_policy
from simpo.recipe import ModelRecipe

CPU = torch.device("cpu")


def pickled(model: Path, folder: Path) -> Path:
    """The same model with its weights as a pickle."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_refused_unless_the_recipe_says_otherwise(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = pickled(tiny_model_dir, tmp_path / "model")
    with pytest.raises(RecipeError, match="pickled weights can run code and are not read") as refusal:
        load_policy(ModelRecipe(name=str(folder)), device=CPU)
    assert "model.pickled_weights: true" in str(refusal.value.fix)
    told = load_policy(ModelRecipe(name=str(folder), pickled_weights=True), device=CPU)
    safe = load_policy(ModelRecipe(name=str(tiny_model_dir)), device=CPU)
    for name, tensor in safe.model.state_dict().items():
        assert torch.equal(tensor, told.model.state_dict()[name]), name
    assert told.hash != safe.hash
    torch.save({"model.norm.weight": torch.ones(32)}, folder / "pytorch_model.bin")
    with pytest.raises(RecipeError, match="lacks weights"):
        load_policy(ModelRecipe(name=str(folder), pickled_weights=True), device=CPU)


class _Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_does_not_run_it_even_where_pickles_are_read(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = pickled(tiny_model_dir, tmp_path / "model")
    torch.save({"model.norm.weight": _Runs(tmp_path / "ran")}, folder / "pytorch_model.bin")
    for allowed in (False, True):
        with pytest.raises(RecipeError):
            load_policy(ModelRecipe(name=str(folder), pickled_weights=allowed), device=CPU)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(_Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists(), "the pickle would have done something"


def test_a_pickle_beside_safetensors_is_not_looked_at(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    beside = load_policy(ModelRecipe(name=str(folder), pickled_weights=True), device=CPU)
    assert beside.hash == load_policy(ModelRecipe(name=str(tiny_model_dir)), device=CPU).hash


def test_python_that_comes_with_a_model_is_not_run_unless_told(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "ours",
        "auto_map": {"AutoConfig": "code.Ours", "AutoModelForCausalLM": "code.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    with pytest.raises(RecipeError) as refusal:
        load_policy(ModelRecipe(name=str(folder)), device=CPU)
    assert "model.trust_remote_code: true" in str(refusal.value.fix)
    assert not (tmp_path / "ran").exists()
