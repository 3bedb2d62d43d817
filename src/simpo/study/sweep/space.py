"""What a sweep tries: the `sweep` section of a recipe, its ranges, and the recipe of each setting."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from simpo.core.methods import METHODS
from simpo.errors import RecipeError
from simpo.recipe import LoadedRecipe, Section, known_keys, resolve_recipe
from simpo.recipe.keys import suggest
from simpo.recipe.load import check_values, load_values
from simpo.recipe.section import Count

Settings = dict[str, Any]

# The authors' order: learning rate, then gamma, then beta; then whatever else is named, as it is named.
ORDER = ("train.lr", "method.gamma", "method.reward_margin", "method.beta")

# What a trial is measured on or how, and where it lies: sweeping those would compare figures of different things.
_NOT_SWEPT = ("output", "data.validation", "data.validation_fraction", "data.limit_validation", "data.test",
              "data.limit_test", "train.device")  # fmt: skip
_NOT_SWEPT_SECTIONS = ("evaluate", "guard", "tracking")
_TWINS = {"method.gamma": "method.reward_margin", "method.reward_margin": "method.gamma"}


class SweepRecipe(Section):
    """How a sweep goes about its ranges."""

    strategy: Literal["staged", "grid", "tpe"] = Field(
        "staged",
        description="`staged` tries one range after the other, each from the best so far; `grid` every combination; "
        "`tpe` as many trials as `trials` says, chosen by optuna's tree-structured Parzen estimator.",
    )
    trials: Count = Field(20, description="How many trials `tpe` makes.")
    points: Annotated[int, Field(ge=2)] = Field(
        4, description="Values that `staged` and `grid` take from a range that does not say."
    )
    evaluations: Count = Field(
        4,
        description="Evaluations a trial makes where `train.evaluate_every` does not say; they draw its curve.",
    )
    prune: bool = Field(
        True, description="Stop trials early that are hopeless at an evaluation; never the best so far."
    )
    train_sample: Count | None = Field(
        None,
        description="Training pairs that the gap to validation is measured on; none for as many as validate.",
    )
    seed: int = Field(0, ge=0, description="Seed of `tpe`.")
    paraphrases: str | None = Field(
        None,
        description="Held-out pairs with their prompts in other words: accuracy on them tells learning by heart.",
    )


@dataclass(frozen=True, slots=True)
class Axis:
    """One swept key: listed values, or a range from `low` to `high`, whole numbers only where `whole`."""

    key: str
    choices: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    points: int = 4

    @property
    def values(self) -> tuple[Any, ...]:
        """The listed values, or `points` values of the range, evenly apart (in their logarithm where `log`)."""
        if self.choices is not None:
            return self.choices
        steps = [at / (self.points - 1) for at in range(self.points)]
        if self.log:
            found = [self.low * (self.high / self.low) ** step for step in steps]
        else:
            found = [self.low + (self.high - self.low) * step for step in steps]
        found[0], found[-1] = self.low, self.high
        rounded = [round(value) if self.whole else _short(value) for value in found]
        return tuple(dict.fromkeys(rounded))

    def to_json(self) -> dict[str, Any]:
        """As sweep.json and the storage hold it."""
        ranged = self.choices is None
        return {
            "key": self.key,
            "values": list(self.values),
            "low": self.low if ranged else None,
            "high": self.high if ranged else None,
            "log": self.log,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """A checked sweep: the recipe that every trial starts from, what is swept, and how."""

    name: str
    base: LoadedRecipe
    axes: tuple[Axis, ...]
    settings: SweepRecipe

    @property
    def start(self) -> Settings:
        """The recipe's own values of what is swept."""
        return {axis.key: self.value(axis.key) for axis in self.axes}

    def value(self, key: str) -> Any:
        """The value in force of a key of the base recipe."""
        values = self.base.resolved()[0]
        if key in values:
            return values[key]
        if key == "method.reward_margin":
            parameters = self.base.recipe.method.parameters
            return parameters["beta"] * parameters["gamma"]
        return self.base.flat()[key]

    def recipe(self, settings: Mapping[str, Any], output: Path | str) -> LoadedRecipe:
        """The base recipe with these settings, for a run in `output`. Raises RecipeError for a value that is none."""
        given = {key: value for key, value in self.base.flat().items() if key in self.base.origins}
        for key, value in settings.items():
            given.pop(_TWINS.get(key, ""), None)
            given[key] = value
        given["output"] = str(output)
        nested: dict[str, Any] = {}
        for key, value in given.items():
            section, _, leaf = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[leaf] = value
        try:
            loaded = resolve_recipe(nested, where="simpo sweep")
        except RecipeError as error:
            raise RecipeError(
                error.message, where=f"{self.name}: {name_of(settings)}", fix=error.fix
            ) from None
        origins = {key: self.base.origins.get(key, "simpo sweep") for key in loaded.origins}
        return LoadedRecipe(loaded.recipe, {**origins, **dict.fromkeys([*settings, "output"], "simpo sweep")})

    def fingerprint(self) -> str:
        """sha256 over all that decides which trials there are and what becomes of each."""
        recipe = {k: v for k, v in self.base.resolved()[0].items() if k not in ("output", "train.device")}
        axes = [axis.to_json() for axis in self.axes]
        text = json.dumps([recipe, axes, self.settings.model_dump()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def load_sweep(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    ranges: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Sweep:
    """Read a recipe with its `sweep` section, or with that section in a file of its own.

    overrides: `key=value` over the recipe. settings: over those of the section. Every value that could be tried is
    checked. Raises RecipeError naming the key, the value and what to do.
    """
    values, lines = load_values(path, "see `simpo recipe list`")
    section, where = values.pop("sweep", None), f"{path}: sweep"
    if ranges is not None:
        if section is not None:
            raise RecipeError(
                "the ranges are given twice", where=str(path), fix="leave out `sweep` or --ranges"
            )
        own, _ = load_values(ranges, "give a mapping of recipe keys and ranges")
        section, where = own.get("sweep", own), str(ranges)
    section = {} if section is None else section
    if not isinstance(section, dict):
        raise RecipeError(f"sweep is a section (received {section!r})", where=str(path))
    base = resolve_recipe(values, overrides, where=str(path), lines=lines)
    if not METHODS[base.recipe.method.name].pairwise:
        raise RecipeError(
            f"method {base.recipe.method.name} learns from no pairs: there is no accuracy to sweep by",
            where=str(path),
        )
    own_keys = {key: value for key, value in section.items() if key in SweepRecipe.model_fields}
    checked, _ = check_values(
        SweepRecipe, {**own_keys, **(settings or {})}, where=where, listed="docs/sweep.md"
    )
    asked = _by_key({key: value for key, value in section.items() if key not in own_keys})
    axes = [_axis(key, value, checked.points, where) for key, value in asked.items()]
    sweep = Sweep(str(path), base, tuple(sorted(axes or usual_axes(base), key=_place)), checked)
    _check(sweep)
    return sweep


def usual_axes(base: LoadedRecipe) -> list[Axis]:
    """What is tried where nothing is named: the authors' ranges, around the recipe's learning rate."""
    lr, parameters = base.recipe.train.lr, base.recipe.method.parameters
    axes = [Axis("train.lr", tuple(_short(lr * factor) for factor in (0.3, 1.0, 3.0)))]
    if "gamma" in parameters:
        axes.append(Axis("method.gamma", tuple(sorted({0.0, 0.3, 0.5, 0.8, parameters["gamma"]}))))
    if "beta" in parameters:
        factors = (1.0, 2.5, 5.0) if "gamma" in parameters else (0.2, 1.0, 3.0)
        axes.append(Axis("method.beta", tuple(_short(parameters["beta"] * factor) for factor in factors)))
    return axes


def name_of(settings: Mapping[str, Any]) -> str:
    """A folder's name for a setting: `lr-3e-07_gamma-0.5`, with a hash where the values do not fit into it."""
    text = "_".join(f"{key.rpartition('.')[2]}-{_word(value)}" for key, value in settings.items())
    exact = all(isinstance(value, (int, float, str)) and _is_word(value) for value in settings.values())
    if exact and len(text) <= 100:
        return text
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{text[:80]}-{digest}"


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else re.sub(r"[^A-Za-z0-9.]+", "-", str(value))


def _is_word(value: float | str) -> bool:
    return _word(value) == value if isinstance(value, str) else float(_word(value)) == value


def _short(value: float) -> float:
    """Six digits: what a person would have typed, and what fits into a name."""
    return float(f"{value:.6g}")


def _place(axis: Axis) -> int:
    return ORDER.index(axis.key) if axis.key in ORDER else len(ORDER)


def _by_key(section: Mapping[str, Any]) -> dict[str, Any]:
    """`train.lr: ...` and `train: {lr: ...}` alike."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict) and any(known.startswith(f"{key}.") for known in known_keys()):
            found.update({f"{key}.{leaf}": inner for leaf, inner in value.items()})
        else:
            found[str(key)] = value
    return found


def _axis(key: str, value: Any, points: int, where: str) -> Axis:
    known = known_keys()
    if key not in known:
        near = suggest(key, known)
        fix = f"did you mean {near}?" if near else "`simpo recipe fields` lists every key"
        raise RecipeError(f"unknown key {key!r}", where=where, fix=fix)
    if key in _NOT_SWEPT or key.partition(".")[0] in _NOT_SWEPT_SECTIONS:
        raise RecipeError(f"{key} cannot be swept: the trials could not be compared", where=where)
    if isinstance(value, list):
        if not value or len({json.dumps(each) for each in value}) < len(value):
            raise RecipeError(
                f"{key}: a list of different values, at least one (received {value!r})", where=where
            )
        return Axis(key, tuple(value))
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= {"low", "high", "log", "points"}:
        raise RecipeError(
            f"{key}: neither a list nor a range (received {value!r})",
            where=where,
            fix=f"write {key}: [1, 2, 5] or {key}: {{low: 1e-7, high: 1e-6, log: true}}",
        )
    return _range(key, value, points, where)


def _range(key: str, value: Mapping[str, Any], points: int, where: str) -> Axis:
    low, high, log, count = value["low"], value["high"], value.get("log", False), value.get("points", points)
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (low, high))
    if (
        not numbers
        or not math.isfinite(low)
        or not math.isfinite(high)
        or not low < high
        or (log and low <= 0)
    ):
        raise RecipeError(
            f"{key}: low {low!r} and high {high!r} are no range" + (" of positive numbers" if log else ""),
            where=where,
        )
    if not isinstance(log, bool) or not isinstance(count, int) or count < 2:
        raise RecipeError(
            f"{key}: log is true or false, points a whole number from 2 (received {value!r})", where=where
        )
    section, leaf = known_keys()[key]
    whole = _holds_whole_numbers(section.model_fields[leaf].annotation)
    return Axis(key, None, low, high, log, whole, count)


def _holds_whole_numbers(annotation: Any) -> bool:
    inner = [part for part in get_args(annotation) if isinstance(part, type)]
    kinds = [annotation, *inner, *(deep for part in get_args(annotation) for deep in get_args(part))]
    return int in kinds and float not in kinds


def _check(sweep: Sweep) -> None:
    keys = [axis.key for axis in sweep.axes]
    for key, twin in _TWINS.items():
        if key in keys and twin in keys:
            raise RecipeError(f"{key} and {twin} are the same margin: sweep one", where=sweep.name)
    if sweep.settings.strategy == "tpe" and all(
        isinstance(v, (list, dict)) for a in sweep.axes for v in a.values
    ):
        raise RecipeError("tpe takes numbers, words, true and false", where=sweep.name)
    for axis in sweep.axes:
        for value in axis.values:
            sweep.recipe({**sweep.start, axis.key: value}, "any")
    if sweep.base.recipe.data.validation is None and sweep.base.recipe.data.validation_fraction == 0:
        raise RecipeError(
            "there are no validation pairs to choose by", where=sweep.name, fix="set data.validation"
        )
