"""`simpo build` and `simpo data`, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.cli import app
from simpo.data.version import listed_ids, open_version
from tests.build.made import pair, pairs, write_rows


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", [*pairs(80), "not json", pair(3)])


def run_json(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> dict[str, Any]:
    assert app.main([*map(str, words), "--json"]) == status
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_build_prints_every_stage_with_its_count(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["build", str(rows), "--out", str(tmp_path / "v")]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["rows", "read", "82"] in lines and ["left", "out", "1", "bad_json"] in lines
    assert ["dropped", "1", "exact_duplicate"] in lines
    sizes = {
        words[0]: int(words[1]) for words in lines if words and words[0] in ("train", "validation", "test")
    }
    assert sum(sizes.values()) == 80 and set(sizes) == {"train", "validation", "test"}
    assert f"wrote {tmp_path / 'v'}" in err


def test_options_reach_the_manifest(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_json(
        capsys, "build", rows, "--out", tmp_path / "v", "--repair", "none", "--split", "0.6/0.2/0.2", "--seed", "5",
        "--stratify", "exact", "--group", "exact", "--balance-lengths", "subsample", "--jsonl", "--limit", "40",
    )  # fmt: skip
    assert said["settings"]["repair"] == ["none"] and said["format"] == "jsonl"
    assert said["split_rule"].items() >= {"seed": 5, "validation": 0.2, "test": 0.2, "group": "exact"}.items()
    assert said["counts"]["pairs_read"] == 40
    assert said["lengths"]["after"]["longer_chosen"] == 0.5
    assert said["path"] == str(tmp_path / "v")


def test_a_recipe_can_be_printed_written_down_and_built(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["build", str(rows), "--out", str(tmp_path / "v"), "--seed", "2", "--show-recipe"]) == 0
    recipe = tmp_path / "build.yaml"
    recipe.write_text(capsys.readouterr().out)
    assert not (tmp_path / "v").exists()
    said = run_json(capsys, "build", recipe)
    assert said["split_rule"]["seed"] == 2 and said["path"] == str(tmp_path / "v")
    again = run_json(capsys, "build", recipe, "--out", tmp_path / "w", "--seed", "3")
    assert again["split_rule"]["seed"] == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["{rows}"], 2, "output is missing"),
        (["{rows}", "--out", "{v}", "--split", "0.9/0.2/0.1"], 2, "is not three shares that add up to 1"),
        (["{rows}", "--out", "{v}", "--split", "x"], 2, "is not three shares"),
        (["{rows}", "--out", "{v}", "--repair", "typos"], 2, "there is no repair of 'typos'"),
        (["{rows}", "--out", "{v}", "--map", "prompt"], 2, "is not NAME=COLUMN"),
        (["{rows}", "--out", "{v}", "--parent", "{nope}"], 3, "no such folder"),
        (["{nope}.jsonl", "--out", "{v}"], 3, "no such file"),
        (["{rows}", "--out", "{rows}"], 2, "exists already"),
        (["{rows}", "--out", "{rows}/v"], 2, "cannot write here"),
        (["{nope}.yaml"], 2, "cannot read the recipe"),
    ],
)
def test_what_cannot_be_built_says_why(
    words: list[str],
    status: int,
    message: str,
    rows: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"rows": rows, "v": tmp_path / "v", "nope": tmp_path / "nope"}
    assert app.main(["build", *(word.format(**places) for word in words)]) == status
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_show_says_what_a_version_is(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["build", str(rows), "--out", str(tmp_path / "v")]) == 0
    capsys.readouterr()
    assert app.main(["data", "show", str(tmp_path / "v")]) == 0
    out = capsys.readouterr().out
    assert "pairs.jsonl" in out and "billing" in out and "split by seed 0" in out
    said = run_json(capsys, "data", "show", tmp_path / "v")
    assert said["hash"] == open_version(tmp_path / "v").hash and said["sources"][0]["name"] == "pairs.jsonl"
    assert app.main(["data", "show", str(tmp_path)]) == 3


def test_verify_ends_with_4_and_names_file_and_row(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "v"
    assert app.main(["build", str(rows), "--out", str(folder), "--jsonl"]) == 0
    assert app.main(["data", "verify", str(folder)]) == 0
    assert "80 pairs are what was written" in capsys.readouterr().out
    path = folder / "train.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    row["chosen"][0]["content"] += "!"
    path.write_text("\n".join([*lines[:2], json.dumps(row), *lines[3:]]) + "\n")
    assert app.main(["data", "verify", str(folder)]) == 4
    out, err = capsys.readouterr()
    row_id = listed_ids(open_version(folder))["train"][2]
    assert f"{path}:3: the prompt or a reply was changed (row {row_id}" in out
    assert "not what was built: 1 difference" in err
    said = run_json(capsys, "data", "verify", folder, status=4)
    assert said["whole"] is False and said["problems"][0]["where"] == f"{path}:3"


def test_diff_counts_added_removed_relabelled_and_moved_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = pairs(80)
    turned = {**old[7], "chosen": old[7]["rejected"], "rejected": old[7]["chosen"]}
    new = [*old[3:7], turned, *old[8:], *pairs(5, start=80)]
    for name, listed in (("a", old), ("b", new)):
        path = write_rows(tmp_path / f"{name}.jsonl", listed)
        assert app.main(["build", str(path), "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()
    said = run_json(capsys, "data", "diff", tmp_path / "a", tmp_path / "b")
    counts = {name: said[name]["count"] for name in ("added", "removed", "relabelled", "moved")}
    assert counts == {"added": 5, "removed": 3, "relabelled": 1, "moved": 0} and said["same"] == 76
    (example,) = said["relabelled"]["examples"]
    assert example["chosen"] == old[7]["rejected"] and example["before"] and example["after"]
    assert app.main(["data", "diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "relabelled" in capsys.readouterr().out
    path = tmp_path / "a.jsonl"
    assert app.main(["build", str(path), "--out", str(tmp_path / "c"), "--seed", "9"]) == 0
    capsys.readouterr()
    moved = run_json(capsys, "data", "diff", tmp_path / "a", tmp_path / "c")
    assert moved["moved"]["count"] == sum(moved["moved"]["by_split"].values()) > 0
    assert moved["same"] + moved["moved"]["count"] == 80 and moved["added"]["count"] == 0
