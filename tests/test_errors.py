"""Errors that a user can mend: what they say, and the status that the command line ends with."""

from __future__ import annotations

import pickle

import pytest

from simpo.errors import CheckFailed, DataError, Interrupted, RecipeError, RunFailed, SimpoError

STATUSES = {RecipeError: 2, DataError: 3, CheckFailed: 4, RunFailed: 5, Interrupted: 130}


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = DataError('"rejected" is empty', where="train.jsonl:812", fix="remove the row")
    assert str(error) == 'train.jsonl:812: "rejected" is empty\n  fix: remove the row'
    assert (error.message, error.where, error.fix) == (
        '"rejected" is empty',
        "train.jsonl:812",
        "remove the row",
    )


@pytest.mark.parametrize(
    ("where", "fix", "expected"),
    [
        (None, None, "it broke"),
        ("a.yaml", None, "a.yaml: it broke"),
        (None, "mend it", "it broke\n  fix: mend it"),
    ],
)
def test_what_is_not_known_is_left_out(where: str | None, fix: str | None, expected: str) -> None:
    assert str(RunFailed("it broke", where=where, fix=fix)) == expected


@pytest.mark.parametrize("kind", STATUSES)
def test_each_kind_has_its_own_exit_status_and_is_caught_as_one_of_ours(kind: type[SimpoError]) -> None:
    assert kind.exit_status == STATUSES[kind]
    with pytest.raises(SimpoError):
        raise kind("it broke")


def test_no_two_kinds_share_a_status_and_every_kind_is_listed_here() -> None:
    ours = {kind for kind in SimpoError.__subclasses__() if kind.__module__ == SimpoError.__module__}
    assert ours == set(STATUSES)
    assert len(set(STATUSES.values())) == len(STATUSES)
    assert SimpoError.exit_status == 1


def test_an_error_crosses_a_process_boundary_whole() -> None:
    error = pickle.loads(pickle.dumps(RunFailed("it broke", where="step 3", fix="mend it")))
    assert (str(error), error.where, error.fix) == ("step 3: it broke\n  fix: mend it", "step 3", "mend it")
