"""Everything a run needs before its first step: policy, token groups, reference, objective."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from simpo.core.methods import METHODS
from simpo.core.objective import Objective
from simpo.data.render import Rendered, Renderer, check_groups, render_rows
from simpo.data.split import split_by_prompt
from simpo.data.version import read_checked
from simpo.errors import DataError, RecipeError
from simpo.model.load import Policy, add_adapter, choose_device, load_policy
from simpo.model.reference import AdapterOffReference, LiveReference, Reference, cache_key, precompute
from simpo.model.score import Scorer
from simpo.model.weights import save_weights
from simpo.recipe import DataRecipe, Recipe
from simpo.records import Dataset, Dropped, TokenGroup
from simpo.runs.folder import storage_errors
from simpo.runs.ranks import current
from simpo.train.feedback import feedback_rates

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run about to begin. `train` and `validation` are token groups; `datasets` tells what they came from.

    hashes: of the rows of each data set. token_hashes: of what the model gets to see of them, so that another
    template, tokenizer or length limit shows.
    """

    policy: Policy
    renderer: Renderer
    objective: Objective
    train: tuple[TokenGroup, ...]
    validation: tuple[TokenGroup, ...]
    summary: dict[str, Any]
    datasets: dict[str, Dataset]
    hashes: dict[str, str]
    token_hashes: dict[str, str]


def load_data(recipe: Recipe) -> dict[str, Dataset]:
    """Read the training and validation rows a recipe names; the validation is split off where none is named."""
    data = recipe.data
    kind: Literal["pairs", "examples"] = "pairs" if METHODS[recipe.method.name].pairwise else "examples"

    def read(spec: str | list[str], limit: int | None, min_margin: float = 0.0) -> Dataset:
        return read_checked(
            spec,
            kind=kind,
            on_bad_row=data.on_bad_row,
            limit=limit,
            sft_turns=data.sft_turns,
            format=data.format,
            columns=data.columns,
            pairing=data.pairing,
            min_margin=min_margin,
        )

    # Only what is trained on is chosen by margin: figures of pairs that are easy to tell apart would flatter.
    train = read(data.train, data.limit, data.min_margin)
    if data.validation is not None:
        return {"train": train, "validation": read(data.validation, data.limit_validation)}
    if data.validation_fraction == 0:
        return {"train": train}
    kept, held = split_by_prompt(train.rows, data.validation_fraction, seed=recipe.train.seed)
    held = held[: data.limit_validation] if data.limit_validation else held
    if not held:
        return {"train": train}
    parts = {"train": (kept, train.dropped), "validation": (held, ())}
    return {
        name: Dataset(
            f"{train.name} ({name} part)", tuple(rows), dropped, train.format, train.files, train.version
        )
        for name, (rows, dropped) in parts.items()
    }


def make_renderer(policy: Policy, data: DataRecipe) -> Renderer:
    """The renderer of a recipe's data section for this policy."""
    return tokenizer_renderer(policy.tokenizer, policy.stop_ids, data)


def tokenizer_renderer(tokenizer: Any, stop_ids: frozenset[int], data: DataRecipe) -> Renderer:
    """The renderer of a recipe's data section for a tokenizer alone, no weight loaded."""
    return Renderer(
        tokenizer,
        stop_ids=stop_ids,
        template=data.template,
        max_length=data.max_length,
        overlong=data.overlong,
        trim_turns=data.trim_turns,
    )


def render_dataset(
    dataset: Dataset, renderer: Renderer, on_bad_row: str, progress: Progress | None = None
) -> Rendered:
    """Render and check a data set; DataError when nothing is left, or at the first row the template refuses.

    Over-long rows follow `data.overlong`; other rows that cannot be rendered follow `on_bad_row`.
    """
    report = None if progress is None else lambda done: progress("tokenising", done, len(dataset.rows))
    rendered = render_rows(dataset.rows, renderer, report)
    refused = [row for row in rendered.dropped if row.reason != "overlong"]
    if refused and on_bad_row == "error":
        more = f" (and {len(refused) - 1} more rows that cannot be rendered)" if len(refused) > 1 else ""
        raise DataError(
            refused[0].detail + more,
            where=str(refused[0].source),
            fix="mend or remove the row, or set data.on_bad_row: drop, which leaves such rows out and counts them",
        )
    if not rendered.groups:
        counts = ", ".join(f"{count} {reason}" for reason, count in _count(rendered.dropped).items())
        raise DataError(
            f"no row is left after filtering ({counts})",
            where=dataset.name,
            fix="raise data.max_length, or look at the rows",
        )
    check_groups(rendered.groups, renderer)
    return rendered


def prepare(recipe: Recipe, progress: Progress | None = None) -> Prepared:
    """Load data first (its errors are the cheapest to find), then the policy, then render."""
    datasets = load_data(recipe)
    _require_effect(recipe, datasets)
    policy = load_policy(recipe.model, device=choose_device(recipe.train.device))
    _require_targets(recipe, policy.model)
    renderer = make_renderer(policy, recipe.data)
    rendered = {
        name: render_dataset(dataset, renderer, recipe.data.on_bad_row, progress)
        for name, dataset in datasets.items()
    }
    objective = Objective.of(recipe.method.name, recipe.method.parameters, recipe.method.chosen_sft_weight)
    hashes = {name: dataset.hash for name, dataset in datasets.items()}
    return Prepared(
        policy,
        renderer,
        objective,
        rendered["train"].groups,
        rendered["validation"].groups if "validation" in rendered else (),
        {name: _summary(datasets[name], rendered[name], hashes[name]) for name in datasets},
        datasets,
        hashes,
        {name: cache_key("tokens", part.groups) for name, part in rendered.items()},
    )


