"""Recipes: what is refused and how it is said, and a resolved recipe that reads back to the same run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.core.methods import METHODS
from simpo.errors import RecipeError
from simpo.recipe import LoadedRecipe, known_keys, load_recipe, resolve_recipe, warnings_for
from simpo.recipe.keys import FOREIGN, suggest
from simpo.recipe.text import read_yaml, write_yaml

MINIMAL: dict[str, Any] = {"output": "runs/a", "model": {"name": "base"}, "data": {"train": "pairs.jsonl"}}


def resolve(*overrides: str, **sections: Any) -> LoadedRecipe:
    return resolve_recipe({**MINIMAL, **sections}, overrides)


def refusal(*overrides: str, **sections: Any) -> RecipeError:
    with pytest.raises(RecipeError) as raised:
        resolve(*overrides, **sections)
    return raised.value


# What a foreign or mistyped key was meant to be


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.learning_rate", "train.lr"),
        ("learning_rate", "train.lr"),
        ("num_train_epochs", "train.epochs"),
        ("per_device_train_batch_size", "train.micro_batch_size"),
        ("method.gamma_beta_ratio", "method.gamma"),
        ("cpo_alpha", "method.sft_weight"),
        ("loss_type", "method.name"),
        ("adapter.lora_r", "adapter.r"),
        ("lora_alpha", "adapter.alpha"),
        ("model_name_or_path", "model.name"),
        ("dataset_name", "data.train"),
        ("max_seq_length", "data.max_length"),
        ("lr", "train.lr"),
        ("model.lr", "train.lr"),
        ("train.warmpu", "train.warmup"),
        ("train.lr_", "train.lr"),
        ("train.Batch-Size", "train.batch_size"),
        ("evaluate.batchsize", "evaluate.batch_size"),
        ("method.beta_", "method.beta"),
        ("training", "train"),
        ("adaptor", "adapter"),
        ("data.max_len", "data.max_length"),
    ],
)
def test_a_wrong_key_is_answered_with_the_key_it_means(key: str, meant: str) -> None:
    error = refusal(f"{key}=1")
    assert error.message == f"unknown key {key.split('.')[0]!r}" or error.message == f"unknown key {key!r}"
    assert error.fix == f"did you mean {meant}?"
    assert error.where in ("--set", "recipe")


def test_a_margin_in_units_of_reward_is_not_taken_for_gamma() -> None:
    fix = refusal("method.simpo_gamma=1").fix
    assert fix is not None
    assert fix.startswith("did you mean method.reward_margin (it is beta * gamma")


def test_accumulation_is_explained_as_the_global_batch() -> None:
    assert "global batch" in str(refusal("gradient_accumulation_steps=8").fix)


def test_a_key_like_none_of_ours_gets_the_list_of_keys() -> None:
    assert refusal("train.zzz=1").fix == "`simpo recipe fields` lists every key"


def test_every_foreign_name_stands_for_a_key_that_exists_and_is_no_key_of_ours() -> None:
    keys = known_keys()
    leaves = {key.rpartition(".")[2] for key in keys}
    assert set(FOREIGN.values()) <= set(keys)
    assert not set(FOREIGN) & leaves


def test_a_suggestion_is_never_made_among_no_keys() -> None:
    assert suggest("learning_rate", []) is None


# What is refused, and where it says the fault is


def test_an_error_names_the_line_of_the_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("output: x\nmodel: {name: m}\ndata:\n  train: d\n\ntrain:\n  lr: -1\n")
    with pytest.raises(RecipeError) as raised:
        load_recipe(file)
    assert raised.value.where == f"{file}:7"
    assert "received -1" in raised.value.message


def test_an_error_in_an_override_names_set(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("output: x\nmodel: {name: m}\ndata: {train: d}\ntrain: {lr: 1e-6}\n")
    with pytest.raises(RecipeError) as raised:
        load_recipe(file, ["train.lr=-1"])
    assert raised.value.where == "--set"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("output: [", "not valid YAML"),
        ("- a\n- b\n", "a mapping of sections"),
        ("output: a\noutput: b\n", "given twice"),
        ("output: a\nmodel: m\ndata: {train: d}\n", "model is a section"),
        ("output: a\nmodel:\ndata: {train: d}\n", "model is a section"),
        ("output: a\nmodel: {name: m}\n", "data is missing"),
        ("output: a\nmodel: {name: m}\ndata: {}\n", "data.train is missing"),
        ("output: a\nmodel: {name: m}\ndata: {train: []}\n", "data.train"),
        ("", "a mapping of sections"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=says) as raised:
        load_recipe(file)
    assert str(raised.value.where).startswith(str(file))


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"output: \xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(tmp_path / "latin.yaml")


@pytest.mark.parametrize("override", ["train.lr", "=3", "train.lr=[", "output.x=3"])
def test_an_override_that_is_no_assignment_is_refused(override: str) -> None:
    assert override.split("=")[0].split(".")[0] in refusal(override).message


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"name": "simpo", "gamma": 0.5, "reward_margin": 1.0}, "give one"),
        ({"name": "dpo", "gamma": 0.5}, "gamma has no effect with method dpo"),
        ({"name": "simpo", "reference": "live"}, "reference has no effect"),
        ({"name": "sft", "sft_weight": 1.0}, "sft_weight has no effect"),
        ({"name": "simpoo"}, "did you mean simpo"),
        ({"name": "dpo", "reference": "adapter_off"}, "needs an adapter"),
        ({"beta": 0.0}, "greater than 0"),
        ({"beta": math.inf}, "finite"),
        ({"gamma": -0.1}, "greater than or equal to 0"),
        ({"name": "alphapo", "alpha": math.nan}, "finite"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
    ],
)
def test_a_method_that_cannot_be_meant_is_refused(method: dict[str, Any], says: str) -> None:
    assert says in refusal(method=method).message


def test_adapter_settings_without_an_adapter_are_refused() -> None:
    assert "adapter.r has no effect" in refusal(adapter={"r": 8}).message


# What is shown


def test_a_default_is_shown_with_the_value_in_force_and_both_margins() -> None:
    text = resolve().to_yaml()
    assert "  name: simpo  # default\n  beta: 2.0  # default of simpo\n" in text
    assert "  gamma: 0.5  # default of simpo; reward margin 1\n" in text
    assert "  sft_weight: 0.0  # default of simpo\n" in text
    assert "odds_weight" not in text
    assert "reference" not in text
    assert "dropout" not in text


def test_a_reward_margin_is_shown_as_the_gamma_it_gives() -> None:
    loaded = resolve("method.reward_margin=1.6")
    assert "  gamma: 0.8  # --set; given as reward margin 1.6\n" in loaded.to_yaml()
    assert "  reward_margin:" not in loaded.to_yaml()


def test_a_method_with_a_reference_shows_how_it_is_scored() -> None:
    text = resolve(method={"name": "dpo"}).to_yaml()
    assert "  reference: precomputed  # default of dpo\n" in text
    assert "gamma" not in text


def test_a_null_counts_as_not_given() -> None:
    assert "  beta: 2.0  # default of simpo\n" in resolve("method.beta=null").to_yaml()


TEXTS = st.one_of(
    st.sampled_from(
        ["1e-6", "1E5", "null", "yes", "on", "12", "0x1f", "2024-01-01", "a # b", "a: b", "{x}", "- a", "#"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
        lambda text: "\0" not in text
    ),
)
POSITIVE = st.floats(1e-12, 1e6)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A random recipe that is allowed: any method with any of the settings that it uses."""
    name = draw(st.sampled_from(sorted(METHODS)))
    method = METHODS[name]
    candidates: dict[str, st.SearchStrategy[Any]] = {
        "beta": POSITIVE,
        "label_smoothing": st.floats(0, 0.499),
        "alpha": st.floats(-10, 10),
        "odds_weight": POSITIVE,
        "sft_weight": st.floats(0, 10),
        "reference": st.sampled_from(["precomputed", "live"]),
        draw(st.sampled_from(["gamma", "reward_margin"])): st.floats(0, 1e6),
    }
    usable = [key for key in candidates if method.uses(key)]
    given_keys = draw(st.lists(st.sampled_from(usable), unique=True)) if usable else []
    values: dict[str, Any] = {
        "output": draw(TEXTS),
        "model": {"name": draw(TEXTS)},
        "data": {"train": draw(st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)))},
        "method": {"name": name, **{key: draw(candidates[key]) for key in given_keys}},
        "train": {"lr": draw(POSITIVE), "seed": draw(st.integers(0, 2**63))},
    }
    if draw(st.booleans()):
        values["adapter"] = {"type": "lora", "r": draw(st.integers(1, 512)), "alpha": draw(POSITIVE)}
    return values


