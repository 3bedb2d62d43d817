"""An export is the trained model: loaded by plain libraries it says the same, and nothing wrong ever has its name."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from simpo.errors import CheckFailed, Interrupted, RecipeError, RunFailed
from simpo.model.load import load_policy, without_peft_warning
from simpo.recipe import ModelRecipe
from simpo.release.export import export_run
from simpo.release.trained import load_trained
from simpo.runs.checkpoint import MANIFEST, best_model_folder
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder
from tests.release.conftest import LORA, SHORT
from tests.train.made_up import Workshop

PROMPT = [{"role": "user", "content": "Where is my parcel of day 3?"}]


def reply(model: Any, tokenizer: Any) -> list[int]:
    """The token ids of a greedy reply."""
    inputs = tokenizer.apply_chat_template(
        PROMPT, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids: list[int] = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0].tolist()
    return ids


def in_memory(run: Path) -> Any:
    """The trained model as training left it, an adapter not merged."""
    folder = RunFolder.open(run)
    return load_trained(folder, folder.load_recipe().recipe).policy.model


def plain(folder: Path, base: Path | None = None) -> tuple[Any, Any]:
    """The export by transformers (and peft) alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    if base is not None:
        with without_peft_warning():
            model = PeftModel.from_pretrained(model, str(folder))
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def largest_difference(one: Any, other: Any, tokenizer: Any) -> float:
    ids = tokenizer("Please refund one of the two. I have asked the carrier.", return_tensors="pt").input_ids
    with torch.no_grad():
        return float((one(ids).logits - other(ids).logits).abs().max())


