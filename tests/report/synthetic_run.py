"""A run folder as training and evaluation leave it, made up from a seed: plausible figures, no model needed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simpo.core.metrics import Summary, strata
from simpo.recipe import LoadedRecipe, resolve_recipe
from simpo.runs.folder import RunFolder, write_json, write_json_lines

STEPS = 120
TOPICS = ("billing", "shipping", "returns", "account")
OPENINGS = (
    "I was charged twice for order {n}. Can you check?",
    "My parcel {n} has said 'in transit' for nine days. What now?",
    "I want to send back item {n}, the box is already open. Is that possible?",
    "I cannot sign in since I changed my phone; my ticket is {n}.",
)
SHORT = (
    "I see the second charge on order {n} and have reversed it. You get the money within three working days.",
    "Parcel {n} is stuck at the sorting centre. I have sent a new one today; it arrives on Friday.",
    "Yes, an opened box is fine. I have sent you a return label for item {n}; it is valid for 30 days.",
    "I have reset the second factor for ticket {n}. Sign in once more and choose 'new phone'.",
)
PADDING = (
    "Thank you so much for reaching out to us today.",
    "We truly understand how frustrating this must be for you.",
    "Please do not hesitate to contact us again at any time.",
    "Your satisfaction is very important to us, and we are always here to help.",
    "As a valued customer, you deserve the best possible experience.",
)


def recipe(folder: Path, method: str = "simpo") -> LoadedRecipe:
    """The recipe of the Harbor Support case with a few values given."""
    values: dict[str, Any] = {
        "output": str(folder),
        "model": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct"},
        "data": {"train": "data/harbor/train.jsonl", "validation": "data/harbor/heldout.jsonl"},
        "method": {"name": method},
        "train": {"batch_size": 32, "micro_batch_size": 4},
        "evaluate": {"generate": 64, "judge": "examples.harbor.rubric:score"},
    }
    if method == "simpo":
        values["method"] |= {"beta": 2.0, "gamma": 0.5}
    return resolve_recipe(values, ["train.lr=8e-7"], where="recipes/harbor.yaml")


def write_run(
    folder: Path, *, method: str = "simpo", ending: str = "stop", evaluated: bool = True, steps: int = STEPS
) -> Path:
    """A preference run. `ending` is the last event: stop, interrupted, failed, or none for a run that goes on."""
    status = {"stop": "done", "none": "running"}.get(ending, ending)
    run = RunFolder.create(recipe(folder, method), lineage("preference", status))
    taken = steps if ending == "stop" else steps // 3
    _write_events(run, preference_events(steps, taken), ending, taken)
    write_json(run.rendering_path, rendering())
    if evaluated:
        _write_evaluation(run, "before", shift=0.45, seed=1)
        _write_evaluation(run, "after", shift=1.05, seed=2)
    return folder


def write_sft_run(folder: Path) -> Path:
    """An SFT run: losses, no pair figures, no evaluation."""
    run = RunFolder.create(recipe(folder, "sft"), lineage("sft", "done"))
    _write_events(run, sft_events(80), "stop", 80)
    return folder


def lineage(kind: str, status: str) -> dict[str, Any]:
    """run.json of a run of this kind that ended like this."""
    parents = [
        {"run": "/home/ana/runs/harbor-sft", "kind": "sft", "data_hash": "9d" * 32, "model_hash": "41" * 32}
    ]
    train = {"name": "data/harbor/train.jsonl", "hash": "c0ffee" * 10 + "beef", "rows": 3840}
    return {
        "schema": 1,
        "kind": kind,
        "status": status,
        "created": "2025-03-04T09:12:44+00:00",
        "simpo_version": "0.1.0",
        "code_version": "0.1.0+0999ac4d1e2f",
        "data": {
            "train": {**train, "files": {"data/harbor/train.jsonl": "ab" * 32}},
            "validation": {"name": "data/harbor/heldout.jsonl", "hash": "5e" * 32, "rows": 420, "files": {}},
        },
        "model": {"name": "runs/harbor-sft", "hash": "7a" * 32, "parent_run": "/home/ana/runs/harbor-sft"},
        "parents": parents if kind == "preference" else [],
        "seed": 0,
        "machine": {
            "platform": "Linux-6.1-x86_64",
            "python": "3.11.9",
            "cpu": "AMD EPYC 7763",
            "cores": 8,
            "memory_bytes": 33_600_000_000,
            "gpu": None,
        },
        "libraries": {"torch": "2.13.0", "transformers": "5.2.0", "peft": "0.18.0", "numpy": "2.2.1"},
        "command": ["simpo", "train", "recipes/harbor.yaml", "--set", "train.lr=8e-7"],
    }


def _write_events(run: RunFolder, events: Sequence[dict[str, Any]], ending: str, step: int) -> None:
    endings: dict[str, dict[str, Any]] = {
        "stop": {"reason": "done", "best_step": step, "seconds": 4331.7, "pairs_per_second": 0.89}
        | {"peak_memory_bytes": 3_412_000_000},
        "failed": {"message": "step 40: the loss is not finite; the weights were left as they were"},
    }
    last = endings.get(ending, {})
    records = [*events] + ([] if ending == "none" else [{"event": ending, "step": step, **last}])
    lines = [{"v": 1, "time": 1741079564.0 + 36 * place, **record} for place, record in enumerate(records)]
    write_json_lines(run.events_path, lines)


def _start(steps: int, method: str) -> dict[str, Any]:
    medians = (
        {"prompt": 61, "chosen": 48, "rejected": 79} if method != "sft" else {"prompt": 61, "completion": 58}
    )
    side = {"hash": "c0ffee" * 10 + "beef", "format": "messages", "median_tokens": medians}
    return {
        "event": "start",
        "step": 0,
        "method": method,
        "plan": {"steps": steps, "epochs": 1, "batch_size": 32, "micro_batch_size": 4, "num_rows": 3817}
        | {"num_validation": 420},
        "parameters": {"total": 134_515_008, "trained": 134_515_008},
        "warnings": [],
        "data": {
            "train": {"rows": 3840, "dropped": {"equal": 14, "overlong": 9}, **side},
            "validation": {"rows": 420, "dropped": {}, **side},
        },
    }


def preference_events(steps: int, taken: int) -> list[dict[str, Any]]:
    """Start, steps and evaluations of a preference run with `taken` of `steps` steps."""
    rng = random.Random(0)
    events = [_start(steps, "simpo: beta 2, gamma 0.5 nats per token (reward margin 1), SFT weight 0")]
    for step in range(1, taken + 1):
        part = step / steps
        gap = 0.05 + 0.55 * (1 - math.exp(-3 * part)) + rng.gauss(0, 0.05)
        chosen = -1.45 - 0.25 * part + rng.gauss(0, 0.04)
        figures = {
            "loss": math.log1p(math.exp(-2 * (gap - 0.5))),
            "chosen_logps": chosen,
            "rejected_logps": chosen - gap,
            "margin": 2 * gap,
            "accuracy": min(1.0, max(0.0, round(32 * (0.58 + 0.3 * gap + rng.gauss(0, 0.07))) / 32)),
        }
        warm = min(1.0, part / 0.1)
        rate = 8e-7 * warm * (0.5 + 0.5 * math.cos(math.pi * max(0.0, part - 0.1) / 0.9))
        costs = {"lr": rate, "grad_norm": 4 + 3 * rng.random(), "pairs": 32, "tokens": 4096, "seconds": 36.1}
        events.append({"event": "step", "step": step, "epoch": part, **figures, **costs})
        if step % max(steps // 6, 1) == 0:
            smooth = 0.05 + 0.5 * (1 - math.exp(-3 * part))
            events.append(
                {
                    "event": "evaluate",
                    "step": step,
                    "epoch": part,
                    "loss": math.log1p(math.exp(-2 * (smooth - 0.5))),
                    "accuracy": 0.6 + 0.22 * smooth,
                    "chosen_logps": -1.46 - 0.22 * part,
                    "rejected_logps": -1.46 - 0.22 * part - smooth,
                    "margin": 2 * smooth,
                    "num_pairs": 420,
                    "seconds": 31.0,
                    "best": True,
                }
            )
            events.append(guard_event(step, chars=380 - 150 * part))
    return events


def guard_event(step: int, *, verdict: str = "healthy", chars: float = 380.0) -> dict[str, Any]:
    """What the guard writes of one look."""
    figures = {"median_chars": chars, "stopped": 0.875, "repetitive": 0.125, "grad_norm": None}
    reasons = [] if verdict == "healthy" else [{"signal": "length", "words": "replies are half as long"}]
    return {"event": "guard", "step": step, "epoch": 0.5, "verdict": verdict, "why": "evaluation"} | {
        "reasons": reasons,
        "figures": figures,
        "start": figures,
    }


def sft_events(steps: int) -> list[dict[str, Any]]:
    """Start, steps and evaluations of an SFT run."""
    rng = random.Random(3)
    events = [_start(steps, "sft")]
    for step in range(1, steps + 1):
        loss = 1.5 + 1.1 * math.exp(-3 * step / steps)
        costs = {
            "lr": 2e-5 * (1 - step / steps),
            "grad_norm": 1.5 + rng.random(),
            "pairs": 32,
            "tokens": 2048,
        }
        events.append(
            {"event": "step", "step": step, "loss": loss + rng.gauss(0, 0.05), "seconds": 9.0, **costs}
        )
        if step % 20 == 0:
            events.append(
                {"event": "evaluate", "step": step, "loss": loss + 0.08, "seconds": 6.0, "best": True}
            )
    return events


def _write_evaluation(run: RunFolder, label: str, *, shift: float, seed: int) -> None:
    pairs = pair_scores(shift, seed)
    write_json_lines(run.evaluation / f"{label}.pairs.jsonl", pairs)
    replies = [reply(number, label) for number in range(64)]
    write_json_lines(run.evaluation / f"{label}.replies.jsonl", replies)
    write_json(run.evaluation_path(label), evaluation(label, pairs, replies))


def pair_scores(shift: float, seed: int, num_pairs: int = 420) -> list[dict[str, Any]]:
    """Scored held-out pairs; the gap of the rewards is `shift` on average, less where the chosen reply is longer."""
    shared, rng = random.Random(7), random.Random(seed)
    pairs = []
    for number in range(num_pairs):
        chosen, rejected = shared.randint(90, 420), shared.randint(120, 640)
        hard = shared.gauss(0, 1.3)
        gap = shift * (1.25 if chosen < rejected else 0.3) + hard + rng.gauss(0, 0.3)
        pairs.append(
            {
                "id": f"{number:016x}",
                "prompt_id": f"{number // 2:016x}",
                "source": f"data/harbor/heldout.jsonl:{number + 1}",
                "category": TOPICS[number // 2 % 4],
                "chosen_chars": chosen,
                "rejected_chars": rejected,
                "chosen_reward": -2.9 + gap / 2,
                "rejected_reward": -2.9 - gap / 2,
            }
        )
    return pairs


def reply(number: int, label: str) -> dict[str, Any]:
    """One reply: long and padded before, short after."""
    rng = random.Random(f"{label}{number}")
    topic = number % 4
    core = SHORT[topic].format(n=4000 + number)
    padding = rng.sample(PADDING, rng.randint(2, 5) if label == "before" else rng.choice([0, 0, 0, 1, 2]))
    text = " ".join([padding[0], core, *padding[1:]] if padding else [core])
    score = round(max(0.0, min(1.0, 0.95 - 0.09 * len(padding) + rng.gauss(0, 0.05))), 3)
    long_form = " ".join([PADDING[0], core, *PADDING[1:]])
    return {
        "prompt": [
            {"role": "system", "content": "You answer tickets for Harbor Support."},
            {"role": "user", "content": OPENINGS[topic].format(n=4000 + number)},
        ],
        "reply": text,
        "stopped": rng.random() < (0.86 if label == "before" else 0.97),
        "chars": len(text),
        "tokens": len(text) // 4,
        "score": score,
        "parts": {"solves": 0.9, "brief": round(1 - 0.15 * len(padding), 2), "polite": 0.8},
        "chosen": core,
        "rejected": long_form,
    }


def _interval(share: float, count: int) -> dict[str, float]:
    half = 1.96 * math.sqrt(max(share * (1 - share), 0.01) / count)
    return {"value": share, "low": max(0.0, share - half), "high": min(1.0, share + half)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def evaluation(label: str, pairs: list[dict[str, Any]], replies: list[dict[str, Any]]) -> dict[str, Any]:
    """The evaluation file of these pairs and replies."""
    wins = [float(pair["chosen_reward"] > pair["rejected_reward"]) for pair in pairs]
    accuracy = _interval(_mean(wins), len(wins))
    columns = ([pair[key] for pair in pairs] for key in ("chosen_chars", "rejected_chars", "category"))
    parts = strata(*columns)
    total = _interval(0.57 if label == "before" else 0.66, len(pairs))
    preference = {
        "num_pairs": len(pairs),
        "num_prompts": len({pair["prompt_id"] for pair in pairs}),
        "accuracy": {"reward": accuracy, "mean_logps": accuracy, "total_logps": total},
        "strata": [
            {
                "by": part.by,
                "name": part.name,
                "num_pairs": len(part.members),
                "accuracy": _interval(_mean([wins[at] for at in part.members]), len(part.members)),
            }
            for part in parts
        ],
        "chosen_logps": -1.44,
        "rejected_logps": -1.71,
        "margin": _mean([pair["chosen_reward"] - pair["rejected_reward"] for pair in pairs]),
    }
    won = {"against": "before", **_interval(0.69, 64), "wins": 41, "ties": 6, "losses": 17}
    return {
        "schema": 1,
        "label": label,
        "created": "2025-03-04T10:31:02+00:00",
        "model": {"name": "runs/harbor-simpo", "hash": ("7a" if label == "before" else "d4") * 32},
        "data": {
            "name": "data/harbor/heldout.jsonl",
            "hash": "5e" * 32,
            "num_pairs": 420,
            "num_prompts": 210,
        },
        "method": {
            "name": "simpo",
            "parameters": {"beta": 2.0, "gamma": 0.5},
            "description": "simpo: beta 2",
        },
        "preference": preference,
        "generation": _generation(replies, label),
        "win_rate": won if label == "after" else None,
        "seconds": 88.0,
        "peak_memory_bytes": 1_204_000_000,
    }


def _generation(replies: list[dict[str, Any]], label: str) -> dict[str, Any]:
    score = _mean([each["score"] for each in replies])
    return {
        "num_prompts": len(replies),
        "settings": {"max_new_tokens": 256, "temperature": 0.0, "seed": 0},
        "chars": Summary.of([each["chars"] for each in replies]).to_json(),
        "tokens": Summary.of([each["tokens"] for each in replies]).to_json(),
        "stopped": _mean([float(each["stopped"]) for each in replies]),
        "distinct_1": 0.21,
        "distinct_2": 0.44,
        "repeated_4gram": 0.031 if label == "before" else 0.012,
        "judge": {
            "name": "examples.harbor.rubric:score",
            "mean": {"value": score, "low": score - 0.03, "high": score + 0.03},
            "parts": {"solves": 0.9, "brief": 0.7, "polite": 0.8},
            "escalation_rate": 0.094 if label == "before" else 0.078,
        },
        "samples": replies[:8],
    }


def rendering() -> dict[str, Any]:
    """The first pairs as tokens, cut at spaces."""
    rng = random.Random(5)

    def scored(text: str) -> list[dict[str, Any]]:
        words = [{"text": word, "special": False, "stop": False} for word in _words(text)]
        tokens = [*words, {"text": "<|im_end|>", "special": True, "stop": True}]
        return [{**token, "logp": -rng.expovariate(0.8)} for token in tokens]

    def prompt(text: str) -> list[dict[str, Any]]:
        special = [("<|im_start|>", True), ("user\n", False)]
        words = [(word, False) for word in _words(text)]
        end = [("<|im_end|>", True), ("\n", False), ("<|im_start|>", True), ("assistant\n", False)]
        return [{"text": text, "special": is_special} for text, is_special in [*special, *words, *end]]

    pairs = [reply(number, "before") for number in range(3)]
    return {
        "pairs": [
            {
                "source": f"data/harbor/train.jsonl:{number + 1}",
                "prompt": prompt(pair["prompt"][-1]["content"]),
                "chosen": scored(pair["chosen"]),
                "rejected": scored(pair["rejected"]),
            }
            for number, pair in enumerate(pairs)
        ]
    }


def _words(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def edit_json(path: Path, **changes: Any) -> None:
    """Write a JSON object again with some keys changed."""
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})
