"""What both children share: the job they read, the line they print, and how steps, tokens and memory are measured.

The standard library alone: TRL's environment holds nothing of ours.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

MAX_LENGTH = 2048
ADAPTER_R, ADAPTER_ALPHA = 16, 32
DPO_BETA = 0.1
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "numpy")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a side cuts a global batch: pairs of one forward, and whether activations are recomputed in backward.

    micro_batch_size 0 leaves the cut to the side itself: our budget of tokens.
    """

    micro_batch_size: int
    checkpointing: bool = False

    def __str__(self) -> str:
        cut = f"{self.micro_batch_size} at a time" if self.micro_batch_size else "by tokens"
        return f"{cut}{', checkpointing' if self.checkpointing else ''}"


@dataclass(frozen=True, slots=True)
class Job:
    """One process's work: `steps` steps of `batch_size` pairs.

    model: a folder. pairs: JSON lines in the conversational format, steps * batch_size of them.
    weights: full or lora; ours alone also what `run_simpo.WAYS` names.
    precision: float32, autocast (float32 weights, bfloat16 forward), pure (bfloat16 weights, no autocast) or
    bf16_matmul (ours alone: float32 tensors multiplied in bfloat16). gamma in nats per token. method: simpo, dpo_live
    or dpo_precomputed. rounding: ours alone, for pure. tokens: where TRL's side writes its first batch's token ids.
    without: ours alone, ideas to leave out (`run_simpo.IDEAS`).
    """

    model: str
    pairs: str
    scratch: str
    weights: str
    precision: str
    batch_size: int
    steps: int
    setting: Setting
    beta: float = 2.0
    gamma: float = 0.5
    lr: float = 1e-6
    tokens: str | None = None
    method: str = "simpo"
    rounding: str | None = None
    without: tuple[str, ...] = ()
    device: str = "cpu"

    def write(self, path: Path) -> None:
        """Write the job where `read` finds it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> Job:
        """The job that `write` wrote."""
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        given = {"setting": Setting(**fields["setting"]), "without": tuple(fields["without"])}
        return cls(**{**fields, **given})


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process measured: the JSON line it prints.

    seconds: of each step, from the end of the one before (the first from the start of training), so that batching and
    logging count. tokens_scored: completion tokens in the loss, of each step. tokens_forwarded: what went through the
    model, padding included, of each step. peak_rss_bytes: highest resident memory from the start of training to the end
    of the last step; process_peak_rss_bytes: loading included. On a GPU both are bytes allocated there.
    """

    side: str
    setting: Setting
    seconds: tuple[float, ...]
    pairs_per_step: int
    tokens_scored: tuple[int, ...]
    tokens_forwarded: tuple[int, ...]
    peak_rss_bytes: int
    process_peak_rss_bytes: int
    first_loss: float
    versions: dict[str, str]

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Measured:
        """The record of a line. Raises ValueError, TypeError or KeyError for anything else."""
        fields = json.loads(line)
        lists = {name: tuple(fields[name]) for name in ("seconds", "tokens_scored", "tokens_forwarded")}
        return cls(**{**fields, **lists, "setting": Setting(**fields["setting"])})


@dataclass(slots=True)
class Meter:
    """Counts steps as they end: seconds, tokens forwarded, and the peak of resident memory."""

    seconds: list[float] = field(default_factory=list)
    tokens_forwarded: list[int] = field(default_factory=list)
    before_bytes: int = 0
    peak_bytes: int = 0
    _tokens: int = 0
    _last: float = 0.0

    def watch(self, model: Any) -> None:
        """Count every token id that reaches the model's embedding: once a forward, recomputed or not."""
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        self._tokens += int(inputs[0].numel())

    def start(self) -> None:
        """Training begins now; what loading took is kept apart."""
        self.before_bytes = peak_rss_bytes()
        reset_peak_rss()
        self._tokens, self._last = 0, time.perf_counter()

    def step_ended(self) -> None:
        """A step ended now."""
        if gpu() is not None:
            gpu().synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self.tokens_forwarded.append(self._tokens)
        self.peak_bytes = peak_rss_bytes()
        self._tokens, self._last = 0, now

    def measured(
        self,
        side: str,
        setting: Setting,
        *,
        pairs_per_step: int,
        tokens_scored: Iterable[int],
        first_loss: float,
    ) -> Measured:
        """The record of a finished run."""
        return Measured(
            side,
            setting,
            tuple(self.seconds),
            pairs_per_step,
            tuple(tokens_scored),
            tuple(self.tokens_forwarded),
            self.peak_bytes,
            max(self.before_bytes, self.peak_bytes),
            first_loss,
            versions(side),
        )


def versions(side: str) -> dict[str, str]:
    """Python and the libraries that decide a step's speed, the side's own first."""
    found = {"python": platform.python_version()}
    for name in (side, *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def gpu() -> Any:
    """torch's handle on a GPU that this process uses, or None. torch is not loaded for the question."""
    torch = sys.modules.get("torch")
    return (
        torch.cuda
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
        else None
    )


def peak_rss_bytes() -> int:
    """Highest resident memory of this process since the last reset (where there is no /proc, since its start)."""
    if gpu() is not None:
        return int(gpu().max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_rss() -> None:
    """Let the peak begin anew at what is resident now."""
    if gpu() is not None:
        gpu().reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not permitted: the peak then covers loading too
        return


def claim_stdout() -> TextIO:
    """A stream to the true stdout; whatever libraries print there from now on goes to stderr."""
    sys.stdout.flush()
    claimed = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return claimed
