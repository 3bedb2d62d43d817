"""The card of an export: a header that the hub reads, figures that were measured, text that stays text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, constants

from simpo.release.card import read_license
from simpo.release.export import export_run
from simpo.release.lineage import data_name
from simpo.release.loading import BASE_FOLDER, THIS_FOLDER
from simpo.release.markdown import plain, table
from simpo.runs.folder import write_json
from tests.release.conftest import LORA, SHORT
from tests.train.made_up import Workshop, pair_rows, write_rows


def header(folder: Path) -> dict[str, Any]:
    """The YAML header as the hub's own library reads it."""
    data: Any = ModelCard((folder / "README.md").read_text(encoding="utf-8")).data
    return dict(data.to_dict())


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_header_says_what_the_hub_wants_to_know_and_carries_the_hashes(
    lora_run: Path, sft_run: Path, shop: Workshop, tmp_path: Path
) -> None:
    result = export_run(lora_run, tmp_path / "merged")
    lineage = json.loads((lora_run / "run.json").read_text())
    found = header(tmp_path / "merged")
    ours = found.pop("simpo")
    assert found == {
        "library_name": "transformers",
        "base_model": shop.model.name,
        "base_model_relation": "finetune",
        "pipeline_tag": "text-generation",
        "tags": ["simpo", "preference-optimization"],
    }
    assert ours["data_hash"] == lineage["data"]["train"]["hash"]
    assert ours["start_model_hash"] == ours["base_model_hash"] == lineage["model"]["hash"]
    assert ours["model_hash"] == result.hash
    export_run(lora_run, tmp_path / "adapter", kind="adapter")
    found = header(tmp_path / "adapter")
    assert (found["library_name"], found["base_model_relation"]) == ("peft", "adapter")
    export_run(sft_run, tmp_path / "sft")
    assert header(tmp_path / "sft")["tags"] == ["simpo", "sft"]


def test_the_card_tells_data_method_and_parents_and_no_path_of_this_machine(
    stacked_run: Path, lora_run: Path, shop: Workshop, tmp_path: Path
) -> None:
    export_run(stacked_run, tmp_path / "out", kind="adapter")
    card = card_of(tmp_path / "out")
    lineage = json.loads((stacked_run / "run.json").read_text())
    assert lineage["data"]["train"]["hash"] in card
    assert "train-pairs-20.jsonl | 20 | none |" in card
    assert "gamma 0.5 nats per token (reward margin 1)" in card
    assert "| train.lr | 0.01 |" in card
    assert "| adapter.r | 4 |" in card
    stages = [line.split(" | ")[:2] for line in card.splitlines() if " | simpo: beta 2" in line]
    assert stages == [["| preference", "lora"], ["| preference", "stacked"]]
    shipped = (tmp_path / "out" / "simpo.json").read_text()
    for folder in (shop.folder, shop.model.parent, tmp_path):
        assert str(folder) not in card
        assert str(folder) not in shipped
    export_run(stacked_run, tmp_path / "merged")
    for file in (tmp_path / "merged").iterdir():
        assert str(shop.folder.parent).encode() not in file.read_bytes(), file.name
    chain = json.loads(shipped)["lineage"]
    assert [stage["stage"] for stage in chain] == ["model", "preference", "preference", "export"]
    parent = json.loads((lora_run / "run.json").read_text())
    assert chain[0]["model_hash"] == chain[1]["start_model_hash"] == parent["model"]["hash"]
    assert chain[2]["start_model_hash"] == lineage["model"]["hash"]


def test_the_name_of_a_data_set_is_told_without_the_folders_it_lies_in() -> None:
    told = {
        "/home/me/a.jsonl": "a.jsonl",
        "~/b.json (train part)": "b.json (train part)",
        "data/pairs.jsonl.gz": "pairs.jsonl.gz",
        "../x/a.parquet, deep/er/b.jsonl (validation part)": "a.parquet, b.jsonl (validation part)",
        "acme/preferences": "acme/preferences",
        "acme/preferences:test": "acme/preferences:test",
        "": "unnamed",
    }
    assert {name: data_name({"name": name}) for name in told} == told


