"""The report: one safe file, whole where the run is whole, and honest where it is not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from simpo.errors import DataError, RecipeError
from simpo.report.build import build_report
from simpo.runs.folder import write_json, write_json_lines
from tests.report.page import HOSTILE, Page
from tests.report.synthetic_run import (
    edit_json,
    evaluation,
    guard_event,
    pair_scores,
    reply,
    write_run,
    write_sft_run,
)

SECTIONS = ["figures", "curves", "strata", "lengths", "replies", "tokens", "data", "method", "lineage"]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole preference run; tests that change it copy it."""
    return write_run(tmp_path_factory.mktemp("runs") / "harbor-simpo")


@pytest.fixture(scope="module")
def page(full: Path) -> Page:
    """The report of the whole run."""
    return page_of(full)


@pytest.fixture
def run(full: Path, tmp_path: Path) -> Path:
    """A copy of the whole run, to be changed."""
    return Path(shutil.copytree(full, tmp_path / "harbor-simpo"))


def page_of(run: Path) -> Page:
    return Page(build_report(run))


def edit_events(run: Path, change: Any) -> None:
    path = run / "events.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    write_json_lines(path, change(events))


def test_the_report_of_a_whole_run_has_every_section(full: Path) -> None:
    path = build_report(full)
    page = Page(path)
    assert path == full / "report.html"
    assert page.sections == SECTIONS
    assert page.count("article") >= 6 + 3
    assert page.count("svg") == 8 + 3 + 1


def test_the_report_is_one_file_that_fetches_nothing(page: Page) -> None:
    page.require_self_contained()
    assert not re.search(r"https?:|//\w", page.source)


def test_the_same_folder_gives_the_same_bytes(run: Path) -> None:
    first = build_report(run).read_bytes()
    assert build_report(run).read_bytes() == first


def test_charts_take_their_colours_and_fonts_from_the_page(page: Page) -> None:
    source = page.source
    charts = "".join(re.findall(r"<svg.*?</svg>", source, flags=re.S))
    assert "(prefers-color-scheme: dark)" in source
    assert "var(--before)" in charts and "var(--after)" in charts and "var(--ink)" in charts
    assert not re.search(r"#[0-9a-f]{6}", charts)
    assert "font-family" not in charts and "DejaVu" not in charts
    for name in set(re.findall(r"var\((--[\w-]+)\)", source)):
        assert f"{name}:" in source, name


