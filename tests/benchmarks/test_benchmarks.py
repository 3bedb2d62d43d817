"""The comparison with TRL: its options, its statistics, its tables, and our side of it on a tiny model. No TRL here."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import against_trl
from benchmarks.child import Job, Measured, Setting
from benchmarks.figures import Spread, fastest, row_figures, seconds_per_pair
from benchmarks.processes import Processes, parse_environment
from benchmarks.report import RowResult, file_name, notes, tables
from benchmarks.rows import (
    ROWS,
    BenchRow,
    batches_of,
    choose_rows,
    pick_pairs,
    write_for_shuffle,
    write_in_step_order,
)
from benchmarks.run_simpo import measure, recipe_of
from benchmarks.same_job import SameJob, compare, require_same_job
from benchmarks.trl_env import find_trl_python, requirements
from simpo.data.batches import BatchOrder
from simpo.data.read import read_rows
from simpo.errors import CheckFailed, RecipeError, RunFailed
from simpo.records import Message, Pair, Source
from simpo.train.prepare import prepare

VERSIONS = {"python": "3.11.7", "simpo": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}
TRL_VERSIONS = {"python": "3.11.7", "trl": "1.16.0", "torch": "2.13.0", "transformers": "5.22.0"}

# Lines as the children print them: 3 steps of 8 pairs, of which the first does not count.
SIMPO_LINE = json.dumps(
    {
        "side": "simpo",
        "setting": {"micro_batch_size": 2, "checkpointing": False},
        "seconds": [40.0, 8.0, 16.0],
        "pairs_per_step": 8,
        "tokens_scored": [800, 800, 1600],
        "tokens_forwarded": [2000, 2000, 2800],
        "peak_rss_bytes": 2 * 2**30,
        "process_peak_rss_bytes": 3 * 2**30,
        "first_loss": 1.25,
        "versions": VERSIONS,
    }
)
TRL_LINE = json.dumps(
    {
        **json.loads(SIMPO_LINE),
        "side": "trl",
        "setting": {"micro_batch_size": 1, "checkpointing": True},
        "seconds": [90.0, 32.0, 28.0],
        "tokens_scored": [832, 832, 1632],
        "peak_rss_bytes": 6 * 2**30,
        "first_loss": 1.5,
        "versions": TRL_VERSIONS,
    }
)
SAME = SameJob(("\n", "<|im_end|>"), 1.2501, 1.5001)


def measured(line: str, **changes: object) -> Measured:
    return replace(Measured.parse(line), **changes)  # type: ignore[arg-type]


def result(**changes: object) -> RowResult:
    choices = {"simpo": Setting(2), "trl": Setting(1, True)}
    alternation = (Measured.parse(SIMPO_LINE), Measured.parse(TRL_LINE))
    row = RowResult(BenchRow("short", "full", "autocast"), "made up", choices, (), (alternation,), SAME, 0.04)
    return replace(row, **changes)  # type: ignore[arg-type]


def small_pairs(count: int) -> list[Pair]:
    return [
        Pair(
            (Message("user", f"Where is parcel {number}?"),),
            f"It comes on day {number}. I have asked the carrier to look for it.",
            "I do not know" + "." * number,
            Source("made up", number + 1),
        )
        for number in range(count)
    ]


def tiny_job(model: Path, folder: Path, steps: int, setting: Setting, **changes: object) -> Job:
    write_for_shuffle(batches_of(small_pairs(8), 4, steps), folder / "simpo.jsonl")
    job = Job(
        str(model), str(folder / "simpo.jsonl"), str(folder), "full", "float32", 4, steps, setting, lr=1e-4
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def test_quick_means_one_row_one_alternation_and_the_default_takes_turns_three_times() -> None:
    quick, full = against_trl.parse(["--quick"]), against_trl.parse([])
    assert [row.name for row in quick.rows] == ["short/full/autocast"]
    assert (quick.alternations, full.alternations) == (1, 3)
    assert (full.as_json, full.save, full.model, full.trl_python) == (False, False, None, None)


def test_options_override_what_quick_sets() -> None:
    options = against_trl.parse(["--quick", "--rows", "long/*/pure", "--alternations", "2", "--steps", "5"])
    assert [row.name for row in options.rows] == ["long/full/pure", "long/lora/pure"]
    assert (options.alternations, options.steps) == (2, 5)


def test_rows_are_named_or_matched_and_each_is_measured_once() -> None:
    assert len(choose_rows("*")) == len(ROWS) == 16
    assert [row.name for row in choose_rows("short/full/float32, short/full/*")] == [
        "short/full/float32",
        "short/full/autocast",
        "short/full/pure",
        "short/full/autocast/dpo_live",
        "short/full/autocast/dpo_precomputed",
    ]


@pytest.mark.parametrize(
    "arguments", [["--rows", "short/full/fp8"], ["--steps", "1"], ["--alternations", "-1"], ["--env", "OMP"]]
)
def test_an_option_that_cannot_be_used_is_refused_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert against_trl.main(arguments) == 2
    assert capsys.readouterr().out == ""


def test_an_error_is_one_json_object_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert against_trl.main(["--json", "--env", "OMP"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "--env 'OMP' is not KEY=VALUE"


def test_environment_options_may_hold_further_equals_signs() -> None:
    assert parse_environment(["GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "A="]) == {
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "A": "",
    }


def test_settings_of_an_earlier_result_are_taken_over(tmp_path: Path) -> None:
    earlier = tmp_path / "result.json"
    earlier.write_text(json.dumps({"rows": [result().as_json()]}))
    assert against_trl.parse(["--choices", str(earlier)]).choices == {
        "short/full/autocast": {"simpo": Setting(2), "trl": Setting(1, True)}
    }


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"row": "x"}]}', '{"rows": [1]}'])
def test_a_file_without_settings_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RecipeError, match="holds no choices"):
        against_trl.read_choices(tmp_path / "result.json")


# The statistics


def test_a_line_is_read_back_as_it_was_written() -> None:
    line = Measured.parse(SIMPO_LINE)
    assert Measured.parse(line.line()) == line


def test_the_first_step_does_not_count() -> None:
    assert seconds_per_pair(Measured.parse(SIMPO_LINE)) == [1.0, 2.0]
    with pytest.raises(ValueError, match="no value"):
        row_figures([])
    with pytest.raises(ValueError, match="took 1 step"):
        seconds_per_pair(measured(SIMPO_LINE, seconds=(3.0,)))


def test_ratios_are_taken_within_each_alternation_and_then_their_median() -> None:
    # Medians of ours 1.5, 1 and 3 s a pair, of TRL's 3.75, 4 and 3: ratios 2.5, 4 and 1. The ratio of the pooled
    # medians would be 3.625 / 1.5; memory 6/2, 6/3 and 6/2.
    ours, theirs = Measured.parse(SIMPO_LINE), Measured.parse(TRL_LINE)
    alternations = [
        (ours, theirs),
        (
            replace(ours, seconds=(9.0, 8.0, 8.0), peak_rss_bytes=3 * 2**30),
            replace(theirs, seconds=(9, 32, 32)),
        ),
        (replace(ours, seconds=(9.0, 24.0, 24.0)), replace(theirs, seconds=(9, 24, 24))),
    ]
    figures = row_figures(alternations)
    assert figures.time_ratio == Spread(2.5, 1.0, 4.0)
    assert figures.memory_ratio == Spread(3.0, 2.0, 3.0)
    assert figures.simpo.seconds_per_pair == Spread(1.5, 1.0, 3.0)
    assert figures.trl.seconds_per_pair == Spread(3.75, 3.0, 4.0)
    assert (figures.simpo.tokens_scored, figures.trl.tokens_scored) == (150.0, 154.0)
    assert figures.simpo.tokens_forwarded == 300.0


def test_the_fastest_setting_is_judged_by_the_steps_after_the_first() -> None:
    tried = {1: (1.0, 3.0), 4: (100.0, 2.0)}
    runs = [measured(SIMPO_LINE, seconds=seconds, setting=Setting(size)) for size, seconds in tried.items()]
    assert fastest(runs) == Setting(4)


# The tables


def test_the_tables_show_both_sides_their_ratios_and_their_work() -> None:
    (_, columns, (speed,)), (_, work_columns, work) = tables([result()])
    assert dict(zip(columns, speed, strict=True)) == {
        "row": "short/full/autocast",
        "simpo": "1.5 (1 to 2)",
        "TRL": "3.75 (3.5 to 4)",
        "time ratio": "2.5 (2.5 to 2.5)",
        "simpo GiB": "2.00",
        "TRL GiB": "6.00",
        "memory ratio": "3 (3 to 3)",
        "others' cores": "0.0",
    }
    assert work_columns == ("row", "side", "cut", "scored", "forwarded", "loss", "loss on TRL's tokens")
    assert work == [
        ("short/full/autocast", "simpo", "2 at a time", "150.0", "300.0", "1.25000", "1.50010"),
        ("short/full/autocast", "TRL", "1 at a time, checkpointing", "154.0", "300.0", "1.50000", "1.50000"),
    ]


def test_the_notes_say_what_trl_scores_besides_and_when_the_machine_was_busy() -> None:
    assert notes([result()]) == [
        "short pairs: made up",
        "TRL scores 2 tokens more per completion: '\\n' '<|im_end|>'.",
    ]
    assert "rough figures" in notes([result(others_cores=1.5)])[-1]
    assert "very same tokens" in notes([result(same=replace(SAME, extra_tokens=()))])[-1]
    assert "differ from ours by more" in notes([result(same=replace(SAME, extra_tokens=None))])[-1]


def test_the_json_result_and_the_printed_tables_hold_the_same_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = against_trl.parse(["--env", "OMP_NUM_THREADS=2"])
    whole = against_trl.result_of(options, [result()], Path("models/SmolLM2"), "2026-01-02T03:04:05+00:00")
    assert whole["rows"][0]["figures"]["time_ratio"] == {"median": 2.5, "low": 2.5, "high": 2.5}
    assert whole["rows"][0]["same_job"]["trl_first_loss"] == 1.5
    assert whole["settings"]["trl_simpo_gamma"] == 1.0  # beta 2 times 0.5 nats per token
    assert whole["environment"]["OMP_NUM_THREADS"] == "2"
    assert whole["model"] == "SmolLM2"
    against_trl.print_result(options, [result()], whole)
    printed = capsys.readouterr().out
    assert "2.5 (2.5 to 2.5)" in printed
    assert "transformers 5.23.0 (TRL's side 5.22.0)" in printed
    against_trl.print_result(replace(options, as_json=True), [result()], whole)
    assert json.loads(capsys.readouterr().out)["rows"] == json.loads(json.dumps(whole["rows"]))


def test_a_saved_result_is_named_by_date_and_machine() -> None:
    name = file_name("2026-01-02T03:04:05+00:00", {"cpu": "AMD EPYC 9B14 (Zen 4)", "cores": 2})
    assert name == "2026-01-02-amd-epyc-9b14-zen-4-2-cores.json"


# The pairs


@pytest.mark.parametrize("length", ["short", "long"])
def test_harbor_pairs_serve_where_there_is_no_real_data(length: str) -> None:
    picked = pick_pairs(length, None)
    assert len({pair.id for pair in picked.pairs}) == 16
    assert picked.source.startswith("Harbor Support")
    chars = [sum(len(message.content) for message in pair.prompt) for pair in picked.pairs]
    assert all(1900 <= size <= 2400 for size in chars) == (length == "long")


@pytest.mark.parametrize("length", ["short", "long"])
def test_real_pairs_are_taken_where_they_lie(length: str, test_data: Path) -> None:
    picked = pick_pairs(length, test_data)
    assert len({pair.id for pair in picked.pairs}) == 16
    for pair in picked.pairs:
        roles = [message.role for message in pair.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert all(100 <= len(text) <= 3000 for text in pair.completions)


def test_our_shuffled_order_takes_the_very_batches_that_trl_takes_in_turn(tmp_path: Path) -> None:
    batches = batches_of(small_pairs(6), 4, 3)
    write_for_shuffle(batches, tmp_path / "ours.jsonl")
    write_in_step_order(batches, tmp_path / "theirs.jsonl")
    ours = read_rows(str(tmp_path / "ours.jsonl"), kind="pairs").rows
    theirs = read_rows(str(tmp_path / "theirs.jsonl"), kind="pairs").rows
    order = BatchOrder(12, 4, 0)
    for step in range(3):
        mine = [ours[index].id for index in order.batch(step)]
        assert (
            mine == [row.id for row in theirs[step * 4 : step * 4 + 4]] == [pair.id for pair in batches[step]]
        )


# Our side


def test_our_side_measures_every_step_and_counts_what_it_computed(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    one, two = (measure(tiny_job(tiny_model_dir, tmp_path, 3, Setting(size))) for size in (1, 2))
    assert one.side == "simpo"
    assert len(one.seconds) == len(one.tokens_scored) == len(one.tokens_forwarded) == 3
    assert all(seconds > 0 for seconds in one.seconds)
    assert one.pairs_per_step == 4
    assert one.first_loss == pytest.approx(two.first_loss, abs=1e-5)
    assert one.tokens_scored == two.tokens_scored
    # Steps 1 and 3 hold the same pairs. Larger micro-batches are padded to the longest of more rows.
    assert one.tokens_forwarded[0] == one.tokens_forwarded[2] <= two.tokens_forwarded[0]
    assert all(
        forwarded > scored for forwarded, scored in zip(one.tokens_forwarded, one.tokens_scored, strict=True)
    )
    assert 10 * 2**20 < one.peak_rss_bytes <= one.process_peak_rss_bytes
    assert not list(tmp_path.glob("*/run"))


def test_an_adapter_and_each_precision_go_through_our_side(tiny_model_dir: Path, tmp_path: Path) -> None:
    losses = [
        measure(
            tiny_job(tiny_model_dir, tmp_path, 2, Setting(2), weights=weights, precision=precision)
        ).first_loss
        for weights, precision in (
            ("full", "float32"),
            ("lora", "float32"),
            ("lora", "autocast"),
            ("full", "pure"),
        )
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)  # a fresh adapter changes nothing
    assert losses[2:] == pytest.approx([losses[0]] * 2, abs=0.1)


def test_a_process_of_our_side_prints_one_line(tiny_model_dir: Path, tmp_path: Path) -> None:
    job = tiny_job(tiny_model_dir, tmp_path, 2, Setting(4, True))
    outcome = Processes(Path(sys.executable), {}).measure("simpo", job, tmp_path)
    assert outcome.measured.setting == Setting(4, True)
    assert outcome.measured.versions["torch"].startswith("2.")


def test_a_process_that_fails_is_reported_with_its_last_words(tiny_model_dir: Path, tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "nowhere", tmp_path, 2, Setting(1))
    with pytest.raises(RunFailed, match=r"benchmarks.run_simpo: ended with status 1(?s:.)*nowhere"):
        Processes(Path(sys.executable), {}).measure("simpo", job, tmp_path)


# Whether both did the same job


def test_our_scorer_on_the_other_sides_tokens_gives_the_loss_to_be_compared(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    write_in_step_order([small_pairs(4)], tmp_path / "trl.jsonl")
    job = tiny_job(
        tiny_model_dir,
        tmp_path,
        1,
        Setting(1),
        pairs=str(tmp_path / "trl.jsonl"),
        tokens=str(tmp_path / "tokens.json"),
    )
    prepared = prepare(recipe_of(job, tmp_path / "run"))
    newline, stop = prepared.policy.tokenizer("\n<|im_end|>", add_special_tokens=False).input_ids
    rows = [
        {
            "prompt": group.prompt.tolist(),
            "chosen": [*group.completions[0].tolist(), newline, stop],
            "rejected": [*group.completions[1].tolist(), newline, stop],
        }
        for group in prepared.train
    ]
    (tmp_path / "tokens.json").write_text(json.dumps(rows))
    same = compare(job)
    assert same.extra_tokens == ("\n", "<|im_end|>")
    assert same.loss_trl_tokens != same.loss_own_tokens
    own = measure(tiny_job(tiny_model_dir, tmp_path, 2, Setting(2))).first_loss
    require_same_job(same, own, same.loss_trl_tokens, "float32")

    rows[2]["rejected"][0] += 1
    (tmp_path / "tokens.json").write_text(json.dumps(rows))
    assert compare(job).extra_tokens is None


@pytest.mark.parametrize(("simpo_loss", "trl_loss"), [(1.27, 1.5), (1.25, 1.48), (float("nan"), 1.5)])
def test_a_loss_that_its_tokens_do_not_have_is_a_failed_check(simpo_loss: float, trl_loss: float) -> None:
    require_same_job(SAME, 1.25, 1.5, "autocast")
    with pytest.raises(CheckFailed, match="did not do the same job"):
        require_same_job(SAME, simpo_loss, trl_loss, "autocast")


# TRL's environment


def test_a_python_without_trl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no TRL"):
        find_trl_python(Path(sys.executable), print)
    with pytest.raises(RecipeError, match="cannot be run"):
        find_trl_python(tmp_path / "python", print)


def test_trl_is_installed_beside_the_torch_that_we_pin() -> None:
    assert [requirement.partition("==")[0] for requirement in requirements()] == ["torch", "trl", "peft"]
