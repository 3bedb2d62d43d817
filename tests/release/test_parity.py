"""The check on an export: each thing that can be wrong with a folder is found by what it changes, and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from simpo.errors import CheckFailed
from simpo.recipe import ModelRecipe
from simpo.release.export import export_run
from simpo.release.parity import TOLERANCES, Expected, check_parity, compare, expect, tensor_hashes
from simpo.release.probes import probe_groups
from simpo.release.trained import load_trained
from simpo.runs.folder import RunFolder
from simpo.train.prepare import make_renderer


@pytest.fixture(scope="module")
def expected(lora_run: Path) -> Expected:
    """What an export of the adapter run must say, its weights merged."""
    run = RunFolder.open(lora_run)
    recipe = run.load_recipe().recipe
    trained = load_trained(run, recipe)
    policy = trained.policy
    groups, source = probe_groups(recipe, make_renderer(policy, recipe.data))
    found = expect(
        policy.model,
        policy.tokenizer,
        groups,
        source=source,
        stop_ids=policy.stop_ids,
        settings=trained.settings,
        chat=True,
    )
    merged = policy.model.merge_and_unload()
    return replace(found, tensors=tensor_hashes(merged, adapter=False))


@pytest.fixture(scope="module")
def exported(lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound export of the same run."""
    out = tmp_path_factory.mktemp("exports") / "sound"
    export_run(lora_run, out)
    return out


def test_a_sound_export_passes(exported: Path, expected: Expected) -> None:
    parity = check_parity(exported, expected)
    assert parity.relative_error < 1e-5
    assert parity.mean_kl < 1e-9
    assert parity.num_tensors == len(expected.tensors)
    assert parity.num_tokens == sum(len(ids) for ids in expected.sequences)
    assert (parity.num_sequences, parity.equal_argmax) == (8, 1)


def edit_json(name: str, **values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))

    return edit


def nudge_one_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] += 1e-6
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_one_layer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.self_attn.o_proj.weight"] *= 1.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def lose_one_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def cut_the_file(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def change_the_template(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n", "assistant\\n\\n"))


def change_the_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = content["model"]["merges"][:-30]
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nudge_one_weight, "weight model.layers.0.mlp.up_proj.weight differs from what was written"),
        (spoil_one_layer, "logits differ by"),
        (lose_one_weight, "it lacks the weights model.norm.weight"),
        (cut_the_file, "cannot be loaded again"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded again"),
        (edit_json("config.json", rms_norm_eps=0.3), "logits differ by"),
        (edit_json("generation_config.json", eos_token_id=5), r"would not stop at token ids \[2\]"),
        (change_the_template, "chat template of the tokenizer differ"),
        (change_the_tokenizer, "token ids of text of the tokenizer differ"),
    ],
)
def test_whatever_is_wrong_with_an_export_is_found_and_named(
    damage: Callable[[Path], None], said: str, exported: Path, expected: Expected, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "damaged"))
    damage(folder)
    with pytest.raises(CheckFailed, match=said) as caught:
        check_parity(folder, expected)
    assert caught.value.exit_status == 4
    assert caught.value.where == str(folder)


def test_a_wrong_configuration_is_found_though_every_weight_is_right(
    exported: Path, expected: Expected, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "damaged"))
    edit_json("config.json", rope_parameters={"rope_type": "default", "rope_theta": 100.0})(folder)
    with pytest.raises(CheckFailed) as caught:
        check_parity(folder, expected)
    assert "weight" not in caught.value.message
    assert "KL is" in caught.value.message


def test_a_wrong_scale_is_found_at_every_tolerance(
    exported: Path, expected: Expected, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "damaged"))
    edit_json("config.json", rms_norm_eps=0.3)(folder)
    for tolerance in TOLERANCES.values():
        with pytest.raises(CheckFailed, match="KL is"):
            check_parity(folder, replace(expected, tolerance=tolerance))


def made_up(logits: torch.Tensor) -> Expected:
    """An expectation of these logits [T, V] alone."""
    return Expected(
        (torch.zeros(len(logits), dtype=torch.int64),),
        (logits,),
        "made up",
        (),
        False,
        {},
        frozenset(),
        ModelRecipe(name="none"),
    )


def test_the_figures_of_two_sets_of_logits_are_those_of_the_definition() -> None:
    # p = (1/2, 1/2), q = (3/4, 1/4): KL = 1/2 log(2/3) + 1/2 log 2 = 1/2 log(4/3) = 0.143841; the other is equal.
    model = torch.tensor([[0.0, 0.0], [5.0, -1.0]])
    export = torch.tensor([[float(torch.log(torch.tensor(3.0))), 0.0], [5.0, -1.0]])
    parity = compare(made_up(model), [export], 0)
    assert parity.mean_kl == pytest.approx(0.143841 / 2, abs=1e-6)
    assert parity.max_abs_error == pytest.approx(1.098612, abs=1e-6)
    assert parity.max_abs_logit == 5
    assert parity.equal_argmax == 1


@given(place=st.integers(0, 149), value=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_one_logit_that_is_no_number_is_within_no_tolerance(place: int, value: float) -> None:
    model = torch.linspace(-1, 1, 300).reshape(150, 2)
    export = model.clone()
    export[place, 1] = value
    parity = compare(made_up(model), [export], 0)
    for tolerance in TOLERANCES.values():
        assert not parity.relative_error <= tolerance.relative_error
        assert not parity.mean_kl <= tolerance.mean_kl or value == -float("inf")
