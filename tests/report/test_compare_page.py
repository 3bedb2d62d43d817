"""The page of a comparison: the verdict first, figures with intervals, safe, and whole where parts are missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import DataError
from simpo.report.compare.page import write_compare_page
from tests.report.page import HOSTILE, Page
from tests.report.synthetic_compare import comparison

SECTIONS = ["figures", "accuracy", "replies", "regression", "cost", "samples", "runs"]


def page_of(content: Mapping[str, Any], folder: Path) -> Page:
    write_compare_page(json.loads(json.dumps(content)), folder / "compare.html")
    return Page(folder / "compare.html")


def words_of(page: Page) -> str:
    return page.words.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return comparison()


@pytest.fixture(scope="module")
def page(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(content, tmp_path_factory.mktemp("page"))


def test_the_verdict_stands_first_with_what_speaks_for_and_against_it(page: Page) -> None:
    top = words_of(page).split("Side by side")[0]
    assert top.count("Cut over to SimPO, with one eye on arithmetic") == 1
    assert "It is right 6 points more often." in top
    assert "It wins 58 % against DPO at equal length." in top
    assert "It lost 10 points on gsm8k." in top
    assert "12 held-out prompts are also training prompts." in top
    assert "runs/dpo-seed2: the run collapsed at step 40" in top


def test_every_section_and_chart_is_there(page: Page) -> None:
    assert page.sections == SECTIONS
    assert page.count("svg") == 1 + 4 + 1 + 2 + 2
    assert page.count("article") == 6


def test_each_models_figures_stand_side_by_side_with_their_intervals(page: Page) -> None:
    table = words_of(page).split("Side by side")[1].split("Held-out pairs")[0]
    assert "SimPO DPO start" in table
    assert "74.0 % 71.0 to 77.0 % 68.0 % 65.0 to 71.0 % \N{EN DASH}" in table
    assert "210 105 to 420 340 170 to 680 330 165 to 660" in table
    assert "Win rate at equal length" in table and "66.0 % 60.0 to 72.0 %" in table
    assert "Drift (KL)" in table and "0.120 0.110 to 0.130" in table


def test_two_by_two_the_pairs_that_one_alone_gets_right_and_how_many_it_would_take(page: Page) -> None:
    table = words_of(page).split("Two by two")[1]
    assert "SimPO less DPO +6.0 +3.0 to +9.0 +6.0 +3.0 to +9.0 71 : 35 < 0.001 410" in table
    assert "SimPO less start \N{EN DASH} +19.0" in table


def test_a_clear_loss_in_another_skill_is_marked(page: Page) -> None:
    assert page.source.count('class="figure loss"') == 1
    assert "\N{MINUS SIGN}10.0" in page.words


def test_a_method_with_a_reference_has_its_prices(page: Page) -> None:
    costs = words_of(page).split("What it costs to train")[1]
    assert "reference scored ahead, trial" in costs and "live reference, trial" in costs
    assert "4.4 GB 269.0 M 134.5 M" in costs


def test_prices_beside_each_other_are_of_trials_that_followed_on_each_other(
    page: Page, content: dict[str, Any], tmp_path: Path
) -> None:
    table = words_of(page).split("Side by side")[1]
    assert "short trials, one after the other 0.900 0.950" in table
    runs = [row for row in content["cost"] if row["from"] == "run"]
    table = words_of(page_of({**content, "cost": runs}, tmp_path)).split("Side by side")[1]
    assert "the whole run 5.000 0.800" in table


def test_the_page_is_one_safe_file(page: Page, content: dict[str, Any], tmp_path: Path) -> None:
    page.require_self_contained()
    samples = [
        {
            **each,
            "prompt": [{"role": HOSTILE, "content": HOSTILE}],
            "chosen": HOSTILE,
            "category": HOSTILE,
            "replies": {name: {**reply, "text": HOSTILE} for name, reply in each["replies"].items()},
        }
        for each in content["generation"]["samples"]
    ]
    hostile = {
        **content,
        "warnings": [HOSTILE],
        "methods": [{**method, "label": HOSTILE} for method in content["methods"]],
        "generation": {**content["generation"], "samples": samples},
        "verdict": {**content["verdict"], "headline": HOSTILE, "for": [HOSTILE]},
    }
    spoilt = page_of(hostile, tmp_path)
    spoilt.require_self_contained()
    assert spoilt.text.count("<script>alert(1)</script>") > 20


def test_the_same_comparison_gives_the_same_bytes(content: dict[str, Any], tmp_path: Path) -> None:
    assert page_of(content, tmp_path).source == page_of(content, tmp_path).source


@pytest.mark.parametrize(
    ("part", "sections"),
    [
        ("preference", ["figures", "replies", "regression", "cost", "samples", "runs"]),
        ("generation", ["figures", "accuracy", "regression", "cost", "runs"]),
        ("drift", SECTIONS),
        ("regression", ["figures", "accuracy", "replies", "cost", "samples", "runs"]),
    ],
)
def test_a_part_that_was_not_measured_is_left_out(
    part: str, sections: list[str], content: dict[str, Any], tmp_path: Path
) -> None:
    assert page_of({**content, part: None}, tmp_path).sections == sections


def test_a_comparison_of_which_nothing_was_measured_still_names_its_runs(
    content: dict[str, Any], tmp_path: Path
) -> None:
    nothing: dict[str, Any] = {
        "preference": None,
        "generation": None,
        "drift": None,
        "regression": None,
        "cost": [],
    }
    page = page_of({**content, **nothing}, tmp_path)
    assert page.sections == ["runs"]
    assert "SimPO, seed 2" in page.words


def test_a_failed_run_says_why_in_its_line(content: dict[str, Any], tmp_path: Path) -> None:
    nothing: dict[str, Any] = {
        "accuracy": None,
        "common": None,
        "median_chars": None,
        "stopped": None,
        "best_step": None,
    }
    run = {**content["methods"][1]["runs"][2], **nothing, "status": "failed", "error": "collapsed at step 40"}
    methods = [content["methods"][0], {**content["methods"][1], "runs": [run]}]
    assert "failed: collapsed at step 40" in page_of({**content, "methods": methods}, tmp_path).words


def test_five_methods_and_two_of_one_name_are_told_apart(content: dict[str, Any], tmp_path: Path) -> None:
    extra = [{**content["methods"][1], "id": f"dpo-{number}"} for number in (2, 3, 4)]
    words = page_of({**content, "methods": [*content["methods"], *extra]}, tmp_path).words
    assert "SimPO DPO (dpo) DPO (dpo-2) DPO (dpo-3) DPO (dpo-4) start" in words


def test_a_missing_verdict_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    broken = {key: value for key, value in content.items() if key != "verdict"}
    with pytest.raises(DataError, match=r"compare\.json: verdict: Field required"):
        page_of(broken, tmp_path)


def test_a_paragraph_that_says_what_the_lists_say_is_not_shown_twice(tmp_path: Path) -> None:
    content = comparison()
    content["verdict"] |= {"for": ["It wins 70 %."], "against": ["Only 1 seed."]}
    content["verdict"]["paragraph"] = (
        f"{content['verdict']['headline']}. It wins 70 %. Against it: Only 1 seed."
    )
    write_compare_page(content, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("Only 1 seed.") == 1 and "Against it:" not in page