def left_over(folder: Path) -> list[str]:
    """What lies in a folder, hidden drafts included."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["full_run", "lora_run", "stacked_run", "sft_run"])
def test_what_plain_transformers_loads_says_what_the_model_in_memory_says(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(name)
    result = export_run(run, tmp_path / "out")
    model, tokenizer = plain(tmp_path / "out")
    trained = in_memory(run)
    assert result.kind == ("full" if name in ("full_run", "sft_run") else "merged")
    assert largest_difference(trained, model, tokenizer) < 1e-4
    assert reply(trained, tokenizer) == reply(model, tokenizer)
    assert result.parity.source == "the run's data"
    assert result.parity.equal_argmax == 1
    assert (
        load_policy(ModelRecipe(name=str(tmp_path / "out")), device=torch.device("cpu")).hash == result.hash
    )


def test_full_weights_as_trained_are_written_bit_for_bit(full_run: Path, tmp_path: Path) -> None:
    result = export_run(full_run, tmp_path / "out")
    assert (result.parity.max_abs_error, result.parity.mean_kl) == (0, 0)
    written = load_file(tmp_path / "out" / "model.safetensors")
    trained = load_file(best_model_folder(full_run) / "model.safetensors")
    assert written.keys() == trained.keys()
    assert all(torch.equal(written[key], trained[key]) for key in trained)


def test_an_adapter_names_the_folder_of_its_base_and_peft_loads_the_two(
    lora_run: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    out = tmp_path / "out"
    result = export_run(lora_run, out, kind="adapter")
    assert not (out / "base").exists()
    assert result.kind == "adapter"
    trained, (model, tokenizer) = in_memory(lora_run), plain(out, tiny_model_dir)
    assert largest_difference(trained, model, tokenizer) == 0
    assert reply(trained, tokenizer) == reply(model, tokenizer)
    with without_peft_warning():
        assert reply(AutoPeftModelForCausalLM.from_pretrained(out), tokenizer) == reply(model, tokenizer)
    policy = load_policy(ModelRecipe(name=str(out)), device=torch.device("cpu"))
    assert (policy.hash, policy.merged) == (result.hash, True)


@pytest.mark.parametrize("parent", ["lora_run", "sft_run"])
def test_a_base_out_of_a_run_goes_along_with_its_adapter(
    parent: str, shop: Workshop, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    start = str(request.getfixturevalue(parent))
    run = shop.train(f"on-{parent}-{tmp_path.name}", train=SHORT, adapter=LORA, model={"name": start}).path
    out = tmp_path / "out"
    export_run(run, out, kind="adapter")
    trained = in_memory(run)
    shutil.rmtree(run)
    model, tokenizer = plain(out, out / "base")
    assert largest_difference(trained, model, tokenizer) == 0
    with without_peft_warning():
        assert reply(AutoPeftModelForCausalLM.from_pretrained(out), tokenizer) == reply(trained, tokenizer)
    moved = out.rename(tmp_path / "moved")
    assert reply(plain(moved, moved / "base")[0], tokenizer) == reply(trained, tokenizer)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_can_be_rounded_and_the_check_says_by_how_much(
    dtype: Any, lora_run: Path, tmp_path: Path
) -> None:
    result = export_run(lora_run, tmp_path / "out", dtype=dtype)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {str(file.get_tensor(key).dtype) for key in file.keys()} == {f"torch.{dtype}"}  # noqa: SIM118
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    assert result.dtype == dtype
    assert 0 < result.parity.relative_error < result.parity.tolerance.relative_error
    assert 0 < result.parity.mean_kl < result.parity.tolerance.mean_kl


def test_keep_writes_the_type_that_the_run_held_its_weights_in(shop: Workshop, tmp_path: Path) -> None:
    model = {"name": str(shop.model), "dtype": "bfloat16"}
    full = shop.train("narrow", train=SHORT, model=model).path
    lora = shop.train("narrow-lora", train=SHORT, model=model, adapter=LORA).path
    exact = export_run(full, tmp_path / "full")
    assert (exact.dtype, exact.parity.max_abs_error) == ("bfloat16", 0)
    merged = export_run(lora, tmp_path / "merged")
    assert (merged.dtype, merged.parity.max_abs_error > 0) == ("bfloat16", True)
    adapter = export_run(lora, tmp_path / "adapter", kind="adapter")
    assert (adapter.dtype, adapter.parity.max_abs_error) == ("bfloat16", 0)


def test_the_run_keeps_what_was_exported_and_every_hash_is_that_of_the_file(full_run: Path) -> None:
    result = export_run(full_run)
    out = full_run / "export"
    assert result.path == out
    record = json.loads((full_run / "export.json").read_text())
    assert record == {**result.record(full_run), "created": record["created"]}
    assert (record["path"], record["kind"], record["dtype"]) == ("export", "full", "float32")
    assert record["files"].keys() == {path.name for path in out.iterdir()}
    for name, digest in record["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    shipped = json.loads((out / "simpo.json").read_text())
    assert shipped["files"].items() <= record["files"].items()
    event = read_events(full_run / "events.jsonl")[-1]
    assert (event["event"], event["path"], event["model_hash"]) == ("export", "export", result.hash)
    assert not [name for name in left_over(full_run) if name.startswith(".export")]


def test_an_export_folder_that_holds_anything_is_refused_and_left_as_it_is(
    full_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path / "mine", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RecipeError, match="--out"):
            export_run(full_run, taken)
    assert left_over(tmp_path) == ["file", "mine"]
    assert left_over(tmp_path / "mine") == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    export_run(full_run, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(
    full_run: Path, shop: Workshop, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="there is no adapter"):
        export_run(full_run, tmp_path / "out", kind="adapter")
    with pytest.raises(RecipeError, match="not a run folder"):
        export_run(shop.model, tmp_path / "out")
    empty = Path(shutil.copytree(full_run, tmp_path / "empty"))
    shutil.rmtree(empty / "checkpoints")
    (empty / "checkpoints").mkdir()
    with pytest.raises(RecipeError, match="no checkpoint yet"):
        export_run(empty, tmp_path / "out")
    with RunFolder.open(full_run).locked(), pytest.raises(RecipeError, match="another process"):
        export_run(full_run, tmp_path / "out")
    assert left_over(tmp_path) == ["empty"]


def test_a_damaged_checkpoint_is_not_exported(full_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(full_run, tmp_path / "run"))
    weights = best_model_folder(run) / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(CheckFailed, match="not what was written"):
        export_run(run, tmp_path / "out")
    assert left_over(tmp_path) == ["run"]


def rewrite(run: Path, change: Any) -> None:
    """Change the weights of the best checkpoint, and its manifest with them."""
    weights = best_model_folder(run) / "model.safetensors"
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights, metadata={"format": "pt"})
    manifest = weights.parents[1] / MANIFEST
    content = json.loads(manifest.read_text())
    content["files"]["model/model.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))


def test_an_export_that_is_not_the_model_ends_with_4_and_leaves_nothing(
    full_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(full_run, tmp_path / "run", ignore=shutil.ignore_patterns("export*")))
    before = read_events(run / "events.jsonl")

    def too_large_for_float16(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = 1e6

    rewrite(run, too_large_for_float16)
    with pytest.raises(CheckFailed, match="is not the model it was made of") as caught:
        export_run(run, tmp_path / "out", dtype="float16")
    assert caught.value.where == str(tmp_path / "out")
    assert "largest difference of a logit nan" in caught.value.message
    assert left_over(tmp_path) == ["run"]
    assert not (run / "export.json").exists()
    assert read_events(run / "events.jsonl") == before
    assert export_run(run, tmp_path / "out", dtype="bfloat16").dtype == "bfloat16"


def test_a_model_that_is_itself_not_finite_is_not_exported(full_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(full_run, tmp_path / "run"))

    def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"][0] = float("nan")

    rewrite(run, not_a_number)
    with pytest.raises(CheckFailed, match="the checkpoint itself"):
        export_run(run, tmp_path / "out")


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(full_run: Path, tmp_path: Path) -> None:
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        with pytest.raises(RunFailed, match="nothing half-written was kept") as caught:
            export_run(full_run, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "export again" in str(caught.value.fix)
    assert left_over(tmp_path) == []


def test_an_export_that_is_broken_off_leaves_nothing(full_run: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def break_off(what: str) -> None:
        told.append(what)
        if what.startswith("loading it again"):
            assert left_over(tmp_path) != []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_run(full_run, tmp_path / "out", report=break_off)
    assert "writing the full weights in float32" in told
    assert left_over(tmp_path) == []


def test_an_interrupted_run_is_exported_and_its_card_says_so(shop: Workshop, tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        shop.train("interrupted", interrupt)
    run = shop.folder / "interrupted"
    assert export_run(run, tmp_path / "out").step == 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**The training run had not finished** when this was exported (status: interrupted)" in card
    assert "step 2 of 6 planned" in card


def test_conversations_of_our_own_serve_where_the_data_is_gone(full_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(full_run, tmp_path / "run"))
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("-pairs", "-gone"))
    parity = export_run(run, tmp_path / "out").parity
    assert (parity.source, parity.num_sequences) == ("built-in conversations", 4)


def test_a_run_that_was_moved_is_exported_all_the_same(
    stacked_run: Path, lora_run: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(stacked_run, tmp_path / "run"))
    config = best_model_folder(run) / "adapter_config.json"
    assert json.loads(config.read_text())["base_model_name_or_path"] == str((stacked_run / "base").resolve())
    folder = RunFolder.open(run)
    trained = load_trained(folder, folder.load_recipe().recipe)
    assert (trained.base, trained.own_base) == (run / "base", True)
    export_run(run, tmp_path / "out", kind="adapter")
    named = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(tmp_path / "out" / "base")


def test_an_adapter_is_not_exported_on_another_base_than_it_was_trained_on(
    shop: Workshop, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(shop.model, tmp_path / "model"))
    run = shop.train("other-base", train=SHORT, adapter=LORA, model={"name": str(model)}).path
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"] *= 1.5
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckFailed, match="no longer the one that the adapter was trained on"):
        export_run(run, tmp_path / "out")


def test_every_stop_token_of_training_stops_the_exported_model(shop: Workshop, tmp_path: Path) -> None:
    model = Path(shutil.copytree(shop.model, tmp_path / "model"))
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps({**generation, "eos_token_id": [7, 9]}))
    for name, adapter in (("stops", {"type": "none"}), ("stops-lora", LORA)):
        run = shop.train(name, train=SHORT, model={"name": str(model)}, adapter=adapter).path
        export_run(run, tmp_path / name, kind="merged" if name == "stops" else "adapter")
        written = json.loads((tmp_path / name / "generation_config.json").read_text())
        assert written["eos_token_id"] == [2, 7, 9]
    loaded, _ = plain(tmp_path / "stops")
    assert loaded.generation_config.eos_token_id == [2, 7, 9]


def test_the_template_it_was_trained_with_goes_along(shop: Workshop, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    own = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}: {{ message['content'] }}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
    )
    template.write_text(own)
    run = shop.train("templated", train=SHORT, data={"template": str(template)}).path
    export_run(run, tmp_path / "out")
    _, tokenizer = plain(tmp_path / "out")
    assert tokenizer.get_chat_template() == own
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()
