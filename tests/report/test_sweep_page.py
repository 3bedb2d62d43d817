"""The page of a sweep: what won and why, every trial, safe, and whole while the sweep still runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import DataError
from simpo.report.sweep.page import write_sweep_page
from tests.report.page import HOSTILE, Page
from tests.report.synthetic_sweep import sweep


def page_of(content: Mapping[str, Any], folder: Path) -> Page:
    write_sweep_page(json.loads(json.dumps(content)), folder / "sweep.html")
    return Page(folder / "sweep.html")


def words_of(page: Page) -> str:
    return page.words.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def grid() -> dict[str, Any]:
    return sweep("grid")


@pytest.fixture(scope="module")
def page(grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(grid, tmp_path_factory.mktemp("page"))


def test_the_chosen_setting_and_the_runner_up_stand_in_words(page: Page, grid: dict[str, Any]) -> None:
    top = words_of(page).split("Go on from here")[0]
    chosen = next(each for each in grid["trials"] if each["name"] == grid["chosen"]["name"])
    settings = chosen["settings"]
    assert f"gamma {settings['method.gamma']:g}, beta {settings['method.beta']:g}" in top
    assert f"reaches {100 * chosen['accuracy']['value']:.1f} % (" in top
    assert "from 61.0 % before training" in top
    assert grid["chosen"]["why"] in top and grid["runner_up"]["why"] in top
    assert "0.4 points (\N{MINUS SIGN}1.2 to 2.1) behind, which does not tell the two apart" in top
    assert grid["chosen"]["test_note"] in top and grid["notes"][0] in top
    assert grid["commands"][0]["command"] in page.text


def test_a_grid_is_a_map_with_a_square_for_every_setting(page: Page, grid: dict[str, Any]) -> None:
    classes = [attributes.get("class") or "" for tag, attributes in page.tags if tag == "td"]
    squares = [name for name in classes if name.startswith("cell")]
    assert len(squares) == len(grid["trials"]) == 36
    assert squares.count("cell chosen") == squares.count("cell runner_up") == 1
    assert page.sections == ["next", "map", "axes", "curves", "price", "trials", "data"]
    assert page.count("svg") == 3 + 3 + 2 + 1


def test_every_trial_stands_in_the_table_with_why_it_ended(page: Page, grid: dict[str, Any]) -> None:
    table = words_of(page).split("Every trial")[1]
    for trial in grid["trials"]:
        assert f"{100 * trial['accuracy']['value']:.1f} %" in table
    assert table.count("80% of the replies repeat themselves") == sum(
        trial["status"] == "collapsed" for trial in grid["trials"]
    )


def test_a_staged_sweep_tells_its_stages_and_leaves_untried_squares_empty(tmp_path: Path) -> None:
    page = page_of(sweep("staged"), tmp_path)
    assert "stages" in page.sections
    assert page.source.count('class="cell empty"') == 4 * 3 - (4 + 3 - 1)


def test_settings_drawn_at_random_are_dots_and_no_squares(tmp_path: Path) -> None:
    page = page_of(sweep("tpe"), tmp_path)
    assert "map" not in page.sections and page.count("svg") == 4 + 3 + 2 + 1
    assert "Ringed: the chosen" in page.text


def test_a_running_sweep_is_a_page_that_says_so(tmp_path: Path) -> None:
    content = sweep("grid", status="running")
    waiting: dict[str, Any] = {
        "accuracy": None,
        "curve": [],
        "drift": None,
        "gap": None,
        "train_accuracy": None,
    }
    trials = [{**each, **waiting, "status": "waiting"} for each in content["trials"][1:]]
    page = page_of(
        {**content, "trials": [content["trials"][0], *trials], "chosen": None, "runner_up": None}, tmp_path
    )
    assert "No setting has been chosen yet" in page.words
    assert "This sweep is running: 1 of 36 trials have ended." in page.words


def test_a_sweep_whose_first_trial_has_not_ended_is_a_page(tmp_path: Path) -> None:
    content = {
        "status": "running",
        "recipe": "my.yaml",
        "axes": [{"key": "train.lr", "values": [1e-6, 1e-5]}],
    }
    page = page_of(content, tmp_path)
    assert page.sections == ["data"]


def test_an_interrupted_sweep_says_how_to_go_on(tmp_path: Path) -> None:
    assert "The same command goes on with it." in page_of(sweep("staged", "interrupted"), tmp_path).words


def test_a_stage_that_is_not_over_has_no_choice_yet(tmp_path: Path) -> None:
    """As a sweep that was stopped in its first stage writes it."""
    content = sweep("staged", "interrupted")
    content["stages"] = [{**content["stages"][0], "chosen": None, "why": None}]
    content["chosen"] = content["runner_up"] = None
    assert "not decided yet" in page_of(content, tmp_path).words.lower()


def test_one_axis_of_words_has_no_chart_and_stands_in_the_table(tmp_path: Path) -> None:
    content = sweep("staged")
    names = ("simpo", "dpo_norm")
    trials = [
        {**each, "settings": {"method.name": name}}
        for each, name in zip(content["trials"], names, strict=False)
    ]
    axes = [{"key": "method.name", "values": list(names)}]
    page = page_of({**content, "trials": trials, "axes": axes, "stages": []}, tmp_path)
    assert "axes" not in page.sections and "map" not in page.sections
    assert "name simpo" in page.words and "name dpo_norm" in page.words


def test_the_page_is_one_safe_file(page: Page, grid: dict[str, Any], tmp_path: Path) -> None:
    page.require_self_contained()
    hostile = {
        **grid,
        "recipe": HOSTILE,
        "notes": [HOSTILE],
        "commands": [{"what": HOSTILE, "command": HOSTILE}],
        "trials": [{**each, "message": HOSTILE, "settings": {HOSTILE: 1.0}} for each in grid["trials"]],
        "axes": [{**axis, "key": HOSTILE} for axis in grid["axes"]],
        "recipe_values": {HOSTILE: HOSTILE},
    }
    spoilt = page_of(hostile, tmp_path)
    spoilt.require_self_contained()
    assert spoilt.text.count("<script>alert(1)</script>") > 10


def test_the_same_sweep_gives_the_same_bytes(grid: dict[str, Any], tmp_path: Path) -> None:
    assert page_of(grid, tmp_path).source == page_of(grid, tmp_path).source


def test_a_figure_of_another_type_is_named(grid: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sweep\.json: trials\.0\.status: Input should be"):
        page_of({**grid, "trials": [{**grid["trials"][0], "status": "odd"}]}, tmp_path)
