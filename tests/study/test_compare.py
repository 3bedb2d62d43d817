"""A comparison from its runs to its file: the figures of `simpo eval`, nothing done twice, failures told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simpo.errors import RecipeError, RunFailed
from simpo.evaluate.files import read_evaluation
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder, read_json
from simpo.study.compare.measure import measure_all
from simpo.study.compare.plan import BASE, Given, Plan, make_plan
from simpo.study.compare.run import compare
from simpo.study.compare.train import train_all
from simpo.study.measure import Settings, measure
from tests.study.conftest import Bench

JUDGES = """
def score(prompt, reply, columns):
    return {"score": len(reply), "parts": {"short": float(len(reply) < 9)}, "escalates": "e" in reply}

CALLS = []

def prefers_the_place(prompt, first, second, columns):
    CALLS.append((first, second))
    return 0.9

def broken(prompt, reply, columns):
    raise OSError("no connection")
"""


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of judges that no other test has imported."""
    name = f"judges_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(JUDGES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def compared(bench: Bench, **options: Any) -> tuple[Plan, dict[str, Any]]:
    """A comparison of SimPO and DPO whose runs were trained in this process."""
    plan = bench.plan(**options)
    bench.train(plan)
    return plan, compare(plan, cost_steps=0)


def test_the_figures_are_those_of_eval_on_the_same_runs(bench: Bench, judges: str) -> None:
    wished = {"judge": f"{judges}:score"}
    plan, report = compared(bench, evaluate=wished)
    test = str(bench.folder / "test.jsonl")
    for one in plan.contenders:
        (run,) = one.runs
        _, alone = measure(
            str(run.folder), Settings(data=(test,), evaluate={"generate": 4, **wished}), out=bench.folder
        )
        (shown,) = next(method["runs"] for method in report["methods"] if method["id"] == one.id)
        assert shown["accuracy"] == alone["preference"]["accuracy"]["reward"]
        assert shown["common"] == alone["preference"]["accuracy"]["mean_logps"]
        figures = report["preference"]["models"][one.id]
        assert figures["own"] == alone["preference"]["accuracy"]["reward"]
        assert figures["common"] == alone["preference"]["accuracy"]["mean_logps"]
        assert figures["chosen_logps"] == pytest.approx(alone["preference"]["chosen_logps"], rel=1e-12)
        assert figures["margin"] == pytest.approx(alone["preference"]["margin"], rel=1e-12)
        parts = [part for part in figures["strata"] if part["by"] != "length_matched"]
        assert [(part["name"], part["own"]) for part in parts] == [
            (part["name"], part["accuracy"]) for part in alone["preference"]["strata"]
        ]
        replies, own = report["generation"]["models"][one.id], alone["generation"]
        assert replies["chars"] == own["chars"]
        assert replies["stopped"]["value"] == own["stopped"]
        assert replies["score"] == own["judge"]["mean"]
        assert replies["escalation"]["value"] == own["judge"]["escalation_rate"]


def test_win_rates_and_differences_are_what_the_lines_say(bench: Bench, judges: str) -> None:
    plan, report = compared(bench, seeds=(0, 1), evaluate={"judge": f"{judges}:score"})
    folder = plan.out / "evaluation"
    base = read_evaluation(folder / f"{BASE}.json")
    seeds = [read_evaluation(folder / f"simpo-seed{seed}.json") for seed in (0, 1)]
    outcomes = [
        0.5 * (1 + np.sign(ours["score"] - theirs["score"]))
        for seed in seeds
        for ours, theirs in zip(seed.replies, base.replies, strict=True)
    ]
    rate = report["generation"]["win_rates"][0]
    assert (rate["first"], rate["second"]) == ("simpo", BASE)
    assert rate["raw"]["value"] == pytest.approx(np.mean(outcomes))
    assert rate["raw"]["wins"] + rate["raw"]["ties"] + rate["raw"]["losses"] == 8
    own = [[float(pair["chosen_reward"] > pair["rejected_reward"]) for pair in seed.pairs] for seed in seeds]
    assert report["preference"]["models"]["simpo"]["own"]["value"] == pytest.approx(np.mean(own))
    assert report["preference"]["models"]["simpo"]["per_seed"]["own"] == pytest.approx(np.mean(own, axis=1))
    couples = [(each["first"], each["second"]) for each in report["preference"]["differences"]]
    assert couples == [("simpo", "dpo"), ("simpo", BASE), ("dpo", BASE)]
    first, second = (report["preference"]["models"][id_]["own"]["value"] for id_ in ("simpo", "dpo"))
    assert report["preference"]["differences"][0]["own"]["value"] == pytest.approx(first - second)


