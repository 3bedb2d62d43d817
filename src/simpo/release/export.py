"""From a run to a folder that loads anywhere: weights, tokenizer, card and lineage, compared before it has a name."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from simpo.errors import RecipeError
from simpo.model.load import model_hash
from simpo.recipe import Recipe
from simpo.release.card import CardFacts, write_card
from simpo.release.lineage import lineage_json, root_of, stages
from simpo.release.parity import (
    TOLERANCES,
    Expected,
    Parity,
    check_parity,
    expect,
    require_same_merged,
    tensor_hashes,
)
from simpo.release.probes import probe_groups
from simpo.release.trained import Trained, load_trained
from simpo.runs.events import EventLog
from simpo.runs.folder import RunFolder, storage_errors, sync_folder, write_json
from simpo.train.prepare import make_renderer

Kind = Literal["auto", "adapter", "merged"]
Dtype = Literal["keep", "float32", "bfloat16", "float16"]
Report = Callable[[str], None]

_MAX_SHARD = "5GB"
_OTHER_OUT = "choose another folder with --out"
_AFTER_FULL_DISK = "free some space and export again; the run is as it was"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An export that was written and compared.

    kind: `adapter`, `merged` (an adapter merged into its base) or `full` (a full fine-tune). dtype: of the weights
    written. step: of the checkpoint. hash: as `load_policy` gives it. files: sha256 by name.
    """

    path: Path
    kind: str
    dtype: str
    step: int
    hash: str
    files: dict[str, str]
    parity: Parity

    def record(self, run: Path) -> dict[str, Any]:
        """What export.json holds; a path inside the run folder is relative to it, so that both can move."""
        out, home = self.path.resolve(), run.resolve()
        return {
            "schema": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "path": str(out.relative_to(home) if out.is_relative_to(home) else out),
            "kind": self.kind,
            "dtype": self.dtype,
            "step": self.step,
            "model_hash": self.hash,
            "files": self.files,
            "parity": self.parity.as_dict(),
        }


def export_run(
    run: Path | str,
    out: Path | None = None,
    *,
    kind: Kind = "auto",
    dtype: Dtype = "keep",
    report: Report | None = None,
) -> ExportResult:
    """Export a run's best checkpoint to `out` (default `<run>/export`), and prove that it is the trained model.

    kind: `auto` merges an adapter into its base. One exports to serve a model elsewhere, and every server and converter
    reads a folder that stands alone, where an adapter asks for the exact base that it was trained on; `adapter` is
    there for those who have that base. dtype: `keep` writes each weight in the type the run held it in.
    report: told what is being done.

    The run's `export.json` and an `export` event keep the result. Raises RecipeError for a run without checkpoint, an
    `out` that holds anything, or `adapter` of a full fine-tune; CheckFailed when the checkpoint does not verify or the
    export, loaded again by plain libraries, is not the model; RunFailed when the disk is full. Then nothing is left.
    """
    folder = RunFolder.open(run)
    target = folder.path / "export" if out is None else Path(os.path.abspath(out.expanduser()))
    _require_free(target)
    with folder.locked():
        recipe = folder.load_recipe().recipe
        plan = _Plan(
            folder, recipe, target, _resolve(kind, recipe, folder), dtype, report or (lambda _: None)
        )
        with _written_beside(target) as draft:
            result = _export(plan, draft)
        try:
            record = result.record(folder.path)
            write_json(folder.path / "export.json", record)
            EventLog(folder.events_path).append("export", **{k: v for k, v in record.items() if k != "files"})
        except BaseException:  # an export that the run does not know of is half an export
            shutil.rmtree(target, ignore_errors=True)
            raise
    return result


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done; `kind` is `adapter`, `merged` or `full`."""

    run: RunFolder
    recipe: Recipe
    target: Path
    kind: str
    dtype: Dtype
    say: Report


def _resolve(kind: Kind, recipe: Recipe, run: RunFolder) -> str:
    if recipe.adapter.type != "none":
        return "adapter" if kind == "adapter" else "merged"
    if kind == "adapter":
        raise RecipeError(
            "the run was a full fine-tune: there is no adapter",
            where=str(run.path),
            fix="export with --kind merged, which writes all its weights",
        )
    return "full"


def _export(plan: _Plan, draft: Path) -> ExportResult:
    """Fill the draft, compare it, and describe it; the weights in memory are given up on the way."""
    plan.say("loading the checkpoint")
    trained = load_trained(plan.run, plan.recipe)
    plan.say("computing what the model says")
    expected = _expected(plan, trained)
    policy = trained.policy
    if plan.kind == "merged":
        plan.say("merging the adapter")
        policy.model = policy.model.merge_and_unload()
        require_same_merged(policy.model, expected)
    dtype = _convert(policy.model, trained, plan)
    rounded = plan.dtype != "keep" or plan.kind == "merged"
    base = (
        _Base.of(trained, trained.base, plan) if plan.kind == "adapter" and trained.base is not None else None
    )
    plan.say(f"writing the {plan.kind} weights in {dtype}")
    _write_model(trained, draft, base, plan.target)
    expected = replace(
        expected,
        tensors=tensor_hashes(policy.model, adapter=base is not None),
        tolerance=TOLERANCES[dtype if rounded else "float32"],
    )
    policy.model = None  # a second model is loaded next, and memory holds one
    plan.say("loading it again with plain libraries")
    beside = base.beside(draft) if base else None
    parity = check_parity(draft, expected, base=beside, where=str(plan.target))
    digest = model_hash(draft, beside)
    named = base.public if base else None
    facts = CardFacts(
        plan.run, plan.recipe, trained.step, trained.hash, plan.kind, dtype, digest, parity, named
    )
    return _describe(facts, draft, plan.target)


def _expected(plan: _Plan, trained: Trained) -> Expected:
    """What the model says of a few real sequences, before anything is merged or rounded."""
    policy, data = trained.policy, plan.recipe.data
    renderer = make_renderer(policy, data)
    if data.template not in ("model", "none"):
        policy.tokenizer.chat_template = renderer.template.source  # the one trained with goes along
    groups, source = probe_groups(plan.recipe, renderer)
    return expect(
        policy.model,
        policy.tokenizer,
        groups,
        source=source,
        stop_ids=policy.stop_ids,
        settings=trained.settings,
        chat=data.template != "none",
    )


def _describe(facts: CardFacts, draft: Path, target: Path) -> ExportResult:
    """Write simpo.json and README.md and take the hashes of all files."""
    lineage = facts.run.lineage()
    root = root_of(lineage, facts.recipe)
    chain = stages(facts.run, lineage, root)
    export = {
        "kind": facts.kind,
        "dtype": facts.dtype,
        "checkpoint": {"step": facts.step, "model_hash": facts.checkpoint_hash},
        "model_hash": facts.hash,
        "parity": facts.parity.as_dict(),
    }
    with storage_errors(target, fix=_AFTER_FULL_DISK):
        write_card(draft / "README.md", facts, lineage, root, chain)
        method = facts.recipe.method.describe()
        content = lineage_json(chain, method, export, _hash_files(draft))
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        (draft / "simpo.json").write_text(text + "\n", encoding="utf-8")
        files = _hash_files(draft)
    return ExportResult(target, facts.kind, facts.dtype, facts.step, facts.hash, files, facts.parity)


@dataclass(frozen=True, slots=True)
class _Base:
    """The base of an exported adapter: its folder here, how adapter_config.json names it, whether it goes along."""

    folder: Path
    name: str
    revision: str | None
    copied: bool

    @classmethod
    def of(cls, trained: Trained, folder: Path, plan: _Plan) -> _Base:
        """A base out of a run goes along: nobody else has it, and run folders are cleared away. Others are named.

        adapter_config.json has no word for "beside me", so it gets the absolute path, which tools on this machine
        follow; the card shows how to load it after a move.
        """
        if trained.own_base or plan.run.lineage()["model"]["parent_run"] is not None:
            return cls(folder, str((plan.target / "base").resolve()), None, True)
        folder, name = folder.resolve(), plan.recipe.model.name
        if folder.parent.name == "snapshots" and name.count("/") == 1:
            return cls(folder, name, folder.name, False)  # a hub id at the commit that was downloaded
        return cls(folder, str(folder), None, False)

    def beside(self, draft: Path) -> Path:
        """Where the base lies while the export is being written."""
        return draft / "base" if self.copied else self.folder

    @property
    def public(self) -> tuple[str, str | None]:
        """How the card names it: ("base", None) when it goes along, a hub id with its commit, or a folder's name."""
        if self.copied:
            return "base", None
        return (self.name, self.revision) if self.revision else (self.folder.name, None)