def test_hostile_text_is_shown_and_never_obeyed(run: Path) -> None:
    hostile = HOSTILE
    pairs = [{**pair, "category": hostile} for pair in pair_scores(1.0, 1)]
    replies = [
        {
            **reply(number, "after"),
            "reply": hostile,
            "prompt": [{"role": "user", "content": f"{number} {hostile}"}],
            "chosen": hostile,
            "parts": {hostile: 0.5},
        }
        for number in range(9)
    ]
    report = evaluation("after", pairs, replies)
    report["generation"]["judge"]["name"] = hostile
    # A lone surrogate is legal JSON only as an escape, so these files are written in ASCII.
    (run / "evaluation" / "after.json").write_text(json.dumps(report))
    lines = "".join(json.dumps(each) + "\n" for each in replies)
    (run / "evaluation" / "after.replies.jsonl").write_text(lines)
    token = {"text": hostile, "special": False, "stop": False, "logp": -1.0}
    rendering = {"pairs": [{"source": hostile, "prompt": [token], "chosen": [token], "rejected": [token]}]}
    (run / "rendering.json").write_text(json.dumps(rendering))
    (run / "export.json").write_text(json.dumps({hostile: hostile}))
    edit_json(run / "run.json", machine={"cpu": "<b>x</b>"}, command=["<script>"])
    page = page_of(run)
    assert page.sections == SECTIONS
    assert not {"script", "img", "b"} & {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "{{7*7}}" in page.text and "$x_{1}$" in page.text
    assert page.count("style") == 1 and page.count("title") == 1


def test_an_sft_run_has_no_pair_sections(tmp_path: Path) -> None:
    page = page_of(write_sft_run(tmp_path / "harbor-sft"))
    assert page.sections == ["curves", "data", "method", "lineage"]
    assert "fine-tuned (SFT)" in page.text
    assert "The loss on the validation rows went from 2.100 to 1.635 (nats per token" in page.words
    assert "accuracy" not in page.text.split("Method and recipe")[0].lower()


def test_an_interrupted_run_says_so_at_the_top(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", ending="interrupted", evaluated=False))
    top = page.words.split("Training curves")[0]
    assert "This run was interrupted at step 40 of 120." in top
    assert "The trained model has not been evaluated" in top
    assert page.sections == ["curves", "tokens", "data", "method", "lineage"]


def test_a_failed_run_gives_its_message_and_escapes_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ending="failed", evaluated=False)
    edit_events(run, lambda events: [*events[:-1], {**events[-1], "message": "loss is <nan> at step 40"}])
    page = page_of(run)
    assert "This run failed at step 40 of 120: loss is <nan> at step 40" in page.words
    assert "&lt;nan&gt;" in page.source


def test_a_run_that_goes_on_says_that_it_has_not_ended(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", ending="none", evaluated=False))
    assert "This run has not ended: it stands at step 40 of 120." in page.words


def test_a_run_that_was_resumed_and_finished_is_not_called_interrupted(run: Path) -> None:
    def resumed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        break_at = len(events) // 2
        step = max(event["step"] for event in events[:break_at])
        pause = [{"event": "interrupted", "step": step}, {"event": "resume", "step": step}]
        return [*events[:break_at], *pause, *events[break_at:]]

    edit_events(run, resumed)
    assert "interrupted" not in page_of(run).text


def test_a_run_before_its_first_step_gives_a_report(run: Path) -> None:
    shutil.rmtree(run / "evaluation")
    (run / "events.jsonl").unlink()
    (run / "rendering.json").unlink()
    edit_json(run / "run.json", status="running")
    page = page_of(run)
    assert "This run has not ended" in page.text
    assert page.sections == ["data", "method", "lineage"]


def test_a_clear_gain_is_called_a_gain(page: Page) -> None:
    assert re.search(
        r"SimPO raised held-out pairwise accuracy from [\d.]+ . to [\d.]+ . \(\+[\d.]+ points",
        page.words,
    )


def test_an_unclear_difference_is_called_not_distinguishable(run: Path) -> None:
    shutil.copy(run / "evaluation" / "before.json", run / "evaluation" / "after.json")
    shutil.copy(run / "evaluation" / "before.pairs.jsonl", run / "evaluation" / "after.pairs.jsonl")
    assert "is not distinguishable from no change with 420 pairs" in page_of(run).words


def test_without_the_pairs_overlapping_intervals_are_not_distinguishable(run: Path) -> None:
    for label, low, value, high in (("before", 0.60, 0.64, 0.68), ("after", 0.66, 0.70, 0.74)):
        (run / "evaluation" / f"{label}.pairs.jsonl").unlink()
        path = run / "evaluation" / f"{label}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["preference"]["accuracy"]["reward"] = {"value": value, "low": low, "high": high}
        write_json(path, content)
    assert "is not distinguishable from no change with 420 pairs" in page_of(run).words


def test_a_loss_of_accuracy_replies_that_run_on_and_repetition_are_called_out(run: Path) -> None:
    folder = run / "evaluation"
    for end in ("json", "pairs.jsonl", "replies.jsonl"):
        before, after = folder / f"before.{end}", folder / f"after.{end}"
        spare = folder / "spare"
        before.rename(spare)
        after.rename(before)
        spare.rename(after)
    content = json.loads((folder / "after.json").read_text(encoding="utf-8"))
    content["generation"]["repeated_4gram"] = 0.3
    write_json(folder / "after.json", content)
    words = page_of(run).words
    assert "SimPO lowered held-out pairwise accuracy" in words
    assert "Fewer replies stop by themselves" in words
    assert "Replies repeat themselves more" in words


def test_a_reward_against_a_reference_is_not_compared_with_before_training(tmp_path: Path) -> None:
    words = page_of(write_run(tmp_path / "run", method="dpo")).words
    assert "the model it began as has 50 % by construction" in words
    assert "its accuracy before training says nothing" in words
    assert "DPO raised" not in words


def test_an_early_stop_and_the_step_that_was_kept_are_told(run: Path) -> None:
    def stopped_early(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*events[:-1], {**events[-1], "reason": "early_stop", "best_step": 80}]

    edit_events(run, stopped_early)
    words = page_of(run).words
    assert "Training stopped early: the validation loss no longer fell." in words
    assert "The model kept is that of step 80, where the validation loss was lowest." in words


def test_warnings_and_notes_of_the_run_are_read_before_the_figures(run: Path) -> None:
    def noted(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = {**events[0], "warnings": ["train.lr 1e-5 is high"]}
        return [first, {"event": "note", "step": 3, "message": "checkpoint 2 is torn"}, *events[1:]]

    edit_events(run, noted)
    top = page_of(run).words.split("Training curves")[0]
    assert "Warned at the start: train.lr 1e-5 is high" in top
    assert "Noted on the way: checkpoint 2 is torn" in top


def test_what_the_guard_saw_is_drawn_and_its_last_word_is_told_where_it_is_not_healthy(run: Path) -> None:
    healthy = page_of(run)
    assert "Replies that stop, that repeat" in healthy.words and "The guard's last look" not in healthy.words
    edit_events(run, lambda events: [*events[:-1], guard_event(120, verdict="drifting"), events[-1]])
    words = page_of(run).words
    assert "The guard's last look, at step 120, found the run drifting: replies are half as long." in words


def test_an_evaluation_before_training_alone_is_labelled_so(run: Path) -> None:
    (run / "evaluation" / "after.json").unlink()
    page = page_of(run)
    assert "before training" in page.words.split("Training curves")[0]
    assert "The trained model has not been evaluated" in page.words


def test_evaluations_on_different_data_are_called_not_comparable(run: Path) -> None:
    edit_json(run / "evaluation" / "before.json", data={"name": "other.jsonl", "hash": "00" * 32})
    assert "measured on different data" in page_of(run).words


def test_an_evaluation_after_training_alone_is_not_compared(run: Path) -> None:
    (run / "evaluation" / "before.json").unlink()
    page = page_of(run)
    assert "There is no evaluation from before training to compare it with." in page.words
    assert page.sections == SECTIONS


def test_an_evaluation_under_a_label_of_ones_own_stands_beside(run: Path) -> None:
    content = json.loads((run / "evaluation" / "after.json").read_text(encoding="utf-8"))
    write_json(run / "evaluation" / "winter-tickets.json", {**content, "label": "winter-tickets"})
    page = page_of(run)
    assert "others" in page.sections
    assert "winter-tickets" in page.text


def test_the_largest_falls_in_score_are_among_the_samples(page: Page) -> None:
    assert page.text.count("one of the largest falls in rubric score") == 2


def test_very_long_and_very_many_texts_do_not_swell_the_page(run: Path) -> None:
    long = "payment " * 60_000
    replies = [
        {
            **reply(number, "after"),
            "reply": long,
            "chosen": long,
            "rejected": long,
            "prompt": [*_prompt(number, long)],
        }
        for number in range(8)
    ]
    pairs = [{**pair, "category": f"category {number}"} for number, pair in enumerate(pair_scores(1.0, 1))]
    write_json(run / "evaluation" / "after.json", evaluation("after", pairs, replies))
    (run / "evaluation" / "after.replies.jsonl").unlink()
    token = {"text": " payment", "special": False, "stop": False, "logp": -1.0}
    pair = {
        "source": "x",
        "prompt": [token] * 3_000,
        "chosen": [token] * 3_000,
        "rejected": [token] * 3_000,
    }
    write_json(run / "rendering.json", {"pairs": [pair] * 6})
    page = page_of(run)
    assert page.size < 2_000_000
    assert "more characters in the evaluation folder]" in page.text
    assert "tokens left out]" in page.text
    assert "smaller ones are left out here" in page.text


def _prompt(number: int, text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{number} {text}"}]


def test_ten_thousand_steps_stay_small_and_keep_their_ends(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", evaluated=False, steps=10_000))
    assert page.size < 400_000


def test_a_rendering_without_log_probabilities_shows_what_is_scored(run: Path) -> None:
    path = run / "rendering.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for pair in content["pairs"]:
        for token in [*pair["chosen"], *pair["rejected"]]:
            del token["logp"]
    write_json(path, content)
    page = page_of(run)
    assert "tokens" in page.sections
    assert "unlikely" not in page.text
    assert 'class="special stop"' in page.source


def test_the_recipe_stands_with_its_origins_and_its_text(full: Path, page: Page) -> None:
    for words in (
        "train.lr 8.0e-07 --set",
        "method.beta 2.0 recipes/harbor.yaml",
        "train.epochs 1.0 default",
    ):
        assert words in page.words
    assert (full / "recipe.yaml").read_text(encoding="utf-8") in page.text


def test_the_lineage_goes_from_data_over_parents_to_the_export(run: Path) -> None:
    write_json(run / "export.json", {"kind": "merged", "sha256": "ee" * 32})
    words = page_of(run).words
    lineage = words[words.index("Lineage") :]
    places = [
        lineage.index(each)
        for each in ("c0ffee", "parent run, sft harbor-sft", "this run, preference", "ee" * 32)
    ]
    assert places == sorted(places)


def test_a_folder_that_is_no_run_is_a_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a run folder"):
        build_report(tmp_path)


def test_a_broken_evaluation_is_named_with_file_and_line(run: Path) -> None:
    path = run / "evaluation" / "after.pairs.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"after\.pairs\.jsonl:421: not valid JSON"):
        build_report(run)
    (run / "evaluation" / "after.json").write_text('{"label": "after", "preference": {}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"after\.json: preference\.num_pairs: Field required"):
        build_report(run)