def test_the_file_is_the_report_and_holds_every_section(bench: Bench, judges: str) -> None:
    gsm = bench.write("sums.jsonl", [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(3)])
    plan, report = compared(bench, evaluate={"judge": f"{judges}:score", "regression": {"sums": gsm}})
    written = read_json(plan.out / "compare.json")
    assert written == json.loads(json.dumps(report))
    assert written["schema"] == 1 and written["problems"] == []
    assert written["data"]["num_pairs"] == 12 and written["data"]["num_prompts"] == 8
    assert (
        set(written["generation"]["models"]) == set(written["preference"]["models"]) == {BASE, "simpo", "dpo"}
    )
    assert len(written["generation"]["samples"]) == 4
    assert written["drift"]["models"]["simpo"]["chosen"]["value"] > 0
    assert written["drift"]["models"]["dpo"]["generated"]["value"] > 0
    (sums,) = written["regression"]
    assert (sums["name"], sums["num_items"], set(sums["changes"])) == ("sums", 3, {"simpo", "dpo"})
    assert [row["from"] for row in written["cost"]] == ["run", "run"]
    assert written["cost"][0]["parameters_held"] == written["cost"][1]["parameters_held"]
    assert written["verdict"]["paragraph"].startswith(written["verdict"]["headline"])
    assert written["methods"][1]["settings"] == {
        "method.name": "dpo", "method.beta": 0.1, "method.reference": "precomputed"
    }  # fmt: skip


def test_what_is_done_is_not_done_again(bench: Bench) -> None:
    plan, report = compared(bench)
    files = sorted((plan.out / "evaluation").iterdir())
    before = {path: path.stat().st_mtime_ns for path in files}
    events = [run.folder / "events.jsonl" for one in plan.contenders for run in one.runs]
    lines = [path.read_text(encoding="utf-8") for path in events]
    again = compare(plan, cost_steps=0)
    assert {path: path.stat().st_mtime_ns for path in sorted((plan.out / "evaluation").iterdir())} == before
    assert [path.read_text(encoding="utf-8") for path in events] == lines
    for key in ("preference", "generation", "drift", "methods", "verdict"):
        assert again[key] == report[key]


def test_other_settings_are_measured_anew(bench: Bench) -> None:
    compared(bench)
    report = compare(bench.plan(evaluate={"generate": 2}), cost_steps=0)
    assert report["generation"]["num_prompts"] == 2


def test_pairs_that_are_too_long_to_measure_are_left_out_of_the_count(bench: Bench) -> None:
    test = bench.folder / "test.jsonl"
    rows = [json.loads(text) for text in test.read_text(encoding="utf-8").splitlines()]
    test = Path(bench.write("longer.jsonl", [*rows, {**rows[0], "prompt": "why " * 500}]))
    sections: dict[str, Any] = {"data": {"test": str(test), "max_length": 128}, "evaluate": {"generate": 0}}
    recipes = ((f"{name}.yaml", bench.recipe(**sections, method={"name": name})) for name in ("simpo", "dpo"))
    plan = bench.plan(*recipes)
    bench.train(plan)
    data = compare(plan, cost_steps=0)["data"]
    assert (data["num_pairs"], data["num_prompts"], data["dropped"]) == (12, 8, {"overlong": 1})


def test_given_runs_are_compared_as_they_are_and_left_alone(bench: Bench) -> None:
    plan, report = compared(bench)
    folders = [run.folder for one in plan.contenders for run in one.runs]
    there = {path for folder in folders for path in folder.rglob("*")}
    given = make_plan([Given(str(path), run=path) for path in folders], bench.folder / "again")
    again = compare(given, cost_steps=0)
    assert again["preference"] == report["preference"]
    assert again["methods"][0]["runs"][0]["run"] == str(folders[0])
    assert {path for folder in folders for path in folder.rglob("*")} == there


def test_a_folder_with_a_run_of_other_settings_is_refused(bench: Bench) -> None:
    compared(bench)
    other = bench.plan(
        ("simpo.yaml", bench.recipe(train={"lr": 2e-2})), ("dpo.yaml", bench.recipe(method={"name": "dpo"}))
    )
    with pytest.raises(RecipeError, match=r"train.lr 0.01, asked for is 0.02"):
        compare(other, cost_steps=0)


