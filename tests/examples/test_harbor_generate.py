"""The generated Harbor Support data set: reproducible, split cleanly, and honest about its defects."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from examples.harbor import generate as harbor
from examples.harbor import overlap
from examples.harbor.annotators import agreement_alpha
from examples.harbor.defects import DefectRates
from examples.harbor.judge import score
from examples.harbor.summary import Summary, describe
from examples.harbor.tickets import INTENTS

Row = dict[str, Any]
PAIR_FILES = ("pairs_train.jsonl", "pairs_validation.jsonl", "pairs_test.jsonl")
HELD_OUT = PAIR_FILES[1:]


def read(folder: Path, name: str) -> list[Row]:
    return overlap.read_rows(folder, [name])


def text(row: Row, side: str) -> str:
    return str(row[side][0]["content"])


def is_shorter(row: Row) -> bool:
    return len(text(row, "chosen")) < len(text(row, "rejected"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A data set of 300 resolutions and 2,600 preferences."""
    folder = tmp_path_factory.mktemp("harbor")
    return folder, harbor.generate(folder, seed=0, num_sft=300, num_pairs=2600)


def test_two_runs_with_one_seed_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        harbor.generate(tmp_path / name, seed=3, num_sft=60, num_pairs=120)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 7
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_writes_other_rows(tmp_path: Path) -> None:
    for seed in (0, 1):
        harbor.generate(tmp_path / str(seed), seed=seed, num_sft=20, num_pairs=40)
    first, second = ({row["id"] for row in read(tmp_path / name, "pairs_test.jsonl")} for name in ("0", "1"))
    assert not first & second


def test_a_larger_data_set_starts_with_the_rows_of_a_smaller_one(tmp_path: Path) -> None:
    for size in (60, 90):
        harbor.generate(tmp_path / str(size), seed=0, num_sft=size, num_pairs=4 * size)
    small, large = (read(tmp_path / name, "sft_train.jsonl") for name in ("60", "90"))
    assert large[: len(small)] == small
    small, large = (read(tmp_path / name, "pairs_test.jsonl") for name in ("60", "90"))
    assert large[: len(small)] == small


def test_a_small_data_set_is_made_in_under_three_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    summary = harbor.generate(tmp_path, num_sft=200, num_pairs=300)
    assert time.process_time() - start < 3.0
    assert summary.rows["pairs_validation.jsonl"] == summary.rows["pairs_test.jsonl"] == 64
    assert summary.rows["pairs_train.jsonl"] == 172


@pytest.mark.parametrize("num_pairs", [0, 1, 7, 40])
def test_tiny_sizes_work(tmp_path: Path, num_pairs: int) -> None:
    rows = harbor.generate(tmp_path, num_sft=num_pairs, num_pairs=num_pairs).rows
    assert sum(rows[name] for name in PAIR_FILES) == num_pairs


def test_sizes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_pairs=-1"):
        harbor.generate(tmp_path, num_pairs=-1)
    with pytest.raises(ValueError, match="paraphrased_share"):
        harbor.generate(tmp_path, paraphrased_share=2.0)
    with pytest.raises(ValueError, match="defect rate"):
        DefectRates(tie=0.5)


def test_default_sizes_are_those_of_the_story() -> None:
    assert harbor.Sizes.of(8000, 12000) == harbor.Sizes(7600, 400, 10800, 600, 600)


def test_rows_have_the_documented_keys_in_order(made: tuple[Path, Summary]) -> None:
    pair_keys = ["id", "prompt", "chosen", "rejected", "category", "intent", "group", "ticket", "annotations"]
    for name in PAIR_FILES[:2]:
        assert all(list(row) == pair_keys for row in read(made[0], name))
    for name in ("pairs_test.jsonl", "pairs_test_paraphrased.jsonl"):
        assert all(list(row) == [*pair_keys, "paraphrase_group"] for row in read(made[0], name))
    for row in read(made[0], "sft_train.jsonl"):
        assert list(row) == ["id", "messages", "category", "intent", "ticket"]
        assert row["messages"][0]["role"] == "system" and row["messages"][-1]["role"] == "assistant"


