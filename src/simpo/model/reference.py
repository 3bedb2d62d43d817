"""The reference of the DPO family: the starting policy, live, behind the adapter, or scored once and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from simpo.core.logps import SequenceLogps, concatenate
from simpo.model.fetch import cache_folder
from simpo.model.score import Scorer, score, score_all
from simpo.records import TokenGroup
from simpo.runs.folder import write_atomic


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
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.model.disable_adapter():
                return self.scorer(self.model, groups)
        finally:
            self.model.train(training)


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
    digest = hashlib.sha256("\n".join([model_hash, *settings]).encode())
    for group in groups:
        digest.update(f"\n{group.row.id}".encode())
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
    progress: Callable[[int, int], None] | None = None,
) -> PrecomputedReference:
    """Score `groups` with the starting policy, or read what was scored before under the same key."""
    path = cache_folder() / "reference" / f"{key}.safetensors"
    logps = _read_cache(path)
    if logps is None:
        logps = score_all(model, groups, batch_size=batch_size, scorer=scorer, progress=progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save({"total": logps.total, "tokens": logps.tokens}))
    by_row: dict[str, SequenceLogps] = {}
    place = 0
    for group in groups:
        by_row[group.row.id] = logps[place : place + len(group.completions)]
        place += len(group.completions)
    return PrecomputedReference(by_row, device)


def _read_cache(path: Path) -> SequenceLogps | None:
    """What was scored before; a file that is missing or torn counts as nothing and is scored again."""
    try:
        tensors = load_file(path)
        return SequenceLogps(tensors["total"], tensors["tokens"])
    except (OSError, SafetensorError, KeyError):
        return None
