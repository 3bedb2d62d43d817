"""Fixtures of every folder whose tests train."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.driver import Driver
from tests.train.made_up import Workshop
from tests.train.team import Team


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process wrote is there for the next; only a power cut could tell, and no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """References scored ahead go to a folder of this test's own."""
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def workshop(tmp_path: Path, tiny_model_dir: Path) -> Workshop:
    """A folder to train in, and the tiny model to train."""
    return Workshop(tmp_path, tiny_model_dir)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Trainings in processes that may be killed."""
    started = Driver(tmp_path_factory.mktemp("driver"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Several ranks that train together."""
    started = Team(tmp_path_factory.mktemp("team"))
    yield started
    started.close()