def test_prompts_start_with_the_policy_and_end_in_a_user_turn(made: tuple[Path, Summary]) -> None:
    for row in read(made[0], "pairs_train.jsonl"):
        roles = [message["role"] for message in row["prompt"]]
        assert roles in (["system", "user"], ["system", "user", "assistant", "user"])
        assert "Policy:" in row["prompt"][0]["content"]
        assert all(message["content"].strip() for message in row["prompt"])


def test_every_fact_a_reply_should_state_can_be_found_in_the_prompt(made: tuple[Path, Summary]) -> None:
    for row in read(made[0], "pairs_train.jsonl") + read(made[0], "pairs_test.jsonl"):
        prompt = " ".join(message["content"] for message in row["prompt"]).lower()
        missing = [fact for fact in row["ticket"]["facts"].values() if fact.lower() not in prompt]
        assert not missing, prompt


def test_some_tickets_have_two_user_turns(made: tuple[Path, Summary]) -> None:
    assert 0.10 < made[1].two_turn < 0.25


def test_no_text_has_an_open_slot_or_template_mark(made: tuple[Path, Summary]) -> None:
    for name in (*PAIR_FILES, "sft_train.jsonl"):
        for row in read(made[0], name):
            messages = row.get("messages") or [*row["prompt"], *row["chosen"], *row["rejected"]]
            for message in messages:
                assert not set("{}[]<>|") & set(message["content"]), message["content"]
                assert "  " not in message["content"] and " ." not in message["content"]


def test_ids_are_unique_over_all_files(made: tuple[Path, Summary]) -> None:
    names = [*PAIR_FILES, "pairs_test_paraphrased.jsonl", "sft_train.jsonl", "sft_validation.jsonl"]
    ids = Counter(row["id"] for name in names for row in read(made[0], name))
    assert max(ids.values()) == 1


def test_every_intent_occurs_and_none_has_one_fixed_answer(made: tuple[Path, Summary]) -> None:
    actions: dict[str, set[str]] = {}
    for row in read(made[0], "pairs_train.jsonl"):
        actions.setdefault(row["intent"], set()).add(row["ticket"]["action"])
    assert len(actions) == len(INTENTS) >= 14
    assert all(len(found) >= 2 for found in actions.values())
    assert {row["category"] for row in read(made[0], "pairs_test.jsonl")} == {"billing", "shipping"}


def test_eighteen_percent_of_the_pairs_have_the_shorter_reply_chosen(made: tuple[Path, Summary]) -> None:
    rows = [row for name in PAIR_FILES for row in read(made[0], name)]
    share = sum(map(is_shorter, rows)) / len(rows)
    assert share == made[1].shorter_chosen
    assert share == pytest.approx(0.18, abs=0.01)


def test_the_majority_of_the_annotators_chose_the_chosen_reply(made: tuple[Path, Summary]) -> None:
    for name in PAIR_FILES:
        for row in read(made[0], name):
            votes = [
                (note["first"] == "chosen") == (note["choice"] == "first") for note in row["annotations"]
            ]
            assert sum(votes) >= 2
            assert [note["annotator"] for note in row["annotations"]] == ["ann-1", "ann-2", "ann-3"]


def test_annotators_agree_often_but_not_always_and_like_what_they_see_first(
    made: tuple[Path, Summary],
) -> None:
    assert 0.70 < made[1].unanimous < 0.92
    assert 0.55 < made[1].alpha < 0.90
    assert 0.502 < made[1].first_shown_taken < 0.55


def test_alpha_is_one_for_agreement_and_near_zero_for_chance() -> None:
    assert agreement_alpha([[0, 0, 0], [1, 1, 1]]) == 1.0
    # Two raters, pairs 00 01 10 11: observed 1/2, expected 2*4*4/(8*7) = 4/7, alpha = 1 - 7/8.
    assert agreement_alpha([[0, 0], [0, 1], [1, 0], [1, 1]]) == pytest.approx(0.125)


