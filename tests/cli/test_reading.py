"""Options of commands that read data: what `--map` says, and what it may not say."""

from __future__ import annotations

import pytest

from simpo.cli.reading import columns_of
from simpo.errors import RecipeError


def test_a_map_gives_the_format_s_names_and_the_user_s() -> None:
    assert columns_of(None) is None and columns_of([]) is None
    assert columns_of(["prompt=question", " chosen = best = one "]) == {
        "prompt": "question",
        "chosen": "best = one",
    }


@pytest.mark.parametrize("given", ["prompt", "=question", "prompt=", " = "])
def test_a_map_that_names_no_two_columns_is_refused(given: str) -> None:
    with pytest.raises(RecipeError, match="is not NAME=COLUMN"):
        columns_of([given])


def test_a_column_that_is_mapped_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="--map names 'prompt' twice"):
        columns_of(["prompt=a", "prompt=b"])
