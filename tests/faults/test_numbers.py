"""Numbers that are not finite, in weights, a batch or a gradient: the step is refused and what was good is kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simpo.errors import RunFailed
from simpo.recipe import load_recipe
from simpo.runs.checkpoint import best_model_folder, verify
from simpo.train.run import resume
from tests.faults.common import files_of, interrupted
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop, pair_rows, write_rows


def broken_model(workshop: Workshop) -> Path:
    """The tiny model with one weight that is not a number."""
    folder = workshop.folder / "broken-model"
    shutil.copytree(workshop.model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


UNWATCHED: dict[str, Any] = {
    "data": {"validation": None, "validation_fraction": 0},
    "train": {"evaluate_every": None},
}


def test_a_model_with_a_weight_that_is_not_a_number_fails_before_its_first_step(workshop: Workshop) -> None:
    model = {"name": str(broken_model(workshop))}
    for name, sections, message, events in (
        (
            "watched",
            {},
            "the validation loss is not finite after step 0",
            ["start", "scorer", "ready", "evaluate", "failed"],
        ),
        (
            "unwatched",
            UNWATCHED,
            r"the loss is not finite \(8 of the step's 8 rows",
            ["start", "scorer", "ready", "guard", "failed"],
        ),
    ):
        with pytest.raises(RunFailed, match=message) as failure:
            workshop.train(name, model=model, **sections)
        assert failure.value.exit_status == 5
        run = Trained(workshop.folder / name)
        assert run.folder.lineage()["status"] == "failed" and run.checkpoints() == []
        assert [event["event"] for event in run.events()] == events
        check_run(run.path)


@pytest.mark.parametrize("sections", [{}, UNWATCHED], ids=["watched", "unwatched"])
@pytest.mark.parametrize("lr", [1e30, 3e38])
def test_an_absurd_learning_rate_fails_the_run_and_keeps_what_was_good(
    lr: float, sections: dict[str, Any], workshop: Workshop
) -> None:
    """A step at a sane rate with its checkpoint, then the recipe in the folder is changed for the worse."""
    settings = {**sections.get("train", {}), "save_every": 1, "schedule": "constant"}
    run = interrupted(workshop, "run", 1, **{**sections, "train": settings})
    good = files_of(run.folder.checkpoints / "step-000001" / "model")
    text = run.folder.recipe_path.read_text(encoding="utf-8")
    run.folder.recipe_path.write_text(text.replace("lr: 0.001", f"lr: {lr:.1e}"), encoding="utf-8")
    assert load_recipe(run.folder.recipe_path).recipe.train.lr == lr
    with pytest.raises(RunFailed, match=r"collapsing|not finite|the weights are as large as") as failure:
        resume(run.path)
    assert failure.value.exit_status == 5 and "lower train.lr" in str(failure.value.fix)
    assert run.folder.lineage()["status"] == "failed"
    assert run.events("failed")[0]["message"] == str(failure.value)
    for path in run.folder.checkpoints.glob("step-*"):
        verify(path)
        (weights,) = path.glob("model/*.safetensors")
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(weights).values())
    assert files_of(run.folder.checkpoints / "step-000001" / "model") == good
    assert best_model_folder(run.path).parent.name == "step-000001"
    check_run(run.path)


def untied_model(workshop: Workshop, character: str) -> Path:
    """The tiny model with an output head of its own, and one character whose embedding is no number."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = workshop.folder / "untied-model"
    shutil.copytree(workshop.model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    (number,) = tokenizer.encode(character, add_special_tokens=False)
    with torch.no_grad():
        model.model.embed_tokens.weight[number] = torch.nan
    model.save_pretrained(folder)
    return folder


def test_a_batch_that_turns_into_nan_names_its_row_and_keeps_what_was_trained_before(
    workshop: Workshop,
) -> None:
    """One row of twenty holds a character whose embedding is NaN; the steps before it are saved and whole."""
    rows = pair_rows(20)
    rows[7]["prompt"] += " ~"
    data = {"train": write_rows(workshop.folder / "one-bad-row.jsonl", rows)}
    lora = {"type": "lora", "r": 4}
    model = {"name": str(untied_model(workshop, "~"))}
    train = {"save_every": 1, "scorer": "plain"}
    with pytest.raises(RunFailed, match=r"the loss is not finite \(row [0-9a-f]{16}\)") as failure:
        workshop.train("run", data=data, model=model, train=train, adapter=lora)
    assert failure.value.where is not None and failure.value.where.endswith("one-bad-row.jsonl:8")
    assert failure.value.exit_status == 5
    run = Trained(workshop.folder / "run")
    taken = len(run.curve("loss"))
    assert taken < 3 and run.folder.lineage()["status"] == "failed"
    for path in run.folder.checkpoints.glob("step-*"):
        verify(path)
    assert (taken == 0) == (not list(run.folder.checkpoints.glob("step-*")))
    check_run(run.path)


def test_a_gradient_that_overflows_is_refused_although_its_loss_is_finite(workshop: Workshop) -> None:
    """A reward scaled by 1e37 gives losses of about as much, and a gradient whose norm passes float32's 3.4e38."""
    method = {"name": "simpo", "beta": 1e37, "gamma": 0.0}
    with pytest.raises(
        RunFailed, match=r"the gradient is not finite \(norm inf\); the step was refused"
    ) as failure:
        workshop.train("run", method=method, train={"warmup": 0.0}, guard={"prompts": 0})
    assert failure.value.exit_status == 5
    run = Trained(workshop.folder / "run")
    assert run.folder.lineage()["status"] == "failed" and run.curve("loss") == []
    check_run(run.path)
