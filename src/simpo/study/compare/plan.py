"""What a comparison compares: its methods, their runs by seed, and the checks that make them comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simpo.core.methods import METHODS
from simpo.data.read import read_rows
from simpo.errors import RecipeError
from simpo.recipe import EvaluateRecipe, LoadedRecipe, Recipe
from simpo.records import Dataset
from simpo.runs.folder import RunFolder
from simpo.study.compare.budget import Equal, equal_budgets
from simpo.train.prepare import Progress, load_data

BASE = "base"  # the id of the model that all start from


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One training of one method. name: of its files, like no other's. loaded: what to train, None for a run given."""

    name: str
    seed: int
    folder: Path
    recipe: Recipe
    loaded: LoadedRecipe | None


@dataclass(frozen=True, slots=True)
class Contender:
    """One method at one setting, and its runs, one a seed. source: the recipe's file, None where runs were given."""

    id: str
    label: str
    source: str | None
    runs: tuple[PlannedRun, ...]

    @property
    def recipe(self) -> Recipe:
        """The recipe of its first run; the others differ in seed and output alone."""
        return self.runs[0].recipe


@dataclass(frozen=True, slots=True)
class Plan:
    """A comparison to be made in the folder `out`; `settings` and `data` are the same for all models."""

    out: Path
    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...]
    equal: Equal
    settings: EvaluateRecipe
    data: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def recipe(self) -> Recipe:
        """The first method's recipe: it names the starting model and how pairs are rendered."""
        return self.contenders[0].recipe


@dataclass(frozen=True, slots=True)
class Given:
    """What the user named: a recipe by its file, or the folder of a run."""

    name: str
    recipe: LoadedRecipe | None = None
    run: Path | None = None