def test_chosen_replies_are_better_whether_shorter_or_longer(made: tuple[Path, Summary]) -> None:
    better: dict[bool, list[bool]] = {True: [], False: []}
    for name in HELD_OUT:
        for row in read(made[0], name):
            chosen, rejected = (
                score(row["prompt"], text(row, side), row)["score"] for side in ("chosen", "rejected")
            )
            better[is_shorter(row)].append(chosen > rejected)
    assert statistics.mean(better[True]) >= 0.75
    assert statistics.mean(better[False]) >= 0.93


def test_planted_flips_leave_most_shorter_chosen_training_rows_right(made: tuple[Path, Summary]) -> None:
    better = []
    for row in filter(is_shorter, read(made[0], "pairs_train.jsonl")):
        chosen, rejected = (
            score(row["prompt"], text(row, side), row)["score"] for side in ("chosen", "rejected")
        )
        better.append(chosen > rejected)
    assert statistics.mean(better) >= 0.58


def test_quality_is_nearly_independent_of_length(made: tuple[Path, Summary]) -> None:
    rows = read(made[0], "pairs_validation.jsonl") + read(made[0], "pairs_test.jsonl")
    replies = [(score(row["prompt"], text(row, side), row)["score"], len(text(row, side)))
               for row in rows for side in ("chosen", "rejected")]  # fmt: skip
    assert abs(statistics.correlation(*map(list, zip(*replies, strict=True)))) < 0.35


def test_sft_replies_are_wordier_than_the_chosen_ones(made: tuple[Path, Summary]) -> None:
    lengths = made[1].lengths
    assert 290 <= lengths.sft <= 370
    assert 170 <= lengths.chosen <= 250


def test_planted_defects_are_where_the_truth_says(made: tuple[Path, Summary]) -> None:
    rows = {row["id"]: row for row in read(made[0], "pairs_train.jsonl")}
    truth = read(made[0], "truth.jsonl")
    counts = Counter(line["kind"] for line in truth)
    assert counts == DefectRates().counts(len(rows))
    assert len({line["id"] for line in truth}) == len(truth)
    for line in truth:
        row, kind = rows[line["id"]], line["kind"]
        source = rows[line["of"]] if line["of"] else None
        if kind == "exact_duplicate":
            assert source and {**source, "id": ""} == {**row, "id": ""}
        elif kind == "contradiction":
            assert source and source["prompt"] == row["prompt"]
            assert (source["chosen"], source["rejected"]) == (row["rejected"], row["chosen"])
        elif kind == "near_duplicate":
            assert source and source["prompt"] != row["prompt"] and source["rejected"] == row["rejected"]
            assert abs(len(text(source, "chosen")) - len(text(row, "chosen"))) < 10
        elif kind == "chosen_equals_rejected":
            assert row["chosen"] == row["rejected"]
        elif kind == "tie":
            assert (
                len({(n["first"] == "chosen") == (n["choice"] == "first") for n in row["annotations"]}) == 2
            )


def test_most_flipped_rows_have_the_worse_reply_chosen(made: tuple[Path, Summary]) -> None:
    rows = {row["id"]: row for row in read(made[0], "pairs_train.jsonl")}
    worse = []
    for line in read(made[0], "truth.jsonl"):
        if line["kind"] == "flipped":
            row = rows[line["id"]]
            worse.append(
                score(row["prompt"], text(row, "chosen"), row)["score"]
                < score(row["prompt"], text(row, "rejected"), row)["score"]
            )
    assert statistics.mean(worse) >= 0.80


def test_ties_have_replies_of_equal_worth(made: tuple[Path, Summary]) -> None:
    rows = {row["id"]: row for row in read(made[0], "pairs_train.jsonl")}
    ties = [rows[line["id"]] for line in read(made[0], "truth.jsonl") if line["kind"] == "tie"]
    gaps = [
        abs(
            score(r["prompt"], text(r, "chosen"), r)["score"]
            - score(r["prompt"], text(r, "rejected"), r)["score"]
        )
        for r in ties
    ]
    assert statistics.mean(gap < 0.1 for gap in gaps) >= 0.95