@settings(max_examples=200, deadline=None)
@given(recipes())
def test_a_resolved_recipe_reads_back_to_the_same_run(values: dict[str, Any]) -> None:
    first = resolve_recipe(values, where="a file # with: odd\nname.yaml")
    text = first.to_yaml()
    second = resolve_recipe(read_yaml(text))
    assert second.recipe.method.parameters == first.recipe.method.parameters
    assert second.recipe.method.chosen_sft_weight == first.recipe.method.chosen_sft_weight
    assert second.recipe.reference_mode == first.recipe.reference_mode
    same = {"method": first.recipe.method}
    assert second.recipe.model_copy(update=same) == first.recipe
    # Shown again, the same values; only the origins differ.
    assert second.resolved()[0] == first.resolved()[0]


VALUES = TEXTS | st.floats(allow_nan=False) | st.none()


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional={"a": VALUES, "s.b": VALUES, "s.c": VALUES, "t.d": VALUES}))
def test_what_is_written_as_yaml_reads_back_equal_also_by_a_plain_reader(values: dict[str, Any]) -> None:
    values = dict(sorted(values.items()))  # the keys of a section stand together
    text = write_yaml(values, dict.fromkeys(values, "why\nnot"))
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, leaf = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[leaf] = value
    assert (read_yaml(text) or {}) == nested
    assert (yaml.safe_load(text) or {}) == nested


