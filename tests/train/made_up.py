"""Made-up preferences, recipes on the tiny model, and what a run did, for every test that trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from simpo.core.methods import METHODS
from simpo.recipe import LoadedRecipe, resolve_recipe
from simpo.runs.checkpoint import best_model_folder
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder
from simpo.train.run import train

_SUBJECTS = ("parcel", "invoice", "refund", "account", "password", "delivery", "plan")
_SHORT = "I have refunded the charge."
_LONG = "I am sorry about the wait. I have asked the carrier and will write to you tomorrow"

# What differs between two runs that did the same.
_TIMES = frozenset({"time", "seconds", "pairs_per_second", "peak_memory_bytes"})


def pair_rows(count: int, first: int = 0) -> list[dict[str, str]]:
    """Pairs of many lengths, each of its own prompt; two of three prefer the short answer."""
    rows = []
    for number in range(first, first + count):
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        prompt = f"Where is my {subject} of day {number}?" + " Please look." * (number % 3)
        short, long = f"{_SHORT} Case {number}.", f"{_LONG}, {subject}" + ", again" * (number % 5) + "."
        chosen, rejected = (short, long) if number % 3 else (long, short)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def example_rows(count: int, first: int = 0) -> list[dict[str, str]]:
    """SFT examples: the chosen answers."""
    return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pair_rows(count, first)]


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> str:
    """Write rows as JSON lines; returns the path as a recipe names it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@dataclass(frozen=True)
class Workshop:
    """A folder to train in: 20 training and 5 validation rows, and recipes on the tiny model.

    Every run gets a name of its own, and with it a folder.
    """

    folder: Path
    model: Path

    def rows(self, kind: str = "pairs", count: int = 20) -> dict[str, str]:
        """The data section's files."""
        make = example_rows if kind == "examples" else pair_rows
        return {
            "train": write_rows(self.folder / f"train-{kind}-{count}.jsonl", make(count)),
            "validation": write_rows(self.folder / f"validation-{kind}.jsonl", make(5, first=100)),
        }

    def recipe(self, name: str, **sections: dict[str, Any]) -> LoadedRecipe:
        """SimPO in 6 steps of 8 pairs (the last of each epoch has 4), evaluated every 2; sections over that."""
        method = {"name": "simpo", **sections.get("method", {})}
        values: dict[str, Any] = {
            "output": str(self.folder / name),
            "model": {"name": str(self.model)},
            "data": {**self.rows("examples" if method["name"] == "sft" else "pairs"), "max_length": 256},
            "train": {
                "lr": 1e-3,
                "epochs": 2,
                "batch_size": 8,
                "micro_batch_size": 8,
                "evaluate_every": 2,
                "device": "cpu",
            },
            "evaluate": {"batch_size": 8},
        }
        for section, settings in sections.items():
            values[section] = {**values.get(section, {}), **settings}
        if METHODS[method["name"]].pairwise:
            values["guard"] = {"prompts": 2, "max_new_tokens": 6, **values.get("guard", {})}
        values["data"] = {key: value for key, value in values["data"].items() if value is not None}
        values["train"] = {key: value for key, value in values["train"].items() if value is not None}
        return resolve_recipe({**values, "method": method})

    def train(
        self, name: str, listen: Callable[[dict[str, Any]], None] | None = None, **sections: Any
    ) -> Trained:
        """Train in this process."""
        return Trained(train(self.recipe(name, **sections), listen=listen).path)


@dataclass(frozen=True)
class Trained:
    """What a run left behind, read from its folder."""

    path: Path

    @property
    def folder(self) -> RunFolder:
        return RunFolder.open(self.path)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The run's story, or its events of one kind."""
        return [event for event in read_events(self.folder.events_path) if kind in (None, event["event"])]

    def curve(self, figure: str) -> list[float]:
        """One figure of every step."""
        return [event[figure] for event in self.events("step")]

    def trajectory(self) -> list[dict[str, Any]]:
        """Every step, evaluation and look of the guard with all their figures but the times."""
        told = [event for event in self.events() if event["event"] in ("step", "evaluate", "guard")]
        return [{key: value for key, value in event.items() if key not in _TIMES} for event in told]

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the best checkpoint's model or adapter."""
        (file,) = best_model_folder(self.path).glob("*.safetensors")
        return load_file(file)

    def checkpoints(self) -> list[str]:
        """The names in the checkpoints folder."""
        return sorted(path.name for path in self.folder.checkpoints.iterdir())
