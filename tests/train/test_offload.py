"""Optimizer states in the CPU's memory: the same trajectory, bit for bit where the GPU is a CPU too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from simpo.errors import Interrupted
from simpo.recipe import TrainRecipe
from simpo.train.optimizer import make_optimizer
from simpo.train.rounding import MasterAdamW
from simpo.train.run import resume
from tests.equivalence.test_resume import assert_same_run, at
from tests.train.made_up import Trained, Workshop

OFFLOAD = {"offload_optimizer": True}


@pytest.mark.parametrize(
    "sections",
    [{}, {"adapter": {"type": "lora", "r": 4, "dropout": 0.2}}, {"model": {"dtype": "bfloat16"}}],
    ids=["full", "lora", "bfloat16"],
)
def test_a_run_with_its_states_offloaded_is_the_run_without(
    sections: dict[str, Any], workshop: Workshop
) -> None:
    """Two micro-batches a step, so that gradients are summed where they are moved to."""
    train = {"micro_batch_size": 4}
    here = workshop.train("here", **sections, train=train)
    there = workshop.train("there", **sections, train={**train, **OFFLOAD})
    assert_same_run(here, there)


def test_an_offloaded_run_interrupted_and_resumed_is_the_run_without_interruption(workshop: Workshop) -> None:
    straight = workshop.train("straight", train=OFFLOAD)
    with pytest.raises(Interrupted):
        workshop.train("torn", at("step", 3), train=OFFLOAD)
    resume(workshop.folder / "torn")
    assert_same_run(straight, Trained(workshop.folder / "torn"))


def test_masters_and_moments_lie_on_the_cpu_wherever_the_weights_are() -> None:
    model = torch.nn.Linear(4, 3)
    optimizer = make_optimizer(model, TrainRecipe(lr=0.1, offload_optimizer=True))
    assert isinstance(optimizer, MasterAdamW) and len(optimizer.masters) == 2
    for weight, master in zip(model.parameters(), optimizer.masters, strict=True):
        assert master.data_ptr() != weight.data_ptr() and torch.equal(master, weight)
    model(torch.ones(2, 4)).sum().backward()
    assert all(weight.grad is None for weight in model.parameters()), (
        "gradients are not kept beside the weights"
    )
    optimizer.step()
    states = [tensor for state in optimizer.state.values() for tensor in state.values()]
    assert states and all(tensor.device.type == "cpu" for tensor in states)
    for weight, master in zip(model.parameters(), optimizer.masters, strict=True):
        assert torch.equal(master, weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamw_8bit"}, "offload_optimizer holds float32 states"),
        ({"rounding": "stochastic"}, "rounding stochastic has no effect"),
    ],
)
def test_settings_that_contradict_it_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainRecipe(offload_optimizer=True, **settings)