def run_snippet(folder: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the program in the card prints, its placeholders filled in."""
    (code,) = re.findall(r"```python\n(.*?)```", card_of(folder), flags=re.DOTALL)
    code = code.replace(THIS_FOLDER, str(folder)).replace(BASE_FOLDER, str(base))
    exec(compile(code.replace("max_new_tokens=256", "max_new_tokens=12"), "card", "exec"), {})
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_the_program_in_the_card_runs_and_every_kind_of_export_replies_the_same(
    stacked_run: Path, lora_run: Path, shop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in (lora_run, stacked_run):
        replies = set()
        for kind in ("merged", "adapter"):
            out = tmp_path / f"{run.name}-{kind}"
            export_run(run, out, kind="adapter" if kind == "adapter" else "merged")
            replies.add(run_snippet(out, shop.model, capsys))
        assert len(replies) == 1


def test_a_model_trained_on_plain_text_is_loaded_without_a_template(
    shop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shop.train("plain", train=SHORT, data={"template": "none"}).path
    export_run(run, tmp_path / "out")
    assert "do not use a chat template" in card_of(tmp_path / "out")
    assert "apply_chat_template" not in card_of(tmp_path / "out")
    run_snippet(tmp_path / "out", shop.model, capsys)


def test_the_figures_before_and_after_stand_side_by_side_with_their_intervals(
    full_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(full_run, tmp_path / "run"))
    for label, value in (("before", 0.61), ("after", 0.74)):
        estimate = {"value": value, "low": value - 0.05, "high": value + 0.05}
        content: dict[str, Any] = {
            "schema": 1,
            "label": label,
            "data": {"name": "/home/me/test.jsonl", "hash": "a" * 64},
            "preference": {
                "num_pairs": 600,
                "num_prompts": 400,
                "accuracy": {"reward": estimate, "mean_logps": estimate, "total_logps": estimate},
                "strata": [
                    {"by": "longer", "name": "chosen is shorter", "num_pairs": 9, "accuracy": estimate}
                ],
            },
            "generation": {"chars": {"median": 340}, "stopped": 0.99, "repeated_4gram": 0.01, "judge": None},
            "win_rate": None,
        }
        if label == "after":
            content["win_rate"] = {"against": "before", "value": 0.6, "wins": 6, "ties": 0, "losses": 4}
        write_json(run / "evaluation" / f"{label}.json", content)
    export_run(run, tmp_path / "out")
    card = card_of(tmp_path / "out")
    reward = "| pairwise accuracy, by the method's reward | 61.0 % (56.0 to 66.0) | 74.0 % (69.0 to 79.0) |"
    assert reward in card
    assert "| accuracy, chosen is shorter | 61.0 % (56.0 to 66.0) | 74.0 % (69.0 to 79.0) |" in card
    assert "| median reply length, characters | 340 | 340 |" in card
    assert "| win rate against before (6 won, 0 tied, 4 lost) |  | 60.0 % |" in card
    assert "600 pairs with 400 prompts of test.jsonl" in card
    assert "judge" not in card


def test_a_run_without_evaluation_shows_what_validation_said(full_run: Path, tmp_path: Path) -> None:
    export_run(full_run, tmp_path / "out")
    card = card_of(tmp_path / "out")
    assert "| measure | step 0 | step " in card
    assert "on the data that chose the checkpoint" in card


def test_names_of_data_and_models_stay_text(shop: Workshop, tmp_path: Path) -> None:
    name = "a|b<script>alert(1)<!--[x](http:x)*`_.jsonl"
    data = write_rows(tmp_path / name, pair_rows(12))
    model = Path(shutil.copytree(shop.model, tmp_path / "m | <b>*"))
    run = shop.train(
        "<i>|run", train=SHORT, data={"train": data, "validation": None}, model={"name": str(model)}
    ).path
    export_run(run, tmp_path / "out")
    card = card_of(tmp_path / "out")
    body = card.split("---\n", 2)[2]
    assert not re.search(r"<(?!!--)[a-z]|<!--|\]\(", body.replace("\\[x\\](", ""))
    assert "# &lt;i&gt;\\|run" in body
    rows = [line for line in body.splitlines() if line.startswith("| train |")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6]
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "m | <b>*"


def test_text_is_escaped_where_markdown_or_html_would_read_it() -> None:
    assert plain("a|b\nc\x1b[31m") == "a\\|b c \\[31m"
    assert plain("<img src=x> & *b* _i_ `c` ~s~") == "&lt;img src=x&gt; &amp; \\*b\\* \\_i\\_ \\`c\\` \\~s\\~"
    assert plain("data.on_bad_row 0.5 -1") == "data.on_bad_row 0.5 -1"
    assert (
        plain("see https://x.y or www.x.y or @me").replace("\u200b", "^")
        == "see https^://x.y or www^.x.y or @^me"
    )
    assert plain("x" * 1000) == "x" * 300 + " (cut)"
    assert table(("a", "b"), [("1|2", 3)]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n"


def test_the_licence_is_that_of_the_base_models_card(shop: Workshop, tmp_path: Path) -> None:
    model = Path(shutil.copytree(shop.model, tmp_path / "model"))
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: mine\nlanguage: en\n---\n# Card\n")
    run = shop.train("licensed", train=SHORT, model={"name": str(model)}).path
    export_run(run, tmp_path / "out")
    found = header(tmp_path / "out")
    assert (found["license"], found["license_name"]) == ("other", "mine")
    assert "language" not in found
    assert "That of the base model, as its card states it: other." in card_of(tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["", "no header", "---\nlicense: x\n", "---\n- a\n---\n", "---\n: [\n---\n", "---\na: 1\n---\n"]
)
def test_a_card_without_a_licence_gives_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_license(tmp_path / "README.md") == {}


def test_without_the_base_models_card_the_licence_is_left_out_and_this_is_said(
    full_run: Path, tmp_path: Path
) -> None:
    export_run(full_run, tmp_path / "out")
    assert "license" not in header(tmp_path / "out")
    assert "None is stated here" in card_of(tmp_path / "out")


def test_a_base_from_the_hub_is_named_by_its_id_and_commit(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "cache" / "models--acme--tiny"
    shutil.copytree(shop.model, cached / "snapshots" / commit)
    (cached / "snapshots" / commit / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    run = shop.train("from-hub", train=SHORT, adapter=LORA, model={"name": "acme/tiny"}).path
    export_run(run, tmp_path / "out", kind="adapter")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/tiny", commit)
    found = header(tmp_path / "out")
    assert (found["base_model"], found["license"]) == ("acme/tiny", "apache-2.0")
    assert f'from_pretrained("acme/tiny", revision="{commit}", dtype="float32")' in card_of(tmp_path / "out")
