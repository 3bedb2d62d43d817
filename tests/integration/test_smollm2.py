"""SmolLM2-135M-Instruct, trained for two steps on four short pairs: with an adapter, and whole under bfloat16."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from simpo.core.logps import SequenceLogps
from simpo.core.losses import simpo_loss
from simpo.data.read import read_rows
from simpo.data.render import Renderer, render_rows
from simpo.model.load import load_policy
from simpo.model.score import score_all
from simpo.recipe import ModelRecipe, resolve_recipe
from simpo.train.run import train
from tests.runs.schema import check_run
from tests.train.made_up import Trained, write_rows

pytestmark = pytest.mark.model

PAIRS = [
    {
        "prompt": "I was charged twice. Can you help?",
        "chosen": "Yes. I have refunded the second charge.",
        "rejected": "Please note that charges may appear on statements for many reasons.",
    },
    {
        "prompt": "My parcel is late.",
        "chosen": "I have asked the carrier and will write to you tomorrow.",
        "rejected": "Parcels are sometimes late.",
    },
    {
        "prompt": "How do I cancel?",
        "chosen": "Open Settings, then Plan, then Cancel.",
        "rejected": "We are sad to see you go! There are many reasons to stay with us today.",
    },
    {
        "prompt": "Is my data safe?",
        "chosen": "It is encrypted, and only you can read it.",
        "rejected": "Safety is important to everyone.",
    },
]


def trained(model: Path, folder: Path, **sections: dict[str, Any]) -> Trained:
    """Two steps of the four pairs."""
    plan = {"batch_size": 4, "micro_batch_size": 4, "epochs": 2, "warmup": 0.0, "schedule": "constant"}
    values = {
        "output": str(folder / "run"),
        "model": {"name": str(model)},
        "data": {"train": write_rows(folder / "pairs.jsonl", PAIRS), "validation_fraction": 0},
        "adapter": sections.get("adapter", {}),
        "train": {**plan, "device": "cpu", **sections["train"]},
    }
    return Trained(train(resolve_recipe(values)).path)


def plainly_scored(model: Path, folder: Path) -> SequenceLogps:
    """By the plain scorer in float32, pair by pair, from whatever folder holds the model."""
    policy = load_policy(ModelRecipe(name=str(model)), device=torch.device("cpu"))
    rows = read_rows(str(folder / "pairs.jsonl"), kind="pairs").rows
    renderer = Renderer(policy.tokenizer, stop_ids=policy.stop_ids)
    return score_all(policy.model, render_rows(rows, renderer).groups, batch_size=1)


@pytest.mark.parametrize(
    ("sections", "loss_error"),
    [
        ({"adapter": {"type": "lora", "r": 8}, "train": {"lr": 1e-3}}, 1e-4),
        ({"train": {"lr": 1e-5, "precision": "bf16"}}, 3e-2),
    ],
    ids=["lora", "full-bf16"],
)
def test_two_steps_begin_at_the_objective_of_the_plain_scorer_and_learn_the_pairs(
    sections: dict[str, Any], loss_error: float, smollm2: Path, tmp_path: Path
) -> None:
    run = trained(smollm2, tmp_path, **sections)
    check_run(run.path)
    before, after = plainly_scored(smollm2, tmp_path), plainly_scored(run.path, tmp_path)
    losses = simpo_loss(before.mean[0::2], before.mean[1::2], beta=2.0, gamma=0.5, label_smoothing=0.0)
    loss, margin, accuracy = run.curve("loss"), run.curve("margin"), run.curve("accuracy")
    assert loss[0] == pytest.approx(float(losses.mean()), rel=loss_error)
    assert all(math.isfinite(norm) and norm > 0 for norm in run.curve("grad_norm"))
    assert loss[0] > loss[1]
    assert margin[0] < margin[1] and accuracy[0] <= accuracy[1]
    # And the checkpoint, loaded anew as a person would load it, knows what the second step added.
    margins = [2.0 * float((logps.mean[0::2] - logps.mean[1::2]).mean()) for logps in (before, after)]
    assert margins[0] == pytest.approx(margin[0], abs=0.05)
    assert margins[1] > margin[1]
