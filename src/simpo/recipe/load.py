"""From a recipe file and `--set` overrides to a checked recipe that knows where each value came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from simpo.core.methods import METHODS
from simpo.errors import RecipeError
from simpo.recipe.keys import suggest
from simpo.recipe.schema import Recipe, known_keys
from simpo.recipe.section import Section
from simpo.recipe.text import flatten, key_lines, read_yaml, write_yaml
from simpo.recipe.version import with_version_files

S = TypeVar("S", bound=Section)
_LISTED = "`simpo recipe fields`"


@dataclass(frozen=True, slots=True)
class LoadedRecipe:
    """A checked recipe, and for each dotted key whether its value is a default or where it was given."""

    recipe: Recipe
    origins: Mapping[str, str]

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of the sections."""
        return flatten(self.recipe.model_dump(mode="json"))

    def resolved(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The values in force and where each came from, by dotted key; what has no effect is left out.

        A method's parameters stand there with the value that the loss gets, `reward_margin` as `gamma`.
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for key, value in self.flat().items():
            section, _, leaf = key.rpartition(".")
            if section == "method" and leaf != "name":
                continue
            if section == "adapter" and leaf != "type" and self.recipe.adapter.type == "none":
                continue
            if section == "guard" and not METHODS[self.recipe.method.name].pairwise:
                continue
            values[key] = value
            origins[key] = self.origins.get(key, "default")
            if key == "method.name":
                for leaf, (setting, origin) in self._resolved_method().items():
                    values[f"method.{leaf}"], origins[f"method.{leaf}"] = setting, origin
        return values, origins

    def _resolved_method(self) -> dict[str, tuple[float | str | None, str]]:
        recipe = self.recipe.method
        method = METHODS[recipe.name]
        values: dict[str, float | str | None] = dict(recipe.parameters)
        if method.uses("sft_weight"):
            values["sft_weight"] = recipe.chosen_sft_weight
        if method.uses("reference"):
            values["reference"] = self.recipe.reference_mode
        found = {}
        for leaf, value in values.items():
            given = "reward_margin" if leaf == "gamma" and recipe.reward_margin is not None else leaf
            origin = f"default of {recipe.name}"
            if getattr(recipe, given) is not None:
                origin = self.origins.get(f"method.{given}", "default")
            found[leaf] = (value, origin)
        return found

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, each value with its origin in a comment; it reads back to the same run."""
        values, origins = self.resolved()
        method = self.recipe.method
        if method.reward_margin is not None:
            origins["method.gamma"] += f"; given as reward margin {method.reward_margin:g}"
        elif METHODS[method.name].uses("reward_margin"):
            margin = method.parameters["beta"] * method.parameters["gamma"]
            origins["method.gamma"] += f"; reward margin {margin:g}"
        return write_yaml(values, origins)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read a recipe file, apply `--set key=value` overrides and check it.

    Raises `RecipeError` naming the file, the key, the value and what to do.
    """
    values, lines = load_values(path, "see `simpo recipe list`")
    return resolve_recipe(values, overrides, where=str(path), lines=lines)


def load_values(path: Path | str, fix: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The nested values of a YAML file of sections, unchecked, and the line of each dotted key.

    Raises `RecipeError` for a file that cannot be read, is no YAML or no mapping; `fix` says what to write instead.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read the recipe: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise RecipeError("the recipe is not UTF-8 text", where=str(path)) from error
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"not valid YAML: {getattr(error, 'problem', error)}", where=where) from error
    if not isinstance(values, dict):
        raise RecipeError("a recipe is a mapping of sections", where=str(path), fix=fix)
    return values, key_lines(text)


def resolve_recipe(
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    where: str = "recipe",
    lines: Mapping[str, int] = MappingProxyType({}),
) -> LoadedRecipe:
    """Check nested values given in Python or read from a file.

    `where` names them in errors and origins; `lines` holds the line of each dotted key in that file, from 1. Where
    `data.train` is the folder of a dataset version, its files stand there, and for `validation` and `test` if they are
    not named.
    """
    recipe, origins = check_values(Recipe, values, overrides, where=where, lines=lines, listed=_LISTED)
    found = with_version_files(recipe.data.model_dump())
    if not found:
        return LoadedRecipe(recipe, origins)
    origin = f"{origins['data.train']}, a dataset version"
    data = recipe.data.model_copy(update=found)
    return LoadedRecipe(
        recipe.model_copy(update={"data": data}),
        {**origins, **{f"data.{name}": origin for name in found}},
    )


def check_values(
    model: type[S],
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    where: str,
    lines: Mapping[str, int] = MappingProxyType({}),
    listed: str,
) -> tuple[S, dict[str, str]]:
    """Nested values with overrides as a checked section of sections, and where each dotted key was given.

    Arguments as of `resolve_recipe`; `listed` is the command that lists every key. Raises `RecipeError`.
    """
    origins = {key: where for key in flatten(values)}
    merged: dict[str, Any] = copy.deepcopy(dict(values))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise RecipeError(f"--set {override!r} is not key=value", fix="for example --set train.lr=8e-7")
        _assign(merged, key.strip(), _parse_value(text, override))
        # Of a mapping inside a section, the whole counts as given there.
        origins[".".join(key.strip().split(".")[:2])] = "--set"
    try:
        return model.model_validate(merged), origins
    except ValidationError as error:
        raise _first_error(error, model, where, origins, lines, listed) from None


def _parse_value(text: str, override: str) -> Any:
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML") from error


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {key}: {section} is not a section")
        values = inner
    values[leaf] = value


def _first_error(
    error: ValidationError,
    model: type[Section],
    where: str,
    origins: Mapping[str, str],
    lines: Mapping[str, int],
    listed: str,
) -> RecipeError:
    first = error.errors()[0]
    key = _key(first["loc"])
    if origins.get(key) == "--set":
        where = "--set"
    elif key in lines:
        where = f"{where}:{lines[key]}"
    if key == "sweep":
        return RecipeError(
            "a sweep section has an effect in `simpo sweep` alone",
            where=where,
            fix="run that, or remove the section",
        )
    if first["type"] == "extra_forbidden":
        near = suggest(key, [*known_keys(model), *model.model_fields])
        fix = f"did you mean {near}?" if near else f"{listed} lists every key"
        return RecipeError(f"unknown key {key!r}", where=where, fix=fix)
    if first["type"] == "missing":
        return RecipeError(f"{key} is missing", where=where, fix=_describe(model, key))
    if first["type"] == "model_type":
        fix = f"write its keys under it; {listed} lists every key"
        return RecipeError(f"{key} is a section (received {first['input']!r})", where=where, fix=fix)
    message = str(first["msg"]).removeprefix("Value error, ")
    value = first.get("input")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (received {value!r})"
    return RecipeError(f"{key + ': ' if key else ''}{message}{shown}", where=where, fix=_describe(model, key))


def _key(location: tuple[int | str, ...]) -> str:
    # pydantic adds the member of a union (`data.train.str`) and the place in a list (`adapter.target.0`).
    return ".".join(str(part) for part in location[:2])


def _describe(model: type[Section], key: str) -> str | None:
    known = known_keys(model).get(key)
    if known is None:
        return None
    section, leaf = known
    return section.model_fields[leaf].description
