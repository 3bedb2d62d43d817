"""How cost grows: seconds a pair and peak memory by tokens, by rows of the data set, and by pairs of a batch."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.child import Meter, claim_stdout
from benchmarks.processes import ROOT
from benchmarks.saved import save_result

TOKENS = (128, 512, 2048, 8192)
ROWS = (100, 1_000, 10_000, 100_000)
BATCHES = (4, 16, 64)
STEPS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One training of a few steps: words of each answer (about a token each), rows of the file, pairs of a batch."""

    sweep: str
    model: str
    words: int
    rows: int
    batch_size: int


def points(model: str, small: str) -> list[Point]:
    """The three sweeps. Rows and batches are swept on a small random model, where anything but the model would show."""
    return [
        *(Point("tokens", model, words, STEPS, 1) for words in TOKENS),
        *(Point("rows", small, 60, rows, 8) for rows in ROWS),
        *(Point("batch", model, 60, STEPS * size, size) for size in BATCHES),
    ]


def write_pairs(point: Point, path: Path) -> None:
    """Pairs of a prompt of 40 words and two answers; no two rows are alike."""
    words = (
        "the",
        "and",
        "of",
        "to",
        "in",
        "that",
        "was",
        "his",
        "he",
        "it",
        "with",
        "is",
        "for",
        "as",
        "had",
    )

    def text(start: int, count: int) -> str:
        return " ".join(words[(start * 7 + place * place) % len(words)] for place in range(count))

    with path.open("w", encoding="utf-8") as file:
        for row in range(point.rows):
            line = {
                "prompt": f"Question {row}: {text(row, 40)}?",
                "chosen": f"Answer {row}: {text(row + 1, point.words)}.",
                "rejected": f"Reply {row}: {text(row + 2, point.words)}.",
            }
            file.write(json.dumps(line) + "\n")


def small_model(source: Path, folder: Path) -> None:
    """A random Llama of two layers with the tokenizer of `source`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(point: Point) -> dict[str, Any]:
    """Train a few steps in this process and measure each."""
    from simpo.recipe import LoadedRecipe, Recipe
    from simpo.train.run import train

    class Enough(Exception):
        """The last step was measured."""

    meter = Meter()
    steps: list[dict[str, Any]] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] in ("scorer", "budget"):
            meter.start()
        elif event["event"] == "step":
            meter.step_ended()
            steps.append(event)
            if len(steps) == STEPS:
                raise Enough

    with tempfile.TemporaryDirectory(prefix="simpo-scaling-") as folder:
        pairs = Path(folder) / "pairs.jsonl"
        write_pairs(point, pairs)
        recipe = Recipe.model_validate(
            {
                "output": str(Path(folder) / "run"),
                "model": {"name": point.model},
                "data": {"train": str(pairs), "validation_fraction": 0, "max_length": 32768},
                "guard": {"prompts": 0},
                "train": {
                    "max_steps": STEPS,
                    "batch_size": point.batch_size,
                    "precision": "bf16",
                    "device": "cpu",
                },
            }
        )
        with contextlib.suppress(Enough):
            train(
                LoadedRecipe(recipe, {}),
                listen=listen,
                before=lambda _, prepared: meter.watch(prepared.policy.model),
            )
    counted = list(zip(meter.seconds, meter.tokens_forwarded, strict=True))[1:]
    return {
        **asdict(point),
        "model": Path(point.model).name,
        "seconds_per_pair": median(seconds for seconds, _ in counted) / point.batch_size,
        "tokens_per_pair": median(tokens for _, tokens in counted) / point.batch_size,
        "peak_rss_bytes": meter.peak_bytes,
    }


def growth(rows: Sequence[dict[str, Any]], by: str, figure: str) -> float:
    """The exponent of `figure` in `by`: the slope of a straight line through their logarithms."""
    import numpy as np

    x, y = (np.log([row[name] for row in rows]) for name in (by, figure))
    return float(np.polyfit(x, y, 1)[0])


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The three sweeps side by side."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    sweeps = (
        ("tokens", "tokens_per_pair", "tokens of a pair", "seconds_per_pair", "seconds a pair", 1.0),
        (
            "rows",
            "rows",
            "rows of the data set",
            "seconds_per_pair",
            "milliseconds a pair, small model",
            1e-3,
        ),
        ("batch", "batch_size", "pairs of a batch", "peak_rss_bytes", "peak memory, GiB", 2.0**30),
    )
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axis, (sweep, by, label, what, unit, scale) in zip(axes, sweeps, strict=True):
        chosen = [row for row in rows if row["sweep"] == sweep]
        axis.plot(
            [row[by] for row in chosen], [row[what] / scale for row in chosen], marker="o", color="#2a6f97"
        )
        axis.set(
            xscale="log", xlabel=label, ylabel=unit, title=f"grows as power {growth(chosen, by, what):.2f}"
        )
        if sweep == "tokens":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each point in a fresh process and print it; `--save` keeps the figures, `--plot FILE` draws them."""
    from simpo.model.fetch import find_quickstart_model

    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sweeps", default="tokens,rows,batch")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--plot", type=Path, help="an SVG file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child is not None:
        out = claim_stdout()
        print(json.dumps(measure(Point(**json.loads(given.child)))), file=out, flush=True)
        return 0
    model = find_quickstart_model(given.model, report=lambda text: print(text, file=sys.stderr)).resolve()
    rows = []
    with tempfile.TemporaryDirectory(prefix="simpo-small-") as small:
        small_model(model, Path(small))
        for point in points(str(model), small):
            if point.sweep in given.sweeps.split(","):
                command = [sys.executable, "-m", "benchmarks.scaling", "--child", json.dumps(asdict(point))]
                done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout))
                row = rows[-1]
                print(
                    f"{row['sweep']:>6}  {row['rows']:>7} rows, {row['batch_size']:>2} a batch, "
                    f"{row['tokens_per_pair']:7.0f} tokens a pair: {row['seconds_per_pair']:8.4f} s a pair, "
                    f"{row['peak_rss_bytes'] / 2**30:.2f} GiB",
                    flush=True,
                )
    if given.plot is not None:
        draw(rows, given.plot)
    if given.save:
        save_result("scaling", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