def _convert(model: Any, trained: Trained, plan: _Plan) -> str:
    """Round the weights to be written, in place, and return the name of their type."""
    types = []
    for name, parameter in model.named_parameters():
        if plan.kind == "adapter" and "lora_" not in name:
            continue
        target = trained.dtypes[name] if plan.dtype == "keep" else getattr(torch, plan.dtype)
        parameter.data = parameter.data.to(target)
        types.append(str(target).removeprefix("torch."))
    return max(types, key=types.count)  # a model may keep a few of its weights wider


def _write_model(trained: Trained, draft: Path, base: _Base | None, target: Path) -> None:
    """Write weights, tokenizer and generation config."""
    policy = trained.policy
    with storage_errors(target, fix=_AFTER_FULL_DISK):
        if base is not None:
            config = policy.model.peft_config["default"]
            config.base_model_name_or_path, config.revision = base.name, base.revision
            policy.model.save_pretrained(draft, save_embedding_layers=False)
            if base.copied:
                shutil.copytree(base.folder, draft / "base")
        else:
            policy.model.save_pretrained(draft, max_shard_size=_MAX_SHARD)
        _generation_config(trained).save_pretrained(draft)
        policy.tokenizer.save_pretrained(draft)
        mode = (draft / "generation_config.json").stat().st_mode
        for weights in draft.rglob("*.safetensors"):
            weights.chmod(mode)  # safetensors writes for its user alone, whatever the umask


def _generation_config(trained: Trained) -> Any:
    """The model's own, but stopping at every token that ended a reply in training."""
    policy = trained.policy
    config = copy.deepcopy(policy.model.generation_config)
    stops = sorted(policy.stop_ids, key=lambda token: (token != policy.tokenizer.eos_token_id, token))
    config.eos_token_id = stops[0] if len(stops) == 1 else stops
    config._from_model_config = (
        False  # else `generate` may make it anew from config.json, stop tokens included
    )
    if config.pad_token_id is None:
        config.pad_token_id = policy.tokenizer.pad_token_id
    return config


def _require_free(target: Path) -> None:
    try:
        free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
        if free:
            target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(f"cannot write here: {reason}", where=str(target), fix=_OTHER_OUT) from error
    if not free:
        raise RecipeError("this exists already; nothing was changed", where=str(target), fix=_OTHER_OUT)


@contextmanager
def _written_beside(target: Path) -> Iterator[Path]:
    """A folder beside the target that takes its name when the block ends well, and is gone when it does not."""
    draft = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with storage_errors(target, fix=_AFTER_FULL_DISK):
        draft.mkdir()
    try:
        yield draft
        with storage_errors(target, fix=_AFTER_FULL_DISK):
            draft.rename(target)
            sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file by its name within the folder, each on the disk for good."""
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