def test_a_failed_run_is_told_and_the_others_are_shown(bench: Bench) -> None:
    plan = bench.plan(seeds=(0, 1))
    bench.train(plan)
    broken = plan.contenders[0].runs[1]
    RunFolder(broken.folder).update_lineage(status="failed")
    facts = train_all(make_plan_of_runs(plan))
    assert facts["simpo-seed1"].error == "is not finished (status failed)"
    report = compare(make_plan_of_runs(plan), cost_steps=0)
    assert report["problems"] == [{"where": "simpo-seed1", "message": "is not finished (status failed)"}]
    assert any("failed" in warning for warning in report["warnings"])
    statuses = [run["status"] for method in report["methods"] for run in method["runs"]]
    assert statuses == ["done", "failed", "done", "done"]
    assert len(report["preference"]["models"]["simpo"]["per_seed"]["own"]) == 1
    assert len(report["preference"]["models"]["dpo"]["per_seed"]["own"]) == 2


def make_plan_of_runs(plan: Plan) -> Plan:
    """The plan's runs as a user would name them."""
    folders = [run.folder for one in plan.contenders for run in one.runs]
    return make_plan([Given(str(path), run=path) for path in folders], plan.out)


def test_where_no_run_is_left_there_is_no_comparison(bench: Bench) -> None:
    plan = bench.plan()
    bench.train(plan)
    for one in plan.contenders:
        RunFolder(one.runs[0].folder).update_lineage(status="failed")
    with pytest.raises(RunFailed, match="every run failed"):
        compare(make_plan_of_runs(plan), cost_steps=0)


def test_a_run_whose_model_is_damaged_is_told(bench: Bench) -> None:
    plan = bench.plan(seeds=(0, 1))
    bench.train(plan)
    weights = next((plan.contenders[1].runs[0].folder / "checkpoints").rglob("model.safetensors"))
    weights.write_bytes(b"torn")
    report = compare(plan, cost_steps=0)
    (problem,) = report["problems"]
    assert problem["where"] == "dpo-seed0"


def test_a_judge_of_two_replies_is_asked_in_both_orders_and_once(
    bench: Bench, judges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = {"judge": f"{judges}:prefers_the_place"}
    plan, report = compared(bench, evaluate=wished)
    assert report["generation"]["judge"]["kind"] == "pair"
    module = __import__(judges)
    asked = list(module.CALLS)
    assert {(b, a) for a, b in asked} == set(asked)
    for rate in report["generation"]["win_rates"]:
        # Whoever stands first is preferred: that says nothing, and is seen.
        assert rate["raw"]["value"] == pytest.approx(0.5)
        differing = sum(
            a["reply"] != b["reply"]
            for a, b in zip(*(_replies(plan, rate[side]) for side in ("first", "second")), strict=True)
        )
        assert rate["agreement_of_orders"] == pytest.approx(1 - differing / 4)
    compare(plan, cost_steps=0)
    assert asked == module.CALLS  # its answers are kept


def _replies(plan: Plan, id_: str) -> tuple[dict[str, Any], ...]:
    name = BASE if id_ == BASE else f"{id_}-seed0"
    return read_evaluation(plan.out / "evaluation" / f"{name}.json").replies


def test_a_judge_that_fails_stops_before_anything_is_trained_or_is_told(bench: Bench, judges: str) -> None:
    with pytest.raises(RecipeError, match="no module"):
        compare(bench.plan(evaluate={"judge": "nowhere:score"}), cost_steps=0)
    assert not (bench.folder / "out").exists()
    plan = bench.plan(evaluate={"judge": f"{judges}:broken"})
    bench.train(plan)
    with pytest.raises(RunFailed, match="no connection"):
        compare(plan, cost_steps=0)


def test_runs_are_trained_in_processes_of_their_own_and_a_killed_one_is_gone_on_with(bench: Bench) -> None:
    plan = bench.plan(("simpo.yaml", bench.recipe()), ("ipo.yaml", bench.recipe(method={"name": "ipo"})))
    bench.train(plan)
    ipo = plan.contenders[1].runs[0]
    whole = [event["loss"] for event in read_events(ipo.folder / "events.jsonl") if event["event"] == "step"]
    shutil.rmtree(ipo.folder / "checkpoints")
    (ipo.folder / "checkpoints").mkdir()
    RunFolder(ipo.folder).update_lineage(status="running")
    seen: list[str] = []
    facts = train_all(plan, listen=lambda event: seen.append(event["event"]))
    assert facts["ipo-seed0"].error is None
    assert seen.count("step") == 4 and "stop" in seen
    again = [event["loss"] for event in read_events(ipo.folder / "events.jsonl") if event["event"] == "step"]
    assert again == pytest.approx(whole)
    assert set(measure_all(plan, facts).runs) == {"simpo-seed0", "ipo-seed0"}