def test_held_out_pairs_have_no_planted_defect(made: tuple[Path, Summary]) -> None:
    for name in HELD_OUT:
        rows = read(made[0], name)
        assert all(row["chosen"] != row["rejected"] for row in rows)
        seen = [
            (json.dumps(row["prompt"]), *sorted((text(row, "chosen"), text(row, "rejected")))) for row in rows
        ]
        assert len(set(seen)) == len(seen)


def test_without_defects_the_truth_file_is_empty(tmp_path: Path) -> None:
    none = DefectRates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    summary = harbor.generate(tmp_path, num_sft=10, num_pairs=200, defects=none)
    assert summary.rows["truth.jsonl"] == 0 and summary.rows["pairs_train.jsonl"] == 100


def test_splits_share_no_ticket_no_prompt_and_no_order(made: tuple[Path, Summary]) -> None:
    groups = [{row["group"] for row in read(made[0], name)} for name in PAIR_FILES]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    shares = made[1].overlap
    assert shares.prompts == 0.0 and shares.slots["order"] == 0.0 and shares.slots["customer"] == 0.0
    assert shares.replies < 0.05
    assert 0.0 < shares.eightgrams < shares.trigrams < 0.8
    assert 0.0 < shares.slots["item"] < 1.0 and 0.0 < shares.slots["carrier"] < 1.0


def test_identical_files_overlap_completely(made: tuple[Path, Summary]) -> None:
    rows = read(made[0], "pairs_test.jsonl")[:20]
    same = overlap.measure(rows, rows)
    assert (same.prompts, same.replies, same.trigrams, same.eightgrams) == (1.0, 1.0, 1.0, 1.0)


def test_several_pairs_share_a_ticket(made: tuple[Path, Summary]) -> None:
    sizes = Counter(Counter(row["group"] for row in read(made[0], "pairs_test.jsonl")).values())
    assert sizes[1] > sizes[2] > 0 and sizes[3] > 0 and set(sizes) <= {1, 2, 3}


def test_paraphrases_change_the_words_of_the_customer_alone(made: tuple[Path, Summary]) -> None:
    test = {row["id"]: row for row in read(made[0], "pairs_test.jsonl")}
    again = read(made[0], "pairs_test_paraphrased.jsonl")
    groups = {row["paraphrase_group"] for row in again}
    assert len(groups) == pytest.approx(len({row["group"] for row in test.values()}) / 2, abs=1)
    for row in again:
        source = test[row["id"].removesuffix("-p")]
        assert row["prompt"][0] == source["prompt"][0] and row["prompt"][-1] != source["prompt"][-1]
        same = ("chosen", "rejected", "ticket", "annotations", "paraphrase_group", "intent")
        assert all(row[key] == source[key] for key in same)


def test_nothing_temporary_is_left_behind(made: tuple[Path, Summary]) -> None:
    assert all(path.suffix == ".jsonl" and not path.name.startswith(".") for path in made[0].iterdir())


def test_the_summary_reads_as_text(made: tuple[Path, Summary]) -> None:
    shown = describe(made[1])
    assert "shorter reply chosen" in shown and "Krippendorff alpha" in shown and "8-grams" in shown
    assert all(len(line) <= 110 for line in shown.splitlines())


def test_the_command_line_writes_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["generate", "--out", str(tmp_path), "--sft", "20", "--pairs", "60", "--rate-flipped", "0"]
    monkeypatch.setattr("sys.argv", argv)
    harbor.main()
    assert "pairs_train.jsonl" in capsys.readouterr().out
    assert not [line for line in read(tmp_path, "truth.jsonl") if line["kind"] == "flipped"]
    monkeypatch.setattr("sys.argv", ["overlap", str(tmp_path)])
    overlap.main()
    assert "identical prompts 0.0%" in capsys.readouterr().out
