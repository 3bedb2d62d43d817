"""README.md of an export: what the model is, what it was trained on, what was measured, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import simpo
from simpo.core.methods import METHODS
from simpo.recipe import Recipe
from simpo.release.figures import evaluation_section
from simpo.release.lineage import Root, data_name, public_name
from simpo.release.loading import loading_section
from simpo.release.markdown import plain, table
from simpo.release.parity import Parity
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder

_LICENSE_KEYS = ("license", "license_name", "license_link")
_SHOWN = ("method", "adapter", "train", "data", "model")
_HIDDEN = (
    "model.name",
    "model.trust_remote_code",
    "data.train",
    "data.validation",
    "data.test",
    "train.device",
)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the export knows of itself.

    step, checkpoint_hash: of the checkpoint it was made of. hash: of what was written. base: how an adapter's base is
    named, with its commit on the hub.
    """

    run: RunFolder
    recipe: Recipe
    step: int
    checkpoint_hash: str
    kind: str
    dtype: str
    hash: str
    parity: Parity
    base: tuple[str, str | None] | None

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.path.resolve().name


def write_card(
    path: Path, facts: CardFacts, lineage: Mapping[str, Any], root: Root, chain: list[dict[str, Any]]
) -> None:
    """Write the card. `root`: the published model at the beginning; `chain`: the stages of the lineage."""
    license_data = read_license(root.readme)
    metadata = card_metadata(facts, lineage, root, license_data)
    events = read_events(facts.run.events_path)
    sections = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n",
        f"# {plain(facts.name)}\n",
        _introduction(facts, root),
        _unfinished(facts, lineage, events),
        loading_section(facts.kind, facts.recipe, facts.base),
        _training(facts, lineage, events),
        evaluation_section(facts.run, events),
        _lineage(facts, chain),
        _comparison(facts),
        _limitations(facts, lineage),
        _license(root, license_data),
        _environment(lineage),
    ]
    path.write_text("\n".join(section for section in sections if section), encoding="utf-8")


def card_metadata(
    facts: CardFacts, lineage: Mapping[str, Any], root: Root, license_data: Mapping[str, str]
) -> dict[str, Any]:
    """The YAML header, as the Hugging Face hub reads it, with the hashes under a key of ours."""
    method = facts.recipe.method.name
    version = lineage["data"]["train"].get("version")
    kinds = ["preference-optimization"] if METHODS[method].pairwise else []
    return {
        "library_name": "peft" if facts.kind == "adapter" else "transformers",
        "base_model": root.name,
        "base_model_relation": "adapter" if facts.kind == "adapter" else "finetune",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys(["simpo", *kinds, method])),
        **license_data,
        "simpo": {
            "version": simpo.__version__,
            "method": facts.recipe.method.describe(),
            "model_hash": facts.hash,
            "data_hash": lineage["data"]["train"]["hash"],
            **({"dataset_version": version} if version else {}),
            "start_model_hash": lineage["model"]["hash"],
            "base_model_hash": root.hash,
        },
    }


def read_license(readme: Path | None) -> dict[str, str]:
    """The licence keys of a model card's YAML header; empty where there is no card or it says nothing."""
    if readme is None:
        return {}
    try:
        head, fence, rest = readme.read_text(encoding="utf-8").partition("---\n")
        block, closing, _ = rest.partition("\n---")
        values = yaml.safe_load(block) if fence and closing and not head.strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    if not isinstance(values, dict) or "license" not in values:
        return {}
    return {key: str(values[key]) for key in _LICENSE_KEYS if values.get(key)}


def _introduction(facts: CardFacts, root: Root) -> str:
    method = METHODS[facts.recipe.method.name]
    what = {
        "adapter": "A LoRA adapter",
        "merged": "A language model (a LoRA adapter, merged into its base)",
        "full": "A language model (a full fine-tune)",
    }[facts.kind]
    how = "preference pairs" if method.pairwise else "examples"
    return (
        f"{what}, made from {plain(root.name)} by training on {how} with {plain(method.title)} "
        f"({plain(method.source)}). Weights are {facts.dtype}, from step {facts.step} of the run. Written by "
        f"simpo {simpo.__version__}.\n"
    )