def test_a_number_in_scientific_form_is_a_number() -> None:
    assert read_yaml("{a: 1e-6, b: 8E-7, c: 1e5, d: '1e5'}") == {"a": 1e-6, "b": 8e-7, "c": 1e5, "d": "1e5"}


# Warnings


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["method.beta=0.1"], "method.beta 0.1 is small"),
        (["train.lr=1e-5"], "completely repetitive"),
        (["method.sft_weight=1.0"], "adds an SFT term"),
        (["train.warmup=0"], "train.warmup 0"),
    ],
)
def test_a_known_bad_setting_is_warned_of(overrides: list[str], word: str) -> None:
    warnings = warnings_for(resolve(*overrides).recipe)
    assert len(warnings) == 1
    assert word in warnings[0]


def test_the_defaults_and_an_adapter_at_its_usual_rate_earn_no_warning() -> None:
    assert warnings_for(resolve().recipe) == []
    assert warnings_for(resolve("adapter.type=lora", "train.lr=1e-5").recipe) == []


def test_a_mapping_of_columns_is_one_value_that_can_be_set_in_part_and_reads_back() -> None:
    given = {
        "train": "a.csv",
        "format": "alpaca_ranking",
        "columns": {"prompt": "question", "chosen": "best"},
    }
    loaded = resolve("data.columns.chosen=top", "data.pairing=all", data=given)
    assert given["columns"] == {"prompt": "question", "chosen": "best"}
    assert loaded.recipe.data.columns == {"prompt": "question", "chosen": "top"}
    assert (loaded.origins["data.columns"], loaded.origins["data.format"]) == ("--set", "recipe")
    text = loaded.to_yaml()
    assert "  columns: {chosen: top, prompt: question}  # --set\n" in text
    assert resolve_recipe(read_yaml(text)).recipe.data == loaded.recipe.data


@pytest.mark.parametrize("setting", ["pairing=all", "min_margin=0.5"])
def test_how_pairs_are_made_is_no_setting_of_sft(setting: str) -> None:
    resolve(f"data.{setting}")
    error = refusal(f"data.{setting}", "method.name=sft")
    assert error.message == f"data.{setting.split('=')[0]} has no effect with method sft: remove it"