def _require_effect(recipe: Recipe, datasets: dict[str, Dataset]) -> None:
    """RecipeError for settings of evaluation during training where there is nothing to evaluate on.

    DataError where feedback is named that cannot be read: better now than at the end of an epoch.
    """
    if recipe.guard.feedback is not None:
        feedback_rates(Path(recipe.guard.feedback))
    if "validation" in datasets:
        return
    for key in ("evaluate_every", "patience"):
        if getattr(recipe.train, key) is not None:
            raise RecipeError(
                f"train.{key} has no effect: there are no validation rows",
                fix="set data.validation or data.validation_fraction, or remove it",
            )


def _require_targets(recipe: Recipe, model: Any) -> None:
    """RecipeError for a name in adapter.target that no module has: peft passes over one name of several in silence."""
    if recipe.adapter.type == "none" or isinstance(recipe.adapter.target, str):
        return
    names = [name for name, _ in model.named_modules()]
    for target in recipe.adapter.target:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            linear = [n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
            have = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise RecipeError(
                f"adapter.target {target!r} is the name of no module of this model",
                fix=f"set adapter.target: all-linear, or take names from {have}",
            )


def make_reference(
    recipe: Recipe, prepared: Prepared, scorer: Scorer, progress: Progress | None = None
) -> Reference | None:
    """The reference the method asks for, or None. Must be called while the policy is still the starting one."""
    mode, policy = recipe.reference_mode, prepared.policy
    if mode is None:
        return None
    if mode == "adapter_off":
        return AdapterOffReference(policy.model, scorer)
    if mode == "live":
        return LiveReference(load_policy(recipe.model, device=policy.device).model, scorer)
    groups = [*prepared.train, *prepared.validation]
    key = cache_key(policy.hash, groups, recipe.model.dtype, recipe.train.precision, policy.device.type)
    report = (
        None if progress is None else lambda done, total: progress("scoring with the reference", done, total)
    )
    return precompute(
        policy.model,
        groups,
        key=key,
        device=policy.device,
        batch_size=recipe.evaluate.batch_size,
        scorer=scorer,
        progress=report,
    )


def attach_adapter(recipe: Recipe, policy: Policy, run: Path) -> None:
    """Put a fresh adapter on the policy if the recipe wants one.

    Weights that exist only in memory (a parent's adapter merged into its base) are saved in the run first, so that the
    new adapter has a base to be loaded on.
    """
    if recipe.adapter.type == "none":
        return
    if hasattr(policy.model, "peft_config"):
        raise RecipeError(
            "the run starts from an adapter over a quantised base, into which it cannot be merged",
            where=str(policy.folder),
            fix="export that run merged (`simpo export --kind merged`) and start from the export",
        )
    base = policy.folder
    if policy.merged:
        base = run / "base"
        current().on_main(_save_base, policy, base)
    add_adapter(policy, recipe.adapter, base_folder=base.resolve(), seed=recipe.train.seed)


def _save_base(policy: Policy, base: Path) -> None:
    if not base.exists():
        temporary = base.with_name(".writing-base")
        with storage_errors(base):
            shutil.rmtree(temporary, ignore_errors=True)
            save_weights(policy, temporary)
            temporary.rename(base)


def checkpoint_activations(model: Any) -> None:
    """Let the model compute its activations again in backward; RecipeError for one that cannot."""
    settings = {"use_reentrant": False}
    try:
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable(settings)
        else:  # its name before transformers 5.20
            model.gradient_checkpointing_enable(settings)
    except ValueError as error:
        raise RecipeError(
            f"train.gradient_checkpointing: {error}", fix="set train.gradient_checkpointing: false"
        ) from None


def _summary(dataset: Dataset, rendered: Rendered, digest: str) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "format": dataset.format,
        "rows": len(rendered.groups),
        "dropped": _count((*dataset.dropped, *rendered.dropped)),
        "merged_boundaries": rendered.merged_boundaries,
        "trimmed_prompts": rendered.trimmed_prompts,
        "hash": digest,
        "median_tokens": median_tokens(rendered.groups),
    }


def median_tokens(groups: Sequence[TokenGroup]) -> dict[str, float]:
    """Median lengths in tokens of prompts, chosen and rejected (or of prompts and completions)."""
    names = ("chosen", "rejected") if len(groups[0].completions) == 2 else ("completion",)
    lengths = {"prompt": median(len(group.prompt) for group in groups)}
    for index, name in enumerate(names):
        lengths[name] = median(len(group.completions[index]) for group in groups)
    return lengths


def _count(dropped: Sequence[Dropped]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in dropped:
        counts[row.reason] = counts.get(row.reason, 0) + 1
    return dict(sorted(counts.items()))


def seed_everything(seed: int) -> None:
    """Seed torch on every device; data order and splits have seeds of their own, derived from the same number."""
    torch.manual_seed(seed)
