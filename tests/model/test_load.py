"""Loading a policy: everything that can be wrong with a folder is told with what to do; nothing is made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simpo.errors import CheckFailed, RecipeError, SimpoError
from simpo.model.load import (
    Policy,
    add_adapter,
    choose_device,
    load_policy,
    load_tokenizer,
    model_hash,
    resolve_model_folder,
    stop_token_ids,
)
from simpo.model.score import score
from simpo.model.weights import is_adapter, load_weights, save_weights
from simpo.recipe import AdapterRecipe, ModelRecipe
from simpo.runs.checkpoint import save_checkpoint, set_best
from tests.model.made import make_group

CPU = torch.device("cpu")
GROUPS = (make_group(5, 7, 3), make_group(1, 1, 20, seed=1))


def load(path: Path | str, **settings: Any) -> Policy:
    return load_policy(ModelRecipe(name=str(path), **settings), device=CPU)


def refused(path: Path | str, **settings: Any) -> SimpoError:
    with pytest.raises(SimpoError) as caught:
        load(path, **settings)
    return caught.value


def said(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return score(policy.model, GROUPS).total


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def _double_the_norm(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"].mul_(2)


def _drop_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def _copier(model: Path) -> Callable[[Path], None]:
    """Writes a checkpoint that holds a copy of this model folder."""

    def write(checkpoint: Path) -> None:
        shutil.copytree(model, checkpoint / "model")

    return write


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


@pytest.fixture
def trained(tiny_model_dir: Path) -> Policy:
    """The tiny model with an adapter that does something."""
    policy = load(tiny_model_dir)
    add_adapter(policy, AdapterRecipe(type="lora", r=4, alpha=8), base_folder=tiny_model_dir, seed=1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    policy.model.eval()
    return policy


@pytest.fixture
def adapter(trained: Policy, tmp_path: Path) -> Path:
    """The folder of that adapter, which names its base by its path."""
    save_weights(trained, tmp_path / "adapter")
    return tmp_path / "adapter"


# What a policy is


def test_a_policy_is_ready_to_score_and_knows_where_it_came_from(tiny_model_dir: Path) -> None:
    policy = load(tiny_model_dir)
    assert (policy.name, policy.folder, policy.parent_run) == (str(tiny_model_dir), tiny_model_dir, None)
    assert not policy.model.training and not policy.merged
    assert policy.model.dtype == torch.float32
    assert policy.stop_ids == {policy.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert policy.pad_id == policy.tokenizer.convert_tokens_to_ids("<|pad|>")
    counts = policy.parameter_counts()
    assert counts["total"] == counts["trained"] == sum(p.numel() for p in policy.model.parameters())


def test_weights_are_held_in_the_type_asked_for(tiny_model_dir: Path) -> None:
    assert load(tiny_model_dir, dtype="bfloat16").model.dtype == torch.bfloat16


def test_stop_tokens_are_all_that_production_stops_at(folder: Path) -> None:
    edit_json(folder / "generation_config.json", eos_token_id=[5, 9])
    policy = load(folder)
    assert policy.stop_ids == {5, 9, policy.tokenizer.eos_token_id}
    policy.model.generation_config.eos_token_id = None
    policy.tokenizer.eos_token = None
    assert stop_token_ids(policy.model, policy.tokenizer) == frozenset()


def test_the_tokenizer_can_be_had_without_the_weights(folder: Path, adapter: Path) -> None:
    def both(path: Path) -> tuple[str, frozenset[int]]:
        tokenizer, stop_ids = load_tokenizer(ModelRecipe(name=str(path)))
        policy = load(path)
        assert stop_ids == policy.stop_ids
        assert tokenizer.get_chat_template() == policy.tokenizer.get_chat_template()
        return tokenizer.eos_token, stop_ids

    assert both(adapter) == ("<|im_end|>", {2})
    edit_json(folder / "generation_config.json", eos_token_id=[5, 9])
    assert both(folder)[1] == {2, 5, 9}
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", eos_token_id=[7])
    assert both(folder)[1] == {2, 7}
    (folder / "model.safetensors").unlink()
    assert load_tokenizer(ModelRecipe(name=str(folder)))[1] == {2, 7}
    edit_json(folder / "config.json", model_type="nonsense")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_tokenizer(ModelRecipe(name=str(folder)))


def test_a_tokenizer_without_pad_token_pads_with_a_stop_token(tiny_model_dir: Path) -> None:
    policy = load(tiny_model_dir)
    policy.tokenizer.pad_token = None
    assert policy.pad_id in policy.stop_ids


# The hash


def test_the_hash_changes_with_a_byte_of_the_weights_and_with_the_configuration(folder: Path) -> None:
    before = model_hash(folder)
    assert load(folder).hash == before
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_hash(folder) != before
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_hash(folder) == before
    edit_json(folder / "config.json", rms_norm_eps=1e-3)
    assert model_hash(folder) != before


def test_the_hash_does_not_change_with_what_leaves_the_numbers_alone(folder: Path, tmp_path: Path) -> None:
    before = model_hash(folder)
    (folder / "README.md").write_text("A tokenizer.")
    edit_json(folder / "config.json", transformers_version="4.1", _name_or_path="elsewhere")
    moved = folder.rename(tmp_path / "moved")
    assert model_hash(moved) == before


# Folders with something wrong


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _scramble(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no tensors here")


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_a_weight(folder: Path) -> None:
    edit_weights(
        folder / "model.safetensors", lambda tensors: tensors.__delitem__("model.layers.1.mlp.up_proj.weight")
    )


def _reshape(folder: Path) -> None:
    edit_json(folder / "config.json", intermediate_size=48)


def _lose_a_shard(folder: Path) -> None:
    shard = "model-00001-of-00002.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / "model.safetensors"), shard)}
    (folder / "model.safetensors").rename(folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _no_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("tokenizer*"), *folder.glob("*.jinja")]:
        path.unlink()


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def _needs_code(folder: Path) -> None:
    edit_json(
        folder / "config.json",
        model_type="mine",
        auto_map={"AutoConfig": "x.C", "AutoModelForCausalLM": "x.M"},
    )


FAULTS: dict[Callable[[Path], None], tuple[str, str]] = {
    _cut: ("cannot be loaded: Error while deserializing header", "copy or download the model anew"),
    _scramble: ("cannot be loaded: Error while deserializing header", "copy or download the model anew"),
    _pickle: ("no safetensors weights; pickled weights can run code", "save_pretrained"),
    _lose_a_weight: ("lacks weights that its config.json asks for: model.layers.1.mlp.up_proj", "anew"),
    _reshape: ("in another shape, weights", "anew"),
    _lose_a_shard: ("model-00001-of-00002.safetensors", "anew"),
    _no_config: ("the folder holds no config.json", "give a model folder or a run folder"),
    _no_tokenizer: ("the tokenizer cannot be loaded", "tokenizer.json"),
    _broken_tokenizer: ("the tokenizer cannot be loaded", "tokenizer.json"),
    _needs_code: ("contains custom code", "model.trust_remote_code: true"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_folder_that_is_not_whole_is_refused_with_what_to_do(
    fault: Callable[[Path], None], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fault(folder)
    error = refused(folder)
    message, fix = FAULTS[fault]
    assert isinstance(error, RecipeError)
    assert message in error.message and str(error.where).startswith(str(folder))
    assert fix in str(error.fix)
    if fault is not _needs_code:
        assert capfd.readouterr().err == ""  # no table and no progress bar beside our message


def test_a_broken_configuration_is_named_by_its_file(folder: Path) -> None:
    _broken_config(folder)
    error = refused(folder)
    assert error.where == str(folder / "config.json") and error.exit_status == 2


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere-at-all", "a/b/c", "nothing"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    error = refused(name)
    assert "no such model folder" in error.message
    assert error.where == name and "hub id" in str(error.fix)


def test_a_file_is_no_model_folder(folder: Path) -> None:
    assert "no such model folder" in refused(folder / "config.json").message


def test_a_hub_id_that_cannot_be_had_is_told_as_such() -> None:
    error = refused("nobody/nothing-at-all")
    assert error.message.startswith("neither a folder here nor a model that the hub gave: ")
    assert "\n" not in error.message
    assert "connection" in str(error.fix)


def test_an_attention_that_is_not_installed_is_told_with_one_that_is(folder: Path) -> None:
    error = refused(folder, attention="flash_attention_2")
    assert "FlashAttention2" in error.message
    assert "model.attention: sdpa" in str(error.fix)


def test_a_device_that_does_not_exist_is_refused() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu9", "cuda:77", ""):
        with pytest.raises(RecipeError, match="cannot be used") as caught:
            choose_device(name)
        assert caught.value.fix == "set train.device: auto"
        assert len(caught.value.message) < 400


# Adapters


def test_a_merged_adapter_says_what_the_unmerged_one_says(
    adapter: Path, trained: Policy, tiny_model_dir: Path
) -> None:
    policy = load(adapter)
    assert policy.merged and not is_adapter(policy)
    assert float((said(load(tiny_model_dir)) - said(trained)).abs().max()) > 1  # the adapter does something
    torch.testing.assert_close(said(policy), said(trained), rtol=0, atol=2e-4)


def test_the_hash_of_an_adapter_is_its_own_and_its_bases(
    adapter: Path, folder: Path, tiny_model_dir: Path
) -> None:
    before = load(adapter).hash
    assert before not in (model_hash(adapter), model_hash(tiny_model_dir))
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(folder))  # a copy of the same base
    assert load(adapter).hash == before
    edit_weights(folder / "model.safetensors", _double_the_norm)
    assert load(adapter).hash != before


def test_an_adapter_without_its_base_is_refused_with_what_to_do(adapter: Path) -> None:
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="/nowhere/base")
    error = refused(adapter)
    assert (
        "the base model of this adapter cannot be had: no such model folder (/nowhere/base)" in error.message
    )
    assert error.where == str(adapter) and "base_model_name_or_path" in str(error.fix)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=None)
    assert "names no base model" in refused(adapter).message
    (adapter / "adapter_config.json").write_text("{")
    assert refused(adapter).where == str(adapter / "adapter_config.json")


def test_an_adapter_on_an_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    edit_json(second / "adapter_config.json", base_model_name_or_path=str(adapter))
    assert "an adapter itself" in refused(second).message


def test_an_adapter_that_is_not_whole_is_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    edit_weights(weights, _drop_one)
    assert "the adapter lacks 1 weights" in refused(adapter).message
    weights.write_bytes(whole[:200])
    assert "the adapter cannot be loaded" in refused(adapter).message
    weights.write_bytes(whole)
    edit_json(adapter / "adapter_config.json", r=8)
    assert "must belong to the base model" in str(refused(adapter).fix)
    weights.unlink()
    assert "no adapter_model.safetensors" in refused(adapter).message


def test_modules_that_do_not_exist_are_refused(tiny_model_dir: Path) -> None:
    policy = load(tiny_model_dir)
    with pytest.raises(RecipeError) as caught:
        add_adapter(
            policy, AdapterRecipe(type="lora", target=["no_proj"]), base_folder=tiny_model_dir, seed=0
        )
    assert "no_proj" in caught.value.message and "all-linear" in str(caught.value.fix)


def test_a_fresh_adapter_changes_nothing_and_trains_alone(tiny_model_dir: Path) -> None:
    policy = load(tiny_model_dir)
    before = said(policy)
    add_adapter(policy, AdapterRecipe(type="lora"), base_folder=tiny_model_dir, seed=0)
    assert torch.equal(said(policy), before)
    counts = policy.parameter_counts()
    assert 0 < counts["trained"] < counts["total"]


# Weights put back


def test_saved_weights_come_back_bit_by_bit(tiny_model_dir: Path, trained: Policy, tmp_path: Path) -> None:
    recipe = ModelRecipe(name=str(tiny_model_dir))
    save_weights(trained, tmp_path / "adapter")
    fresh = load(tiny_model_dir)
    add_adapter(fresh, AdapterRecipe(type="lora", r=4, alpha=8), base_folder=tiny_model_dir, seed=7)
    load_weights(fresh, tmp_path / "adapter", recipe)
    fresh.model.eval()
    assert torch.equal(said(fresh), said(trained))

    full = load(tiny_model_dir)
    with torch.no_grad():
        full.model.model.norm.weight.mul_(1.5)
    save_weights(full, tmp_path / "full")
    other = load(tiny_model_dir)
    load_weights(other, tmp_path / "full", recipe)
    assert torch.equal(said(other), said(full))
    assert not torch.equal(said(other), said(load(tiny_model_dir)))


# Runs and their checkpoints


def make_run(path: Path, model: Path, *steps: int) -> Path:
    """A run folder with checkpoints that hold copies of a model folder."""
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(
        f"model: {{name: {json.dumps(str(model))}}}\ndata: {{train: none.jsonl}}\noutput: {json.dumps(str(path))}\n"
    )
    (path / "run.json").write_text(json.dumps({"model": {"hash": model_hash(model)}}))
    for step in steps:
        save_checkpoint(path / "checkpoints", step, _copier(model))
    return path


def test_a_run_stands_for_its_best_checkpoint(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model_dir, 10, 20)
    assert load(run).folder == run / "checkpoints" / "step-000020" / "model"
    set_best(run / "checkpoints", 10)
    policy = load(run)
    assert policy.folder == run / "checkpoints" / "step-000010" / "model"
    assert (policy.name, policy.parent_run) == (str(run), run)


def test_a_checkpoint_knows_the_run_it_belongs_to(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model_dir, 10)
    step = run / "checkpoints" / "step-000010"
    for path in (step, step / "model"):
        policy = load(path)
        assert (policy.folder, policy.parent_run) == (step / "model", run)
    assert resolve_model_folder(str(tiny_model_dir), None) == (tiny_model_dir, None)


def test_a_run_without_checkpoint_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    error = refused(make_run(tmp_path / "run", tiny_model_dir))
    assert "no checkpoint yet" in error.message and error.exit_status == 2 and error.fix


def test_a_checkpoint_that_is_not_what_was_written_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model_dir, 10)
    weights = run / "checkpoints" / "step-000010" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for path in (run, weights.parents[1]):
        error = refused(path)
        assert isinstance(error, CheckFailed) and error.exit_status == 4
        assert "model.safetensors" in error.message


def test_an_adapter_in_a_run_finds_its_base_after_a_move(
    adapter: Path, folder: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    before = said(load(adapter))
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="/nowhere/base")
    run = make_run(tmp_path / "run", folder)
    save_checkpoint(run / "checkpoints", 5, _copier(adapter))
    assert torch.equal(said(load(run)), before)  # where the recipe finds it
    edit_weights(folder / "model.safetensors", _double_the_norm)
    assert "cannot be had" in refused(run).message  # another model in its place is not taken for it
    shutil.copytree(tiny_model_dir, run / "base")
    assert torch.equal(said(load(run)), before)  # what the run itself kept
