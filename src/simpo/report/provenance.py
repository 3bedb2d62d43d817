"""Where a run comes from: its data, its recipe with origins, its lineage from data to export, its machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simpo.report.source import RunSource
from simpo.report.words import clip, last_name, memory, number, whole

MAX_RECIPE_CHARS = 40_000
MAX_LISTED = 30

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class DataView:
    """One data set of the run: its facts, and what was left out of it by reason."""

    title: str
    facts: Facts
    dropped: list[tuple[str, str]]


def data_sets(source: RunSource) -> list[DataView]:
    """Training and validation data as the run read them."""
    told = (source.last("start") or {}).get("data", {})
    known = source.run.get("data", {})
    views = []
    for key in ("train", "validation"):
        event, lineage = told.get(key) or {}, known.get(key) or {}
        if event or lineage:
            views.append(_data_view(key, event, lineage))
    return views


def _data_view(key: str, event: Mapping[str, Any], lineage: Mapping[str, Any]) -> DataView:
    facts: Facts = []
    if lineage.get("name"):
        facts.append(("name", str(lineage["name"])))
    rows = event.get("rows", lineage.get("rows"))
    if rows is not None:
        facts.append(("rows", whole(rows)))
    if event.get("format"):
        facts.append(("format", str(event["format"])))
    medians = event.get("median_tokens") or {}
    for part, value in medians.items():
        if value is not None:
            facts.append((f"median tokens, {part}", number(value, 0)))
    digest = event.get("hash") or lineage.get("hash")
    if digest:
        facts.append(("content hash", str(digest)))
    if lineage.get("version"):
        facts.append(("dataset version", str(lineage["version"])))
    files = lineage.get("files") or {}
    facts += [
        (f"sha256 of {last_name(str(path))}", str(value)) for path, value in list(files.items())[:MAX_LISTED]
    ]
    dropped = event.get("dropped") or {}
    listed = sorted(dropped.items(), key=lambda each: (-each[1], each[0]))[:MAX_LISTED]
    return DataView(key, facts, [(str(reason), whole(count)) for reason, count in listed])


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """One value of the recipe; `given` where somebody chose it."""

    key: str
    value: str
    origin: str
    given: bool


def recipe_rows(source: RunSource) -> list[RecipeRow]:
    """Every value with its origin, those somebody chose first."""
    rows = list(_recipe_rows(source.recipe_text))
    return [row for row in rows if row.given] + [row for row in rows if not row.given]


def _recipe_rows(text: str) -> Iterator[RecipeRow]:
    """The lines that `LoadedRecipe.to_yaml` writes: sections, then `key: value  # origin`."""
    section = ""
    for line in text.splitlines():
        body, _, origin = line.rpartition("  # ")
        if not body:
            section = line.strip().removesuffix(":") if line.endswith(":") else section
            continue
        key, _, value = body.strip().partition(": ")
        name = f"{section}.{key}" if body.startswith(" ") and section else key
        yield RecipeRow(name, value, origin, not origin.startswith("default"))


def recipe_text(source: RunSource) -> str:
    """recipe.yaml as it stands."""
    return clip(source.recipe_text, MAX_RECIPE_CHARS, "recipe.yaml")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the lineage."""

    kind: str
    name: str
    facts: Facts


def lineage(source: RunSource) -> list[Step]:
    """Data, then each parent, then this run, then its export."""
    run = source.run
    train = (run.get("data") or {}).get("train") or {}
    steps = []
    if train:
        steps.append(Step("data", str(train.get("name", "")), _facts({"hash": train.get("hash")})))
    for parent in run.get("parents") or []:
        steps.append(
            Step(
                f"parent run, {parent.get('kind', 'unknown')}",
                last_name(str(parent.get("run", ""))),
                _facts({"data hash": parent.get("data_hash"), "model hash": parent.get("model_hash")}),
            )
        )
    model = run.get("model") or {}
    if model and not run.get("parents"):
        steps.append(Step("model", str(model.get("name", "")), _facts({"hash": model.get("hash")})))
    own = {
        "began": run.get("created"),
        "simpo": run.get("simpo_version"),
        "code": run.get("code_version"),
        "seed": run.get("seed"),
        "best step": (source.last("stop") or {}).get("best_step"),
        "trained model": source.after.model.get("hash") if source.after else None,
    }
    steps.append(Step(f"this run, {run.get('kind', 'unknown')}", source.name, _facts(own)))
    if source.export is not None:
        steps.append(Step("export", "export.json", _facts(source.export)))
    return steps


def environment(source: RunSource) -> Facts:
    """The machine and the libraries that the figures come from, and the command that made them."""
    machine = dict(source.run.get("machine") or {})
    if machine.get("memory_bytes"):
        machine["memory"] = memory(machine.pop("memory_bytes"))
    libraries = source.run.get("libraries") or {}
    command = " ".join(str(word) for word in source.run.get("command") or [])
    start = source.last("start") or {}
    parameters = start.get("parameters") or {}
    trained = ""
    if parameters.get("total"):
        trained = f"{whole(parameters.get('trained'))} of {whole(parameters['total'])}"
    return [
        *_facts(machine),
        *_facts(libraries),
        *_facts({"parameters trained": trained, "command": command}),
    ]


def _facts(values: Mapping[str, Any]) -> Facts:
    """The plain values of a mapping as text; nothing, lists and mappings are left out."""
    return [
        (str(key).replace("_", " "), str(value))
        for key, value in list(values.items())[:MAX_LISTED]
        if value not in (None, "") and not isinstance(value, (list, dict))
    ]
