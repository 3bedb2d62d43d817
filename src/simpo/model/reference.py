"""The reference of the DPO family: the starting policy, live, behind the adapter, or scored once and cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from simpo.core.logps import SequenceLogps, concatenate
from simpo.errors import RunFailed
from simpo.model.fetch import cache_folder
from simpo.model.score import Progress, Scorer, evaluating, score, score_all
from simpo.records import TokenGroup
from simpo.runs.folder import write_atomic
from simpo.runs.ranks import current


class Reference(Protocol):
    """Gives the reference's log-probabilities of groups, [sum of K], without a graph."""

    def __call__(self, groups: Sequence[TokenGroup]) -> SequenceLogps: ...


class LiveReference:
    """A second model held beside the policy: twice the weights, nothing computed ahead."""

    def __init__(self, model: Any, scorer: Scorer = score) -> None:
        self.model = model.eval().requires_grad_(False)
        self.scorer = scorer

    def __call__(self, groups: Sequence[TokenGroup]) -> SequenceLogps:
        with torch.no_grad():
            return self.scorer(self.model, groups)


class AdapterOffReference:
    """The policy with its adapter switched off: no second model, one more forward a step."""

    def __init__(self, model: Any, scorer: Scorer = score) -> None:
        self.model = model
        self.scorer = scorer

    def __call__(self, groups: Sequence[TokenGroup]) -> SequenceLogps:
        with evaluating(self.model), torch.no_grad(), self.model.disable_adapter():
            return self.scorer(self.model, groups)


class PrecomputedReference:
    """Scored once before training and looked up by the row's content hash: no second model, no second forward."""

    def __init__(self, logps: dict[str, SequenceLogps], device: torch.device) -> None:
        self.logps = logps
        self.device = device

    def __call__(self, groups: Sequence[TokenGroup]) -> SequenceLogps:
        found = concatenate([self.logps[group.row.id] for group in groups])
        return SequenceLogps(found.total.to(self.device), found.tokens.to(self.device))


def cache_key(model_hash: str, groups: Sequence[TokenGroup], *settings: str) -> str:
    """sha256 over the model, every token id to be scored and the settings that change the numbers."""
    digest = hashlib.sha256(json.dumps([model_hash, *settings]).encode())
    for group in groups:
        digest.update(f"\n{group.row.id} {len(group.completions)}".encode())
        for ids in (group.prompt, *group.completions):
            digest.update(len(ids).to_bytes(4, "little"))
            digest.update(ids.astype("<i4").tobytes())
    return digest.hexdigest()


def precompute(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    key: str,
    device: torch.device,
    batch_size: int = 8,
    scorer: Scorer = score,
    progress: Progress | None = None,
) -> PrecomputedReference:
    """Score `groups` with the starting policy, or read what was scored before under the same key.

    A cache that cannot be read or written costs the time to score again and nothing else.
    """
    path = cache_folder() / "reference" / f"{key}.safetensors"
    tokens = [len(completion) for group in groups for completion in group.completions]
    ranks = current()
    logps = ranks.on_main(_read_cache, path, tokens)  # every machine may have a cache of its own
    if logps is None:
        logps = score_all(model, groups, batch_size=batch_size, scorer=scorer, progress=progress)
        ranks.on_main(_write_cache, path, logps)
    by_row: dict[str, SequenceLogps] = {}
    place = 0
    for group in groups:
        by_row[group.row.id] = logps[place : place + len(group.completions)]
        place += len(group.completions)
    return PrecomputedReference(by_row, device)


def _write_cache(path: Path, logps: SequenceLogps) -> None:
    if not bool(torch.isfinite(logps.total).all()):
        return  # whatever went wrong is not to be kept
    with suppress(OSError, RunFailed):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save({"total": logps.total, "tokens": logps.tokens}))


def _read_cache(path: Path, tokens: list[int]) -> SequenceLogps | None:
    """What was scored before; a file that is missing, torn or of other completions counts as nothing."""
    try:
        tensors = load_file(path)
        logps = SequenceLogps(tensors["total"], tensors["tokens"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return logps if logps.tokens.tolist() == tokens else None
