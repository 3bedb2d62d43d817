"""Measure any model, run or hub id on pairs that the user names: what `simpo eval` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simpo.core.methods import METHODS
from simpo.data.read import read_rows
from simpo.errors import RecipeError
from simpo.evaluate.evaluate import evaluate_model
from simpo.evaluate.files import check_label, read_evaluation, write_evaluation
from simpo.model.load import choose_device, load_policy
from simpo.recipe import Recipe, resolve_recipe
from simpo.runs.folder import RunFolder, is_run_folder
from simpo.runs.ranks import join
from simpo.study.align import evaluation_scorer, objective_of, run_reference
from simpo.train.accelerator import matmul_precision
from simpo.train.prepare import Progress, make_renderer


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for; what is None or absent is taken from the run's recipe, else from the defaults.

    format and columns go together: a format that is named (or `auto`) leaves the run's columns aside.
    """

    data: tuple[str, ...]
    label: str = "eval"
    method: str | None = None
    reference: str | None = None
    against: Path | None = None
    limit: int | None = None
    on_bad_row: str | None = None
    format: str | None = None
    columns: Mapping[str, str] | None = None
    pairing: str | None = None
    device: str = "auto"
    evaluate: Mapping[str, Any] = field(default_factory=dict)


def measure(
    name: str, settings: Settings, *, out: Path | None = None, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    """Evaluate a model and write the evaluation's files; returns the JSON's path and its contents.

    A run is measured as its recipe says (rendering, precision, method), its reference being its starting model. Raises
    RecipeError, DataError and RunFailed as reading, loading and evaluating do.
    """
    ranks = join(settings.device)
    check_label(settings.label)
    against = None if settings.against is None else read_evaluation(settings.against)
    recipe = _recipe_for(name, settings)
    dataset = read_rows(
        settings.data,
        kind="pairs",
        on_bad_row=recipe.data.on_bad_row,
        limit=settings.limit,
        format=recipe.data.format,
        columns=recipe.data.columns,
        pairing=recipe.data.pairing,
    )
    device = choose_device(settings.device)
    policy = load_policy(recipe.model.model_copy(update={"name": name, "revision": None}), device=device)
    renderer = make_renderer(policy, recipe.data)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("measuring", done, total)

    with matmul_precision(recipe.train.precision):
        evaluation = evaluate_model(
            policy,
            dataset,
            renderer,
            objective=objective_of(recipe),
            label=settings.label,
            settings=recipe.evaluate,
            reference=run_reference(recipe, dataset, renderer, progress=progress),
            against=against,
            scorer=evaluation_scorer(recipe, policy, renderer, dataset),
            progress=report,
        )
    folder = out or (Path(name) / "evaluation" if is_run_folder(Path(name)) else Path("evaluation"))
    return ranks.on_main(write_evaluation, folder, evaluation), evaluation.report


def _recipe_for(name: str, settings: Settings) -> Recipe:
    """The run's recipe with the user's wishes over it, or for a plain model the defaults with them."""
    own = is_run_folder(Path(name))
    values: dict[str, Any] = (
        RunFolder.open(name).load_recipe().recipe.model_dump()
        if own
        else {"output": "evaluation", "model": {"name": name}, "data": {"train": list(settings.data)}}
    )
    # What an SFT run says of its examples holds for no pairs.
    pairwise = METHODS[values.get("method", {}).get("name", "simpo")].pairwise
    values["method"] = _method(values.get("method", {}), settings)
    reference = METHODS[values["method"]["name"]].reference
    if settings.reference is not None:
        if not reference:
            raise RecipeError(
                "--reference has no effect: the method takes none", fix="remove it, or name --method dpo"
            )
        values["model"] = {**values["model"], "name": settings.reference, "revision": None}
    elif reference and not own:
        raise RecipeError(f"method {settings.method} needs a reference", fix="give --reference MODEL")
    values["data"] = {**values["data"], **_reading(settings, pairwise)}
    values["evaluate"] = {**values.get("evaluate", {}), **settings.evaluate}
    if not values["evaluate"].get(
        "generate"
    ):  # the run's judge has nothing to score unless replies are asked for
        values["evaluate"]["judge"] = settings.evaluate.get("judge")
    return resolve_recipe(values, where="simpo eval").recipe


def _reading(settings: Settings, pairwise: bool) -> dict[str, Any]:
    """What the user says of the files, over what a run says of its own."""
    given: dict[str, Any] = {} if pairwise else {"format": None, "columns": None}
    if settings.format is not None:
        given |= {"format": None if settings.format == "auto" else settings.format, "columns": None}
    for key in ("on_bad_row", "columns", "pairing"):
        if getattr(settings, key) is not None:
            given[key] = getattr(settings, key)
    return given


def _method(own: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """The method section to measure under: the run's, unless another is named or it is SFT, which has no reward."""
    name = settings.method or own.get("name", "simpo")
    if name not in METHODS:
        raise RecipeError(f"method {name!r} is not one of {', '.join(METHODS)}")
    if settings.method is None and not METHODS[name].pairwise:
        name = "simpo"
    return own if name == own.get("name") else {"name": name}