def make_plan(
    given: Sequence[Given],
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    equal: Equal = "pairs",
    data: Sequence[str] = (),
    evaluate: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Sort recipes and runs into methods, give each recipe its seeds and budget, and check that all are comparable.

    data: pairs to measure on in place of the recipes' own held-out ones. evaluate: settings over those of the first
    recipe. Raises RecipeError where fewer than two methods are named, where they start from different models or name
    different held-out pairs, where several seeds would hold out different pairs, and for methods without pairs.
    """
    if len(set(seeds)) < len(seeds) or not seeds:
        raise RecipeError(
            f"seeds {', '.join(map(str, seeds)) or '(none)'} must be different numbers, at least one"
        )
    recipes = [(one.name, one.recipe) for one in given if one.recipe is not None]
    budgeted = equal_budgets(recipes, equal, progress)
    contenders = _contenders(given, budgeted, out, tuple(seeds))
    if len(contenders) < 2:
        raise RecipeError(
            "a comparison needs two methods at least", fix="name two recipes, or runs of two methods"
        )
    first = contenders[0].recipe
    for contender in contenders:
        _check(contender, contenders[0].runs[0], several=len(contender.runs) > 1, own_data=not data)
    settings = EvaluateRecipe.model_validate({**first.evaluate.model_dump(), **(evaluate or {})})
    held_out = tuple(data) or _held_out_files(first)
    return Plan(
        out, contenders, tuple(seeds), equal, settings, held_out, tuple(_warnings(contenders, settings))
    )


def read_held_out(plan: Plan) -> Dataset:
    """The pairs that every model is measured on. Raises DataError as `read_rows`, RecipeError where there are none."""
    recipe, data = plan.recipe, plan.recipe.data
    if not plan.data:
        found = load_data(recipe).get("validation")
        if found is None:
            raise RecipeError(
                "there are no held-out pairs to compare on", fix="set data.test, or give --data FILE"
            )
        return found
    named = list(plan.data) == _as_list(data.test) or list(plan.data) == _as_list(data.validation)
    limit = data.limit_test if list(plan.data) == _as_list(data.test) else data.limit_validation
    return read_rows(
        plan.data,
        kind="pairs",
        on_bad_row=data.on_bad_row,
        limit=limit if named else None,
        format=data.format if named else None,
        columns=data.columns if named else None,
        pairing=data.pairing,
    )


def _as_list(files: str | list[str] | None) -> list[str]:
    return [] if files is None else [files] if isinstance(files, str) else list(files)


def _held_out_files(recipe: Recipe) -> tuple[str, ...]:
    return tuple(_as_list(recipe.data.test) or _as_list(recipe.data.validation))


def _contenders(
    given: Sequence[Given], budgeted: Mapping[str, LoadedRecipe], out: Path, seeds: tuple[int, ...]
) -> tuple[Contender, ...]:
    """The methods in the order named; runs of one recipe but for the seed are one method."""
    found: list[tuple[str, str, LoadedRecipe | None, list[PlannedRun]]] = []
    for one in given:
        if one.run is not None:
            recipe = RunFolder.open(one.run).load_recipe().recipe
            run = PlannedRun(one.run.name, recipe.train.seed, one.run, recipe, None)
            same = next(
                (entry for entry in found if entry[2] is None and _same(entry[3][0].recipe, recipe)), None
            )
            if same is not None:
                same[3].append(run)
                continue
            found.append((recipe.method.name, str(one.run), None, [run]))
        elif one.recipe is not None:
            found.append((one.recipe.recipe.method.name, one.name, budgeted[one.name], []))
    ids = _names(
        [
            (method.replace("_", "-"), Path(name).name if loaded is None else Path(name).stem)
            for method, name, loaded, _ in found
        ]
    )
    contenders = []
    for id_, (method, name, loaded, runs) in zip(ids, found, strict=True):
        if loaded is not None:
            runs = [_planned(loaded, id_, seed, out) for seed in seeds]
        title = METHODS[method].title
        label = title if [entry[0] for entry in found].count(method) == 1 else f"{title} ({id_})"
        contenders.append(Contender(id_, label, None if loaded is None else name, tuple(runs)))
    names = iter(_unlike([run.name for one in contenders for run in one.runs]))
    return tuple(
        replace(one, runs=tuple(replace(run, name=next(names)) for run in one.runs)) for one in contenders
    )


def _names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A short name for each: the method's, or the file's where one method stands there twice."""
    methods = [method for method, _ in wanted]
    return _unlike([method if methods.count(method) == 1 else stem for method, stem in wanted])


def _unlike(names: Sequence[str]) -> list[str]:
    """The names, numbered where one was taken before; `base` is always taken."""
    unique: list[str] = []
    for name in names:
        number, taken = 1, {BASE, *unique}
        while (f"{name}-{number}" if number > 1 else name) in taken:
            number += 1
        unique.append(f"{name}-{number}" if number > 1 else name)
    return unique


def _planned(loaded: LoadedRecipe, name: str, seed: int, out: Path) -> PlannedRun:
    folder = out / "runs" / f"{name}-seed{seed}"
    recipe = loaded.recipe.model_copy(
        update={"output": str(folder), "train": loaded.recipe.train.model_copy(update={"seed": seed})}
    )
    origins = {**loaded.origins, "output": "simpo compare", "train.seed": "simpo compare"}
    return PlannedRun(folder.name, seed, folder, recipe, LoadedRecipe(recipe, origins))


def _same(one: Recipe, other: Recipe) -> bool:
    return settings_of(one) == settings_of(other)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Everything that decides what a run becomes, by dotted key, but for its seed; not where it lies or is told."""
    flat = LoadedRecipe(recipe, {}).resolved()[0]
    apart = ("output", "train.seed", "train.device", "train.keep_checkpoints", "train.save_every")
    return {
        key: value
        for key, value in flat.items()
        if key not in apart and not key.startswith(("evaluate.", "tracking."))
    }


def _same_start(one: PlannedRun, other: PlannedRun) -> bool:
    """Whether two runs start from one model: by its hash where both have begun, else by what the recipes name."""
    if one.loaded is None and other.loaded is None:
        first, second = (RunFolder.open(run.folder).lineage()["model"]["hash"] for run in (one, other))
        return bool(first == second)
    keys = ("name", "revision")
    return all(getattr(one.recipe.model, key) == getattr(other.recipe.model, key) for key in keys)


def _check(contender: Contender, first: PlannedRun, *, several: bool, own_data: bool) -> None:
    recipe, where = contender.recipe, contender.source or str(contender.runs[0].folder)
    if not METHODS[recipe.method.name].pairwise:
        raise RecipeError(f"method {recipe.method.name} has no reward to compare by", where=where)
    if not all(_same_start(run, first) for run in contender.runs):
        raise RecipeError(
            f"starts from {recipe.model.name}, the first method from another model, {first.recipe.model.name}",
            where=where,
            fix="give all methods one start: --set model.name=...",
        )
    if not own_data:
        return
    split_off = not _held_out_files(recipe) and recipe.data.validation_fraction > 0
    if split_off and several:
        raise RecipeError(
            "each seed would hold out other pairs of data.train, and be measured on pairs that another one learnt",
            where=where,
            fix="name a file: data.test or data.validation, or --data FILE",
        )
    same = ("test", "validation", "limit_test", "limit_validation", "pairing", "format", "columns")
    for key in same:
        if getattr(recipe.data, key) != getattr(first.recipe.data, key):
            raise RecipeError(
                f"data.{key} differs from the first method's: they would be measured on other pairs",
                where=where,
                fix="give --data FILE, the pairs to measure all on",
            )


def _warnings(contenders: Sequence[Contender], settings: EvaluateRecipe) -> list[str]:
    found = []
    alone = [contender.label for contender in contenders if len(contender.runs) == 1]
    if alone:
        found.append(
            f"One seed only ({', '.join(alone)}): the intervals tell of other prompts, not of training again. "
            "Another seed can move a small model's accuracy by several points."
        )
    first = contenders[0]
    unlike = [one.label for one in contenders[1:] if one.recipe.evaluate != first.recipe.evaluate]
    if unlike:
        found.append(
            f"All are measured as {first.label}'s recipe says; the evaluate section of {', '.join(unlike)} differs."
        )
    if not settings.generate:
        found.append(
            "No replies were written (evaluate.generate is 0): nothing is known of lengths or of a judge."
        )
    elif settings.judge is None:
        found.append("No judge was named (evaluate.judge): there are no win rates.")
    if any(contender.recipe.data.test is None for contender in contenders):
        found.append(
            "Without data.test the pairs measured on also chose each run's checkpoint: a little too favourable."
        )
    return found
