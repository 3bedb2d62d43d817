"""What becomes of a run on several ranks when one of them has an error, a signal, or other files."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.train.made_up import Trained, Workshop
from tests.train.team import Team


def recipe_file(workshop: Workshop, name: str, **sections: object) -> str:
    path = workshop.folder / f"{name}.yaml"
    path.write_text(workshop.recipe(name, **sections).to_yaml(), encoding="utf-8")  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_rank_that_dies_ends_the_others_with_one_clear_line(
    strategy: str, workshop: Workshop, team: Team
) -> None:
    recipe = recipe_file(workshop, "run", parallel={"strategy": strategy})
    statuses = team.statuses(3, "train_and_signal", recipe=recipe, rank=1, step=3, number=signal.SIGKILL)
    assert statuses == [5, -signal.SIGKILL, 5]
    for rank in (0, 2):
        assert f"rank {rank} lost another rank" in team.said(rank) and "--resume" in team.said(rank)
    run = Trained(workshop.folder / "run")
    assert run.events("failed") and run.folder.lineage()["status"] == "failed"
    team.run(2, "resume_each", runs=[str(run.path)])
    assert run.folder.lineage()["status"] == "done"


def test_a_step_that_is_not_finite_is_refused_on_all_ranks_with_the_same_words(
    workshop: Workshop, team: Team
) -> None:
    recipe = recipe_file(workshop, "run", train={"lr": 1e30, "warmup": 0.0})
    assert team.statuses(2, "train_each", recipes=[recipe]) == [5, 5]
    assert team.said(0) == team.said(1) and "not finite" in team.said(0)
    assert len(Trained(workshop.folder / "run").events("failed")) == 1


def test_what_the_main_rank_refuses_is_refused_by_all_and_nothing_is_written(
    workshop: Workshop, team: Team
) -> None:
    recipe = recipe_file(workshop, "run")
    taken = workshop.folder / "run" / "something"
    taken.parent.mkdir()
    taken.touch()
    assert team.statuses(2, "train_each", recipes=[recipe]) == [2, 2]
    assert team.said(0) == team.said(1) and "exists already" in team.said(0)
    assert list(taken.parent.iterdir()) == [taken]


def test_ranks_with_other_rows_are_refused_before_anything_is_written(workshop: Workshop, team: Team) -> None:
    recipe = recipe_file(workshop, "run")
    assert team.statuses(2, "train_with_own_rows", recipe=recipe) == [2, 2]
    assert "rank 1 has other data" in team.said(0)
    assert not Path(workshop.folder / "run").exists()
