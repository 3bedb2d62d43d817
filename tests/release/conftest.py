"""Finished runs to export: full, LoRA, LoRA on a LoRA parent, and SFT. Trained once; tests export them elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.fixtures import no_waiting_for_disks, own_cache
from tests.train.made_up import Workshop

__all__ = ["no_waiting_for_disks", "own_cache"]

SHORT = {"max_steps": 3, "evaluate_every": None, "lr": 1e-2}
LORA = {"type": "lora", "r": 4, "alpha": 8}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Workshop:
    """A folder where runs are trained for all tests of a session."""
    return Workshop(tmp_path_factory.mktemp("release"), tiny_model_dir)


@pytest.fixture(scope="session")
def full_run(shop: Workshop) -> Path:
    """Every weight trained."""
    return shop.train("full", train=SHORT).path


@pytest.fixture(scope="session")
def lora_run(shop: Workshop) -> Path:
    """An adapter on the tiny model."""
    return shop.train("lora", train=SHORT, adapter=LORA).path


@pytest.fixture(scope="session")
def stacked_run(shop: Workshop, lora_run: Path) -> Path:
    """An adapter on the merged weights of the adapter run."""
    return shop.train("stacked", train=SHORT, adapter=LORA, model={"name": str(lora_run)}).path


@pytest.fixture(scope="session")
def sft_run(shop: Workshop) -> Path:
    """Every weight trained on examples."""
    return shop.train("sft", train=SHORT, method={"name": "sft"}).path
