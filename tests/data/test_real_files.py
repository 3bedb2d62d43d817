"""The public files that people bring: how many rows each gives, and why the others do not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

import pytest

from simpo.data.read import iter_rows, read_rows
from simpo.errors import DataError
from simpo.records import Row

RAW = "raw_formats/"

# file -> format, rows, rows left out by reason. Rows and left out add up to the counts of the data's README,
# where a row is a pair.
PAIRS: dict[str, tuple[str, int, dict[str, int]]] = {
    "hh_harmless_raw.jsonl.gz": ("hh", 1686, {"diverging_prompts": 4, "empty_chosen": 2}),
    "label_noise_ultrafeedback.jsonl.gz": ("trl_standard", 764, {"empty_rejected": 1, "identical": 2}),
    "preference_alpacaeval.jsonl.gz": ("trl_standard", 3585, {}),
    "preference_gsm8k_verifiable.jsonl.gz": ("trl_standard", 333, {}),
    "preference_ultrafeedback.jsonl.gz": ("trl_standard", 914, {"empty_rejected": 1, "identical": 2}),
    "support_taskmaster_pairs.jsonl": ("trl_conversational", 320, {}),
    "multiannotator_pandalm.jsonl.gz": ("annotator_labels", 477, {"empty_answer": 19 * 3, "tie": 35 * 3}),
    "multijudge_alpacaeval.jsonl.gz": ("judgments", 366, {"tie": 32}),
    # 637 pairs of a good and a bad rating of one prompt, less those of one text twice or rated both ways.
    "support_taskmaster_unpaired.jsonl.gz": ("trl_unpaired", 484, {"unpaired": 4532}),
    RAW + "alpaca_instruction_input.jsonl": ("alpaca_ranking", 200, {}),
    RAW + "alpacaeval_annotations_raw.json": ("alpaca_eval", 149, {"tie": 1}),
    RAW + "axolotl_chat_template_dpo.jsonl": ("axolotl_chat_template", 200, {}),
    RAW + "llamafactory_dpo_en_demo.json": ("llamafactory_sharegpt", 300, {}),
    RAW + "llamafactory_kto_en_demo.json": ("unpaired_messages", 1, {"unpaired": 298}),
    # The README counts 154 questions with two or more ranked replies.
    RAW + "oasst_ranked_trees.jsonl": ("oasst_tree", 154, {}),
    RAW + "openai_azure_preference.jsonl": ("openai_preference", 215, {}),
    RAW + "openrlhf_chosen_rejected_messages.jsonl": ("trl_conversational_implicit", 200, {}),
    # 496 of 531 have a majority; of those 19 have an empty response and 6 one that is no text.
    RAW + "pandalm_testset_raw.json": ("pandalm", 471, {"empty_answer": 19, "tie": 35, "wrong_type": 6}),
    RAW + "swift_rejected_response.jsonl": ("swift_rejected", 200, {}),
    RAW + "trl_conversational_explicit.jsonl": ("trl_conversational", 200, {}),
    RAW + "trl_conversational_implicit.jsonl": ("trl_conversational_implicit", 200, {}),
    RAW + "trl_standard_explicit.jsonl": ("trl_standard", 200, {}),
    RAW + "trl_zen_conversational_implicit_prompt_preference.jsonl": ("trl_conversational_implicit", 19, {}),
    RAW + "trl_zen_conversational_preference.jsonl": ("trl_conversational", 19, {}),
    RAW + "trl_zen_standard_implicit_prompt_preference.jsonl": ("trl_standard_implicit", 19, {}),
    RAW + "trl_zen_standard_preference.jsonl": ("trl_standard", 19, {}),
    RAW + "trl_unpaired.jsonl": ("trl_unpaired", 200, {}),
    RAW + "ultrafeedback_sample.parquet": ("trl_standard", 200, {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_each_public_file_of_pairs_gives_its_rows(name: str, test_data: Path) -> None:
    form, rows, dropped = PAIRS[name]
    dataset = read_rows(test_data / name, on_bad_row="drop")
    assert (dataset.format, len(dataset.rows), dataset.dropped_counts()) == (form, rows, dropped)
    assert dataset.files == (test_data / name,)


def test_one_set_of_rows_has_one_hash_in_every_format(test_data: Path) -> None:
    raw = test_data / "raw_formats"
    explicit, implicit = (
        read_rows(raw / f"trl_conversational_{form}.jsonl") for form in ("explicit", "implicit")
    )
    assert explicit.hash == implicit.hash
    hh = {row.id for row in read_rows(test_data / "hh_harmless_raw.jsonl.gz", on_bad_row="drop").rows}
    assert sum(row.id in hh for row in explicit.rows) == 200
    standard, openrlhf = (
        read_rows(raw / f"{form}.jsonl")
        for form in ("trl_standard_explicit", "openrlhf_chosen_rejected_messages")
    )
    assert standard.hash == openrlhf.hash


def test_the_prompt_of_implicit_texts_is_as_long_as_the_rows_let_it_be(test_data: Path) -> None:
    raw = test_data / "raw_formats"
    explicit, implicit = (
        read_rows(raw / f"trl_zen_standard_{form}preference.jsonl") for form in ("", "implicit_prompt_")
    )
    assert [row.prompt[0].content + row.completions[0] for row in implicit.rows] == [
        row.prompt[0].content + row.completions[0] for row in explicit.rows
    ]
    # The authors cut some prompts earlier than they had to, none later.
    longer = [
        len(found.prompt[0].content) - len(given.prompt[0].content)
        for found, given in zip(implicit.rows, explicit.rows, strict=True)
    ]
    assert min(longer) == 0 and sum(extra > 0 for extra in longer) == 6


def test_a_bad_row_of_a_public_file_is_named(test_data: Path) -> None:
    path = test_data / "hh_harmless_raw.jsonl.gz"
    with pytest.raises(DataError) as error:
        read_rows(path)
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{path}:")
    assert lines[0].endswith("(and 5 more rows that cannot be used: 1 empty_chosen, 4 diverging_prompts)")
    assert lines[1].startswith("  fix: mend or remove the row, or set data.on_bad_row: drop")


@pytest.mark.parametrize(("turns", "rows"), [("all", 503), ("last", 69)])
def test_support_conversations_give_each_assistant_turn_with_text(
    turns: Literal["all", "last"], rows: int, test_data: Path
) -> None:
    dataset = read_rows(test_data / "support_tau_retail_sft.jsonl", kind="examples", sft_turns=turns)
    assert (dataset.format, len(dataset.rows)) == ("messages", rows)
    if turns == "all":
        # The README counts 440 assistant turns whose content is null.
        assert dataset.dropped_counts() == {"empty_completion": 440}


EXAMPLES: dict[str, tuple[str, int]] = {
    "support_bitext_sft.jsonl.gz": ("instruction_response", 2293),
    RAW + "bitext_sample.csv": ("instruction_response", 400),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_public_file_of_examples_gives_its_rows(name: str, test_data: Path) -> None:
    dataset = read_rows(test_data / name, kind="examples")
    assert (dataset.format, len(dataset.rows), dataset.dropped) == (*EXAMPLES[name], ())
    assert dataset.rows[0].category == "PAYMENT"


def test_the_csv_of_a_set_is_the_beginning_of_its_json(test_data: Path) -> None:
    table = read_rows(test_data / RAW / "bitext_sample.csv", kind="examples")
    lines = read_rows(test_data / "support_bitext_sft.jsonl.gz", kind="examples", limit=400)
    assert [row.id for row in table.rows] == [row.id for row in lines.rows]


REFUSED = {
    RAW + "llamafactory_dataset_info.json": "a list of data sets (LLaMA-Factory's dataset_info.json)",
    RAW + "trl_zen_conversational_unpaired_preference.jsonl": "no row can be used (19 unpaired)",
    RAW + "trl_zen_standard_unpaired_preference.jsonl": "no row can be used (19 unpaired)",
    RAW + "bitext_sample.csv": "these are SFT examples (instruction_response)",
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_without_pairs_are_refused_for_a_stated_reason(name: str, test_data: Path) -> None:
    with pytest.raises(DataError) as error:
        read_rows(test_data / name)
    assert REFUSED[name] in str(error.value) and "\n  fix: " in str(error.value)


def test_every_raw_format_is_named_above(test_data: Path) -> None:
    files = {f"{RAW}{path.name}" for path in (test_data / RAW).iterdir()}
    assert files <= {*PAIRS, *EXAMPLES, *REFUSED}


@pytest.mark.parametrize(
    "name",
    [
        RAW + "trl_unpaired.jsonl",
        RAW + "llamafactory_kto_en_demo.json",
        "support_taskmaster_unpaired.jsonl.gz",
    ],
)
def test_ratings_of_single_replies_are_no_examples_to_imitate(name: str, test_data: Path) -> None:
    with pytest.raises(DataError, match="each row rates one completion"):
        read_rows(test_data / name, kind="examples")


def test_one_set_of_comparisons_gives_one_set_of_pairs_in_both_its_forms(test_data: Path) -> None:
    raw = read_rows(test_data / RAW / "pandalm_testset_raw.json", on_bad_row="drop")
    long = read_rows(test_data / "multiannotator_pandalm.jsonl.gz", on_bad_row="drop")
    assert {row.id for row in raw.rows} <= {row.id for row in long.rows}
    choices = {f"pandalm-{row.extra['idx']}": choices_of(row) for row in raw.rows}
    there = {row.extra["item_id"]: choices_of(row) for row in long.rows}
    assert len(choices) == 471 and all(there[item] == said for item, said in choices.items())


def choices_of(row: Row) -> list[tuple[str, str]]:
    return [(note["first"], note["choice"]) for note in row.extra["annotations"]]


def test_ratings_of_one_prompt_make_the_pairs_they_were_made_of(test_data: Path) -> None:
    unpaired = read_rows(test_data / RAW / "trl_unpaired.jsonl")
    pairs = read_rows(test_data / RAW / "trl_standard_explicit.jsonl")
    assert unpaired.hash == pairs.hash


def test_every_other_public_file_is_read_or_refused_with_a_message(test_data: Path) -> None:
    files = [path for path in test_data.rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        for kind in ("pairs", "examples"):
            try:
                dataset = read_rows(path, kind=kind, on_bad_row="drop")
            except DataError as error:
                assert str(error).startswith(str(path))
            else:
                assert dataset.rows and dataset.format


def test_every_public_file_has_as_many_rows_as_its_readme_says_and_each_is_accounted_for(
    test_data: Path,
) -> None:
    sections = re.findall(
        r"^## (.+)\n(?:- .*\n)*?- rows: (\d+)", (test_data / "README.md").read_text(), re.MULTILINE
    )
    counts = {name.strip(): int(rows) for name, rows in sections}
    assert set(PAIRS) | set(EXAMPLES) <= set(counts)
    for name in (*PAIRS, *EXAMPLES, "support_tau_retail_sft.jsonl"):
        stream = iter_rows(test_data / name, kind="pairs" if name in PAIRS else "examples")
        for _ in stream:
            pass
        assert stream.num_rows == stream.num_used + stream.num_dropped == counts[name], name
        assert stream.hashes == {
            test_data / name: hashlib.sha256((test_data / name).read_bytes()).hexdigest()
        }
