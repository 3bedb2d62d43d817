"""What a run begins with: rows read, held out, rendered and counted, and a base for every adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.errors import DataError, Interrupted, RecipeError
from simpo.model.lean import make_lean
from simpo.model.load import load_policy
from simpo.recipe import ModelRecipe
from simpo.train import loop
from simpo.train.prepare import attach_adapter, checkpoint_activations, load_data, prepare
from simpo.train.run import resume
from tests.equivalence.test_resume import at
from tests.train.made_up import Workshop, pair_rows, write_rows


def test_validation_is_held_out_by_prompt_where_no_file_is_named(workshop: Workshop) -> None:
    twice = [{**row, "rejected": row["rejected"] + again} for row in pair_rows(20) for again in ("", " Bye.")]
    data = {"train": write_rows(workshop.folder / "twice.jsonl", twice), "validation": None}
    parts = load_data(workshop.recipe("run", data={**data, "validation_fraction": 0.3}).recipe)
    sides = {name: {row.prompt_id for row in part.rows} for name, part in parts.items()}
    assert not sides["train"] & sides["validation"] and all(sides.values())
    assert sum(len(part.rows) for part in parts.values()) == 40
    limited = {**data, "validation_fraction": 0.3, "limit_validation": 2}
    assert len(load_data(workshop.recipe("run", data=limited).recipe)["validation"].rows) == 2
    assert set(load_data(workshop.recipe("run", data={**data, "validation_fraction": 0}).recipe)) == {"train"}


def test_what_was_left_out_is_counted(workshop: Workshop) -> None:
    rows = pair_rows(6)
    rows[2]["chosen"] = "word " * 300
    data = {"train": write_rows(workshop.folder / "long.jsonl", rows)}
    prepared = prepare(workshop.recipe("run", data=data).recipe)
    summary = prepared.summary["train"]
    assert summary["rows"] == len(prepared.train) == 5 and summary["dropped"] == {"overlong": 1}
    assert summary["median_tokens"].keys() == {"prompt", "chosen", "rejected"}
    assert prepared.policy.parameter_counts()["trained"] == prepared.policy.parameter_counts()["total"]


def test_nothing_left_to_train_on_is_an_error_and_writes_nothing(workshop: Workshop) -> None:
    with pytest.raises(DataError, match="no row is left") as failure:
        workshop.train("run", data={"max_length": 3})
    assert failure.value.exit_status == 3
    assert not (workshop.folder / "run").exists()


def test_the_hash_of_the_tokens_tells_renderings_apart_and_nothing_else(workshop: Workshop) -> None:
    def hashes(**data: Any) -> dict[str, str]:
        return prepare(workshop.recipe("run", data=data).recipe).token_hashes

    assert hashes() == hashes(max_length=200)
    plain = hashes(template="none")
    assert plain["train"] != hashes()["train"] and plain["validation"] != hashes()["validation"]


def test_the_base_of_an_adapter_on_merged_weights_is_saved_whole_or_not_at_all(workshop: Workshop) -> None:
    """A half-written base, left by a kill, is written again."""
    recipe = workshop.recipe("run", adapter={"type": "lora", "r": 2}).recipe
    policy = load_policy(ModelRecipe(name=str(workshop.model)), device=torch.device("cpu"))
    policy.merged = True
    run = workshop.folder / "run"
    (run / ".writing-base").mkdir(parents=True)
    (run / ".writing-base" / "config.json").write_text("{")
    attach_adapter(recipe, policy, run)
    assert [path.name for path in run.iterdir()] == ["base"]
    assert load_policy(ModelRecipe(name=str(run / "base")), device=policy.device).hash
    assert policy.model.peft_config["default"].base_model_name_or_path == str((run / "base").resolve())


def test_a_model_that_cannot_checkpoint_its_activations_is_refused_in_words() -> None:
    class Stubborn:
        def activation_checkpointing_enable(self, settings: dict[str, Any]) -> None:
            raise ValueError("Stubborn does not support activation checkpointing.")

    with pytest.raises(RecipeError, match="gradient_checkpointing: Stubborn does not support"):
        checkpoint_activations(Stubborn())


def test_data_errors_come_before_the_model_is_looked_for(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        workshop.train(
            "run", model={"name": str(tmp_path / "none")}, data={"train": str(tmp_path / "none.jsonl")}
        )


@pytest.mark.parametrize("lean", [True, False])
def test_layers_keep_less_unless_the_recipe_says_otherwise(
    lean: bool, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a model that a run taken up again has loaded anew."""
    found: list[int] = []

    def spy(model: Any) -> int:
        found.append(make_lean(model))
        return found[-1]

    monkeypatch.setattr(loop, "make_lean", spy)
    with pytest.raises(Interrupted):
        workshop.train("run", at("step", 1), train={"lean_layers": lean, "max_steps": 2})
    resume(workshop.folder / "run")
    assert found == ([7, 7] if lean else [])
