"""Tokens and passwords reach no run folder, no report and no sweep's folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from simpo.errors import RunFailed
from simpo.report.pages import write_page
from simpo.runs.events import EventLog, read_events
from simpo.runs.folder import write_json
from simpo.runs.secrets import without_credentials, without_secrets
from simpo.train.run import train
from tests.train.made_up import Trained, Workshop

# Put together here, so that no scanner of repositories takes them for somebody's.
HUB = "hf" + "_" + "abcdefghijABCDEFGHIJ0123456789"
WANDB = "0123456789abcdef" * 2 + "01234567"


def everything_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_writes_no_secret_that_its_environment_or_its_command_line_holds(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", HUB)
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    monkeypatch.setenv("DB_PASSWORD", "a password's bytes!".replace(" ", "-"))
    words = [
        "simpo",
        "train",
        "r.yaml",
        "--note",
        f"https://me:{WANDB}@host/x",
        "postgresql://u:s3cr3t@db/sweeps",
        HUB,
    ]
    monkeypatch.setattr(sys, "argv", words)

    def fail(run: object, prepared: object) -> None:
        raise RunFailed(
            f"the judge said 401 for token {HUB} at https://u:hunter2hunter2@judge.example/v1 ({WANDB})"
        )

    def tell(event: dict[str, object]) -> None:
        if event["event"] == "step":
            raise RunFailed(f"the drive said {WANDB}, a-password's-bytes! and mysql://me:hunter2hunter2@h/db")

    with pytest.raises(RunFailed):
        train(workshop.recipe("early"), before=fail)
    with pytest.raises(RunFailed):
        train(workshop.recipe("run"), listen=tell)
    for name in ("early", "run"):
        written = everything_below(workshop.folder / name)
        for secret in (HUB, WANDB, "s3cr3t", "hunter2hunter2", "a-password's-bytes!"):
            assert secret.encode() not in written, (name, secret)
    run = Trained(workshop.folder / "run")
    assert run.folder.lineage()["command"][-2:] == ["postgresql://u:***@db/sweeps", "***"]
    assert run.events("failed")[0]["message"].endswith("the drive said ***, *** and mysql://me:***@h/db")


def test_json_pages_and_events_are_written_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WANDB)
    write_json(tmp_path / "sweep.json", {"error": f"refused {WANDB}"})
    write_page(tmp_path / "report.html", f"<p>{WANDB}</p>")
    log = EventLog(tmp_path / "events.jsonl")
    log.append("note", step=0, message=f"said {WANDB}", samples=[f"a reply with {WANDB}"])
    assert WANDB.encode() not in everything_below(tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text()) == {"error": "refused ***"}
    assert read_events(tmp_path / "events.jsonl")[0]["samples"] == ["a reply with ***"]


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("HF_TOKEN", "x" * 20, True),
        ("hf_token", "x" * 20, True),
        ("AWS_SECRET_ACCESS_KEY", "x" * 20, True),
        ("OPENAI_API_KEY", "x" * 20, True),
        ("TOKENIZERS_PARALLELISM", "x" * 20, False),
        ("SIMPO_TEST_DATA", "x" * 20, False),
        ("PASSWORD", "parcel", False),  # a word of the texts, as likely as not
        ("SSH_SECRET", "/home/me/secret-file", False),
        ("DB_PASSWORD", "four words are text", False),
    ],
)
def test_a_variable_is_a_secret_by_its_name_and_its_value(
    name: str, value: str, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert (without_secrets(f"before {value} after") == "before *** after") is hidden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://u:p%40ss@db:5432/s", "postgresql+psycopg://u:***@db:5432/s"),
        ("redis://:pw@h", "redis://:***@h"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
        ("http://host:8080/path", "http://host:8080/path"),
        ("at 12:30 me@example.com wrote", "at 12:30 me@example.com wrote"),
        (f"--token={HUB}", "--token=***"),
    ],
)
def test_a_url_keeps_all_but_its_password(text: str, expected: str) -> None:
    assert without_credentials(text) == expected
