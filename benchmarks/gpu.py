"""The comparison on a GPU: models of 1 to 8 billion random weights, ours against TRL's, and the fraction of the peak.

Speed and memory do not depend on what the weights are, so nothing is downloaded: the model is made from its published
shape, and its pairs are of words that are one token each. `--shape toy --device cpu` shows that it works anywhere.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.child import Job, Measured, Setting
from benchmarks.figures import Spread
from benchmarks.processes import Processes
from benchmarks.saved import save_result
from simpo.errors import RunFailed

# hidden, feed-forward, layers, heads, key-value heads, width of a head, vocabulary; Llama's architecture throughout.
SHAPES = {
    "toy": (64, 128, 2, 4, 2, 16, 1000),
    "deep-60m": (512, 1536, 8, 8, 4, 64, 32000),
    "wide-110m": (1024, 2816, 6, 16, 16, 64, 16000),
    "llama-1b": (2048, 8192, 16, 32, 8, 64, 128256),
    "qwen-7b": (3584, 18944, 28, 28, 4, 128, 152064),
    "llama-8b": (4096, 14336, 32, 32, 8, 128, 128256),
}
# Words of a prompt and of an answer.
LENGTHS = {"short": (40, 450), "long": (600, 150), "few": (20, 60)}
WORDS = 900
SETTINGS = {
    "simpo": (Setting(0), Setting(0, True)),
    "trl": tuple(Setting(size, checkpointing) for checkpointing in (False, True) for size in (1, 2, 4, 8)),
}


def make_model(shape: str, folder: Path) -> None:
    """A Llama of the shape with random bfloat16 weights, and a tokenizer of one token a word with ChatML turns."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    hidden, inner, layers, heads, groups, width, vocabulary = SHAPES[shape]
    special = ["<unk>", "<|im_start|>", "<|im_end|>", "\n", "system", "user", "assistant"]
    names = {name: number for number, name in enumerate([*special, *(f"w{n}" for n in range(WORDS))])}
    words = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<|im_end|>", pad_token="<unk>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=groups, head_dim=width, max_position_embeddings=8192,
        eos_token_id=names["<|im_end|>"], bos_token_id=None, pad_token_id=0, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.generation_config.eos_token_id = names["<|im_end|>"]
    model.save_pretrained(folder)


def write_pairs(length: str, count: int, path: Path) -> None:
    """Pairs of random words, answers of half to one and a half times the length."""
    prompt, answer = LENGTHS[length]
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(words))

    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            row = {
                "prompt": [{"role": "user", "content": text(prompt)}],
                "chosen": [
                    {"role": "assistant", "content": text(draw.randrange(answer // 2, answer * 3 // 2))}
                ],
                "rejected": [
                    {"role": "assistant", "content": text(draw.randrange(answer // 2, answer * 3 // 2))}
                ],
            }
            file.write(json.dumps(row) + "\n")


def best_of(side: str, job: Job, processes: Processes, scratch: Path) -> Measured | str:
    """The fastest of the side's settings, one process each; the last error where none fits in memory."""
    found: list[Measured] = []
    problem = "no setting was tried"
    for setting in SETTINGS[side]:
        if setting.micro_batch_size > job.batch_size:
            continue
        alone = replace(job, setting=setting)
        try:
            found.append(processes.measure(side, alone, scratch).measured)
        except RunFailed as failure:
            problem = failure.message.splitlines()[-1].strip()
    if not found:
        return problem
    return min(found, key=lambda measured: min(measured.seconds[1:]))


def fraction(job: Job, measured: Measured) -> float:
    """Of the device's peak in bfloat16 products, what the step's work comes to."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from simpo.data.read import read_rows
    from simpo.data.render import Renderer, render_rows
    from simpo.model.work import matmul_peak, work_of

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    renderer = Renderer(tokenizer, stop_ids=frozenset([tokenizer.eos_token_id]))
    groups = render_rows(read_rows(job.pairs).rows, renderer).groups
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job.model))
    model.requires_grad_(job.weights.startswith("full"))
    seconds = Spread.of(measured.seconds[1:]).median / measured.pairs_per_step
    size = 8192 if job.device == "cuda" else 1024
    peak = matmul_peak(torch.bfloat16, torch.device(job.device), size=size)
    return work_of(model, groups).total / len(groups) / seconds / peak


def compare(given: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """One row for each length and each way to train."""
    processes = Processes(given.trl_python or Path(sys.executable), {})
    model = scratch / "model"
    make_model(given.shape, model)
    rows = []
    for length in given.lengths.split(","):
        for weights in given.weights.split(","):
            write_pairs(length, given.batch_size * given.steps, scratch / "pairs.jsonl")
            job = Job(
                str(model), str(scratch / "pairs.jsonl"), str(scratch), weights, "pure", given.batch_size, given.steps,
                Setting(0), device=given.device, rounding="stochastic",
            )  # fmt: skip
            row: dict[str, Any] = {"shape": given.shape, "length": length, "weights": weights}
            for side in ("simpo", "trl") if given.trl_python and weights in ("lora", "full") else ("simpo",):
                measured = best_of(side, job, processes, scratch)
                if isinstance(measured, str):
                    row[side] = {"failed": measured}
                    print(f"{given.shape} {length} {weights} {side}: {measured}", flush=True)
                    continue
                seconds = Spread.of([s / measured.pairs_per_step for s in measured.seconds[1:]])
                row[side] = {
                    "setting": str(measured.setting), "seconds_per_pair": asdict(seconds),
                    "peak_bytes": measured.peak_rss_bytes, "fraction_of_peak": fraction(job, measured),
                }  # fmt: skip
                print(
                    f"{given.shape} {length} {weights} {side}: {1 / seconds.median:.2f} pairs a second, "
                    f"{measured.peak_rss_bytes / 2**30:.2f} GiB, {row[side]['fraction_of_peak']:.0%} of the peak "
                    f"({measured.setting})",
                    flush=True,
                )
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; `--save` keeps the figures in results/."""

    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-1b")
    parser.add_argument("--lengths", default="short,long")
    parser.add_argument(
        "--weights", default="lora,full", help="also qlora, full-8bit, full-offload (ours alone)"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="of a process; the first does not count")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--trl-python", type=Path, help="a Python with TRL; without it TRL is left out")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="simpo-gpu-") as folder:
        rows = compare(given, Path(folder))
    if given.save:
        save_result(f"gpu-{given.shape}", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