def _unfinished(facts: CardFacts, lineage: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    if lineage.get("status") == "done":
        return ""
    start: Mapping[str, Any] = next((event for event in events if event["event"] == "start"), {})
    plan = start.get("plan") or {}
    return (
        f"> **The training run had not finished** when this was exported (status: {plain(lineage.get('status'))}). "
        f"These are the weights of step {facts.step} of {plain(plan.get('steps', 'an unknown number'))} planned.\n"
    )


def _training(facts: CardFacts, lineage: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    start: Mapping[str, Any] = next((event for event in events if event["event"] == "start"), {})
    rows = []
    for name, data in lineage["data"].items():
        told = (start.get("data") or {}).get(name) or {}
        dropped = ", ".join(f"{count} {reason}" for reason, count in (told.get("dropped") or {}).items())
        rows.append(
            (name, data_name(data), told.get("rows", data.get("rows")), dropped or "none", data.get("hash"))
        )
    return (
        f"## Training\n\nMethod: {plain(facts.recipe.method.describe())}\n\n"
        + table(("data", "name", "rows used", "left out", "content hash"), rows)
        + "\n"
        + table(("setting", "value"), hyper_parameters(facts))
    )


def hyper_parameters(facts: CardFacts) -> list[tuple[str, str]]:
    """Every value in force that decided the weights; what says only where files lie is left out."""
    values, _ = facts.run.load_recipe().resolved()
    shown = []
    for key, value in values.items():
        if key.partition(".")[0] not in _SHOWN or key in _HIDDEN or value is None:
            continue
        if key == "data.template" and value not in ("model", "none"):
            value = public_name(str(value))
        shown.append((key, _setting(value)))
    return shown


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lineage(facts: CardFacts, chain: list[dict[str, Any]]) -> str:
    rows = []
    for stage in chain:
        name = stage.get("run") or stage.get("name") or ""
        told = [f"data {stage['data_hash'][:12]}"] if stage.get("data_hash") else []
        told += (
            [f"starts from model {stage['start_model_hash'][:12]}"] if stage.get("start_model_hash") else []
        )
        told += [f"hash {stage['model_hash'][:12]}"] if stage.get("model_hash") else []
        rows.append((stage["stage"], name, stage.get("method") or "", "; ".join(told)))
    rows.append(("export", facts.kind, f"weights in {facts.dtype}", f"hash {facts.hash[:12]}"))
    return (
        "## Lineage\n\n"
        + table(("stage", "name", "method", "hashes"), rows)
        + "\nThe hashes in full, code and library versions, and the sha256 of every file are in `simpo.json`.\n"
    )


def _comparison(facts: CardFacts) -> str:
    parity = facts.parity
    library = "peft" if facts.kind == "adapter" else "transformers"
    return (
        f"## Compared with the trained model\n\nThese files were loaded again with {library} alone and compared "
        f"with the trained model in memory, computing in float32, on {parity.num_sequences} token sequences of "
        f"{plain(parity.source)}: {parity.words()}. All {parity.num_tensors} weights were read back as written, and "
        f"tokenizer and chat template give the same tokens.\n"
    )


def _limitations(facts: CardFacts, lineage: Mapping[str, Any]) -> str:
    method = METHODS[facts.recipe.method.name]
    trained = (
        "preferences of its training data"
        if method.pairwise
        else "style and content of its training examples"
    )
    items = [
        f"The model has learned the {trained}, with their mistakes and gaps. It was not tested for safety, for facts, "
        "or for tasks and languages that the data does not hold.",
        "Training on one kind of reply can cost abilities of the base model (following formats, long reasoning). "
        "Nothing here measures that; compare with the base model on what you need.",
    ]
    if method.pairwise:
        items.append(
            "Pairwise accuracy says how well the model ranks replies that others wrote. It does not say how good the "
            "replies are that it writes."
        )
    if facts.recipe.data.test is None and "validation" in lineage["data"]:
        items.append(
            "No test data was kept apart: figures on validation data are a little too good, since that data also chose "
            "the checkpoint."
        )
    if facts.recipe.data.template == "none":
        items.append("It was trained on plain text: do not use a chat template with it.")
    if facts.kind == "adapter":
        items.append("The adapter fits only the base model that it was trained on, whose hash is above.")
    return "## Limitations\n\n" + "".join(f"* {item}\n" for item in items)


def _license(root: Root, license_data: Mapping[str, str]) -> str:
    if license_data:
        return (
            f"## Licence\n\nThat of the base model, as its card states it: {plain(license_data['license'])}. The "
            "training data may add terms of its own.\n"
        )
    return (
        f"## Licence\n\nNone is stated here, because no card of {plain(root.name)} was at hand. The terms of that "
        "model apply, and those of the training data.\n"
    )


def _environment(lineage: Mapping[str, Any]) -> str:
    machine = dict(lineage.get("machine") or {})
    memory = machine.pop("memory_bytes", None)
    if memory:
        machine["memory"] = f"{memory / 1e9:.0f} GB"
    rows = [(key, value) for key, value in machine.items() if value not in (None, "")]
    rows += [("simpo", lineage.get("code_version") or lineage.get("simpo_version"))]
    rows += list((lineage.get("libraries") or {}).items())
    return "## Trained on\n\n" + table(("what", "which"), rows)
