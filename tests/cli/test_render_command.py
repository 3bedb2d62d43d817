"""`simpo render`: what it shows, that it is legible without colours, and that a broken rendering ends with 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simpo.cli import app
from tests.conftest import CHAT_TEMPLATE

PAIRS = [
    {
        "prompt": f"Where is parcel {number}? <|im_end|>",
        "chosen": f"On its way,\nday {number}.",
        "rejected": "No idea.",
    }
    for number in range(6)
]


@pytest.fixture
def recipe(tiny_model_dir: Path, tmp_path: Path) -> Path:
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"model: {{name: {json.dumps(str(tiny_model_dir))}}}\n"
        f"data: {{train: {json.dumps(str(tmp_path / 'pairs.jsonl'))}, validation_fraction: 0.2}}\n"
        f"output: {json.dumps(str(tmp_path / 'run'))}\n"
    )
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert app.main(["render", *words]) == status
    return capsys.readouterr().out


def test_rows_are_shown_with_what_is_scored_set_off(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, str(recipe), "--num", "1").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("prompt  "))
    assert lines[place - 1].endswith("pairs.jsonl:1") and lines[place].endswith("tokens, not scored")
    assert lines[place + 1 : place + 4] == [
        "│ <|im_start|>user↵",
        "│ Where is parcel 0? <|im_end|><|im_end|>↵",
        "│ <|im_start|>assistant↵",
    ]
    assert lines[place + 4].startswith("chosen  ") and lines[place + 4].endswith(" tokens, scored")
    assert lines[place + 5 : place + 7] == ["┃ On its way,↵", "┃ day 0.⟦<|im_end|>⟧"]
    assert lines[place + 8] == "┃ No idea.⟦<|im_end|>⟧"
    assert "⟦stop⟧ scored too" in "\n".join(lines)  # the legend


def test_all_rows_are_counted_and_checked(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(recipe), "--num", "0", "--set", "data.max_length=60")
    assert text.count("✓") == 4 and "✗" not in text
    assert "prompt  " not in text.split("lengths in tokens")[0]
    assert "train" in text and "validation" in text


def test_rows_that_do_not_fit_are_counted_by_reason(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"prompt": "Why?", "chosen": "So. " * 300, "rejected": "No."}
    with (recipe.parent / "pairs.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")
    result = json.loads(
        shown(
            capsys,
            str(recipe),
            "--json",
            "--set",
            "data.max_length=200",
            "--set",
            "data.validation_fraction=0",
        )
    )
    assert result["data"]["train"]["dropped"] == {"overlong": 1}
    assert (result["data"]["train"]["rows"], result["data"]["train"]["rendered"]) == (7, 6)
    assert "1 overlong" in shown(
        capsys, str(recipe), "--set", "data.max_length=200", "--set", "data.validation_fraction=0"
    )


def test_json_holds_the_tokens_and_the_checks(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result: dict[str, Any] = json.loads(shown(capsys, str(recipe), "--num", "2", "--json"))
    assert len(result["pairs"]) == 2
    assert "".join(token["text"] for token in result["pairs"][0]["rejected"]) == "No idea.<|im_end|>"
    assert [check["passed"] for check in result["checks"]] == [True] * 4
    assert result["stop_tokens"] == ["<|im_end|>"]
    assert set(result["data"]["train"]["tokens"]) == {"prompt", "chosen", "rejected"}


def test_long_prompts_are_shortened_unless_asked_for(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"prompt": "\n".join(f"line {number}" for number in range(40)), "chosen": "So.", "rejected": "No."}
    (recipe.parent / "pairs.jsonl").write_text(json.dumps(long) + "\n")
    words = (str(recipe), "--set", "data.validation_fraction=0")
    text = shown(capsys, *words)
    assert "more lines: --full shows them" in text and "line 20" not in text
    assert "line 20" in shown(capsys, *words, "--full")


def test_what_a_row_holds_cannot_move_the_cursor(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"prompt": "clear \x1b[2J [red]x[/red]", "chosen": "a\r\tb", "rejected": "No."}
    (recipe.parent / "pairs.jsonl").write_text(json.dumps(odd) + "\n")
    text = shown(capsys, str(recipe), "--set", "data.validation_fraction=0")
    assert "\x1b" not in text and "\\x1b[2J [red]x[/red]" in text
    assert "a\\x0d→b" in text


def test_examples_are_shown_as_completions(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "pairs.jsonl").write_text(
        json.dumps({"prompt": "Why?", "completion": "Because."}) + "\n"
    )
    text = shown(capsys, str(recipe), "--set", "method.name=sft", "--set", "data.validation_fraction=0")
    assert "completion  " in text and "chosen" not in text and "rejected" not in text


def test_a_template_that_writes_into_every_reply_is_noted(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = recipe.parent / "think.jinja"
    template.write_text(
        CHAT_TEMPLATE.replace(
            "message['role'] + '\\n' +",
            "message['role'] + '\\n' + ('Well: ' if message['role'] == 'assistant' else '') +",
        )
    )
    text = shown(capsys, str(recipe), "--set", f"data.template={template}")
    assert "note: the chat template writes 'Well: ' before each reply" in text


def test_a_template_that_writes_the_date_is_noted(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = recipe.parent / "dated.jinja"
    template.write_text("{{ strftime_now('%Y') }}\n" + CHAT_TEMPLATE)
    assert "other tokens" in shown(capsys, str(recipe), "--set", f"data.template={template}")
    assert "note:" not in shown(capsys, str(recipe))


def test_prompts_that_were_trimmed_are_noted(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [{"role": role, "content": "word " * 40} for role in ("user", "assistant", "user")]
    with (recipe.parent / "pairs.jsonl").open("w") as file:
        file.write(json.dumps({"prompt": turns, "chosen": "So.", "rejected": "No."}) + "\n")
    words = ("data.trim_turns=true", "data.max_length=150", "data.validation_fraction=0")
    text = shown(capsys, str(recipe), *(part for word in words for part in ("--set", word)))
    assert "note: 1 prompts of train lost their oldest turns" in text


@pytest.fixture
def broken(recipe: Path) -> Path:
    """A template that writes its first token twice, where the tokenizer has it for a BOS."""
    template = recipe.parent / "twice.jinja"
    template.write_text("{{ '<|pad|><|pad|>' }}" + CHAT_TEMPLATE)
    model = recipe.parent / "model"
    model.mkdir()
    source = Path(
        json.loads(recipe.read_text().splitlines()[0].removeprefix("model: {name: ").removesuffix("}"))
    )
    for path in source.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": "<|pad|>"}))
    return model


def test_a_check_that_fails_is_shown_and_ends_with_4(
    recipe: Path, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        str(recipe),
        "--set",
        f"model.name={broken}",
        "--set",
        f"data.template={recipe.parent / 'twice.jinja'}",
    ]
    assert app.main(["render", *words]) == 4
    captured = capsys.readouterr()
    assert captured.out.count("✗") == 1 and captured.out.count("✓") == 3
    assert "✗ no prompt begins with two BOS" in captured.out
    assert captured.err.startswith("what was rendered is not as it must be: no prompt begins with two BOS")

    result = json.loads(shown(capsys, *words, "--json", status=4))
    assert [check["passed"] for check in result["checks"]] == [True, False, True, True]


def test_data_and_recipes_that_cannot_be_used_end_as_everywhere(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(capsys, str(recipe.parent / "none.yaml"), status=2)
    shown(capsys, str(recipe), "--set", "model.name=/nowhere", status=2)
    shown(capsys, str(recipe), "--set", "data.train=/nowhere.jsonl", status=3)
    shown(capsys, str(recipe), "--set", "data.max_length=3", status=3)
    shown(capsys, str(recipe), "--set", "data.max_length=3", "--set", "data.overlong=error", status=3)


def test_no_weight_is_loaded(recipe: Path, broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (broken / "model.safetensors").unlink()
    assert "✓" in shown(capsys, str(recipe), "--set", f"model.name={broken}")
