"""What the trials of a sweep have in common, made once: rows read and rendered, the model loaded, its start scored."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps, concatenate
from simpo.core.objective import Objective
from simpo.data.read import read_rows
from simpo.data.render import render_rows
from simpo.errors import DataError, RecipeError
from simpo.evaluate.evaluate import choose_prompts
from simpo.model.load import Policy
from simpo.model.reference import PrecomputedReference, cache_key
from simpo.model.score import score_all
from simpo.model.weights import is_adapter, save_weights
from simpo.recipe import Recipe
from simpo.records import TokenGroup
from simpo.runs.folder import storage_errors
from simpo.study.sweep.space import SweepRecipe
from simpo.train.accelerator import make_accelerator, matmul_precision, run_scorer
from simpo.train.prepare import Prepared, Progress, prepare


@dataclass(frozen=True, slots=True)
class Measured:
    """The pairs every trial is measured on, rendered: held-out, some it was trained on, paraphrases if any."""

    validation: tuple[TokenGroup, ...]
    train_sample: tuple[TokenGroup, ...]
    paraphrases: tuple[TokenGroup, ...]

    @property
    def all(self) -> list[TokenGroup]:
        """All of them."""
        return [*self.validation, *self.train_sample, *self.paraphrases]

    @property
    def clusters(self) -> list[int]:
        """Which prompt each held-out pair belongs to, as a number."""
        numbers: dict[str, int] = {}
        return [numbers.setdefault(group.row.prompt_id, len(numbers)) for group in self.validation]


class Shared:
    """Lends each trial the same start. A trial trains the lent model in place; `take` puts it back as it was loaded."""

    prepared: Prepared
    measured: Measured
    start: PrecomputedReference

    def __init__(self, settings: SweepRecipe, out: Path, progress: Progress | None = None) -> None:
        self.settings, self.out, self.progress = settings, out, progress
        self.seconds = 0.0
        self._key: str | None = None
        self._weights: dict[str, Tensor] | None = None

    def take(self, recipe: Recipe) -> Prepared:
        """What `train` needs for a trial of this recipe, its policy as freshly loaded."""
        key = _what_is_shared(recipe)
        if key != self._key:
            self._load(recipe, key)
        if (
            recipe.adapter.type == "none" and self._weights is None
        ):  # before the first trial that will change them
            state = self._model.state_dict()
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self._restore()
        method = recipe.method
        objective = Objective.of(method.name, method.parameters, method.chosen_sft_weight)
        return replace(self.prepared, objective=objective)

    @property
    def held_out(self) -> str:
        """A hash of the held-out pairs as the model sees them: trials are compared on the same ones."""
        return cache_key("held-out", self.measured.validation)

    def _load(self, recipe: Recipe, key: str) -> None:
        began = time.perf_counter()
        self._weights = None
        self.prepared = prepare(recipe, self.progress)
        policy = self.prepared.policy
        if policy.merged and recipe.adapter.type != "none":
            self._keep_base(policy)
        self._model = policy.model
        self._trained = {name: p.requires_grad for name, p in policy.model.named_parameters()}
        self._attention = policy.model.config._attn_implementation
        if not self.prepared.validation:
            raise RecipeError("there are no validation pairs to choose by", fix="set data.validation")
        self.measured = self._measured(recipe)
        self.start = self._score_start(recipe, policy)
        self._key = key
        self.seconds += time.perf_counter() - began

    def _keep_base(self, policy: Policy) -> None:
        """Write a model that exists in memory alone once, for the adapters of all trials, instead of once a trial."""
        base = self.out / "base" / policy.hash[:16]
        if not base.exists():
            temporary = base.with_name(f".{base.name}.{os.getpid()}")
            with storage_errors(base):
                save_weights(policy, temporary)
                try:
                    temporary.rename(base)
                except OSError:  # another worker was as quick, and wrote the same
                    shutil.rmtree(temporary)
                    if not base.exists():
                        raise
        policy.folder, policy.merged = base, False

    def _measured(self, recipe: Recipe) -> Measured:
        validation = self.prepared.validation
        count = self.settings.train_sample or len(validation)
        sample = choose_prompts(self.prepared.train, count, seed=recipe.evaluate.seed)
        return Measured(validation, tuple(sample), self._paraphrases(recipe))

    def _paraphrases(self, recipe: Recipe) -> tuple[TokenGroup, ...]:
        if self.settings.paraphrases is None:
            return ()
        data = recipe.data
        dataset = read_rows(
            self.settings.paraphrases,
            kind="pairs",
            on_bad_row=data.on_bad_row,
            format=data.format,
            columns=data.columns,
            pairing=data.pairing,
        )
        groups = render_rows(dataset.rows, self.prepared.renderer).groups
        if not groups:
            raise DataError("no paraphrase is left after filtering", where=self.settings.paraphrases)
        return groups

    def _score_start(self, recipe: Recipe, policy: Policy) -> PrecomputedReference:
        """Log-probabilities of the start for all that is measured: reference, drift and the start's own accuracy."""
        groups, tell = self.measured.all, self.progress

        def report(done: int, total: int) -> None:
            if tell is not None:
                tell("scoring the start", done, total)

        logps = scored(recipe, policy, groups, report)
        return PrecomputedReference(by_row(groups, logps), torch.device("cpu"))

    def _restore(self) -> None:
        """The model as it was loaded: adapter off, weights, modes and attention as they were, no gradients left."""
        policy = self.prepared.policy
        if is_adapter(policy):
            policy.model.unload()
        model: Any = self._model
        policy.model = model
        if self._weights is not None:
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    tensor.copy_(self._weights[name])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self._trained[name])
            parameter.grad = None
        if hasattr(model, "activation_checkpointing_disable"):
            model.activation_checkpointing_disable()
        else:  # its name before transformers 5.20
            model.gradient_checkpointing_disable()
        if model.config._attn_implementation != self._attention:
            model.set_attn_implementation(self._attention)
        model.eval()


def scored(recipe: Recipe, policy: Policy, groups: Sequence[TokenGroup], report: Any = None) -> SequenceLogps:
    """Log-probabilities of all completions [sum of K] as a run of this recipe scores them."""
    with matmul_precision(recipe.train.precision):
        accelerator = make_accelerator(recipe, policy.device)
        scorer = run_scorer(recipe, accelerator, policy.model, groups, gradients=False).scorer
        return score_all(
            policy.model, groups, batch_size=recipe.evaluate.batch_size, scorer=scorer, progress=report
        )


def by_row(groups: Sequence[TokenGroup], logps: SequenceLogps) -> dict[str, SequenceLogps]:
    """Each row's part of the log-probabilities of all."""
    found: dict[str, SequenceLogps] = {}
    place = 0
    for group in groups:
        found[group.row.id] = logps[place : place + len(group.completions)]
        place += len(group.completions)
    return found


def of_rows(groups: Sequence[TokenGroup], found: dict[str, SequenceLogps]) -> SequenceLogps:
    """The log-probabilities of these groups, in order."""
    return concatenate([found[group.row.id] for group in groups])


def _what_is_shared(recipe: Recipe) -> str:
    """Two recipes of one key begin with the same rows, the same tokens and the same model."""
    split = recipe.train.seed if recipe.data.validation is None else None
    return json.dumps(
        [recipe.model.model_dump(), recipe.data.model_dump(), recipe.train.device, split], sort_keys=True
    )
