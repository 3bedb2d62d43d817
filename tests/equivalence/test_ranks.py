"""{one, two, four ranks} x {copies, shards} x {full, adapter}: one trajectory, up to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.equivalence.test_training import LORA, PAIR_FIGURES, assert_same_curves, assert_same_weights
from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop
from tests.train.team import Team

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "sft": {"method": {"name": "sft"}},
    # What has most to share out: a reference behind the adapter, tokens instead of pairs, batches with fewer pairs than
    # ranks (the last of an epoch has two of three).
    "dpo": {**LORA, "method": {"name": "dpo", "reference": "adapter_off"}},
    "few": {"train": {"batch_size": 3, "micro_batch_size": None, "tokens_per_microbatch": 200, "epochs": 1}},
}


def recipe_file(workshop: Workshop, name: str, sections: dict[str, Any]) -> str:
    """A recipe of the workshop as a file."""
    path = workshop.folder / f"{name}.yaml"
    path.write_text(workshop.recipe(name, **sections).to_yaml(), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> dict[str, Trained]:
    """Every case trained by one process."""
    workshop = Workshop(tmp_path_factory.mktemp("alone"), tiny_model_dir)
    return {name: workshop.train(name, **sections) for name, sections in CASES.items()}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_several_ranks_train_what_one_trains(
    strategy: str, size: int, alone: dict[str, Trained], workshop: Workshop, team: Team
) -> None:
    recipes = [
        recipe_file(workshop, name, {**sections, "parallel": {"strategy": strategy}})
        for name, sections in CASES.items()
    ]
    team.run(size, "train_each", recipes=recipes)
    for name, one in alone.items():
        several = Trained(workshop.folder / name)
        check_run(several.path)
        assert several.events("ranks")[0]["size"] == size
        assert several.events("ranks")[0]["strategy"] == strategy
        figures = PAIR_FIGURES if name != "sft" else ("loss", "grad_norm")
        assert_same_curves(one, several, figures)
        assert_same_weights(one, several)
        assert [event["step"] for event in several.events("step")] == [
            event["step"] for event in one.events("step")
        ]
