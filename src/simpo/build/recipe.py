"""What decides a build, as YAML checked by pydantic, so that it can be repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from simpo.build.repairs import wanted_repairs
from simpo.errors import RecipeError
from simpo.recipe.load import check_values, load_values
from simpo.recipe.section import Count, Files, NonNegative, Section
from simpo.recipe.text import flatten, write_yaml

_LISTED = "`simpo build --help`"
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class SourcesRecipe(Section):
    """The files of pairs, and how they are read."""

    files: str | Files = Field(
        description="File, several files, patterns (`data/*.jsonl`), a hub id, or a version."
    )
    format: str | None = Field(
        None, description="Format of the files, by its name in docs/formats.md; none to recognise it."
    )
    columns: dict[str, str] | None = Field(
        None, description="The format's names of columns and yours: {prompt: question, chosen: best}."
    )
    pairing: Literal["best_worst", "all", "adjacent"] = Field(
        "best_worst", description="Which ranked or scored answers to a prompt make pairs. Ties never."
    )
    min_margin: NonNegative = Field(
        0.0, description="Leave out pairs whose scores differ by less, in the unit of the file's scores."
    )
    limit: Count | None = Field(None, description="Use the first N pairs only.")
    held_out: Files | None = Field(
        None, description="Files of pairs the model is measured on: pairs with the same prompts are left out."
    )
    benchmark: Files | None = Field(
        None, description="Files of benchmark questions: pairs that ask the same are left out."
    )


class SplitRecipe(Section):
    """How groups of prompts are split; what is left beside validation and test is training."""

    validation: Share = Field(0.05, description="Share of the validation split.")
    test: Share = Field(0.05, description="Share of the test split.")
    seed: int = Field(0, ge=0, description="Seed of the split, and of nothing else.")
    stratify: Literal["stable", "exact"] = Field(
        "stable",
        description="`stable`: a hash decides each group by itself, so that each stratum (category and quartile of "
        "length) gets its share up to chance, and rows added later move no other row. `exact`: each stratum gets its "
        "share as nearly as groups allow; then later builds need `parent` to move no row.",
    )
    group: Literal["near", "exact"] = Field(
        "near",
        description="Which prompts stay together: near duplicates, or only those equal but for case and white space.",
    )

    @model_validator(mode="after")
    def _something_left(self) -> SplitRecipe:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on"
            )
        return self


class BuildRecipe(Section):
    """One build. `output` is the folder of the version."""

    output: str = Field(min_length=1, description="Folder of the version to write; it must not exist yet.")
    data: SourcesRecipe
    parent: str | None = Field(
        None,
        description="Version that this one continues: its rows stay where they are, its split rule holds.",
    )
    repair: str | list[str] = Field(
        "default",
        description="Kinds of findings to repair: default, none, KIND, KIND=drop, KIND=swap, KIND=mend, KIND=keep; "
        "several make a list.",
    )
    split: SplitRecipe = Field(default_factory=SplitRecipe)
    balance_lengths: Literal["none", "subsample"] = Field(
        "none",
        description="`subsample` keeps training pairs with longer and shorter chosen replies in equal number, matched "
        "by how much longer.",
    )
    write: Literal["parquet", "jsonl"] = Field("parquet", description="Kind of the files of pairs.")

    @field_validator("repair")
    @classmethod
    def _known_repairs(cls, value: str | list[str]) -> str | list[str]:
        wanted_repairs(wanted_words(value))
        return value

    @field_validator("output")
    @classmethod
    def _plain_output(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("a path cannot hold a NUL character")
        return value

    @property
    def files(self) -> list[str]:
        """The files as a list."""
        return [self.data.files] if isinstance(self.data.files, str) else list(self.data.files)

    def settings(self) -> dict[str, Any]:
        """What decides the contents of the version, without the paths, which differ from machine to machine."""
        values = self.model_dump(mode="json", exclude={"output", "parent"})
        for key in ("files", "held_out", "benchmark"):
            del values["data"][key]
        return {**values, "repair": wanted_words(self.repair)}


@dataclass(frozen=True, slots=True)
class LoadedBuild:
    """A checked build recipe, and for each dotted key where it was given."""

    recipe: BuildRecipe
    origins: Mapping[str, str]

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value."""
        return flatten(self.recipe.model_dump(mode="json"))

    def to_yaml(self) -> str:
        """The recipe as YAML with each value's origin in a comment; it reads back to the same build."""
        values = self.flat()
        return write_yaml(values, {key: self.origins.get(key, "default") for key in values})


def load_build(
    path: Path | str | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
    overrides: Sequence[str] = (),
) -> LoadedBuild:
    """A build recipe of a file, of options by dotted key, or of both: an option wins over the file.

    Raises `RecipeError`, which names file, key and value.
    """
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    if path is not None:
        values, lines = load_values(path, "write `data: {files: pairs.jsonl}` and `output: DIR`")
    where = "options" if path is None else str(path)
    for key, value in given.items():
        section, _, leaf = key.rpartition(".")
        inside = values.setdefault(section, {}) if section else values
        if not isinstance(inside, dict):
            raise RecipeError(f"{section} is a section (received {inside!r})", where=where)
        inside[leaf] = value
        lines.pop(key, None)
    recipe, origins = check_values(BuildRecipe, values, overrides, where=where, lines=lines, listed=_LISTED)
    return LoadedBuild(recipe, {**origins, **dict.fromkeys(given, "option")})


def wanted_words(repair: str | Sequence[str]) -> list[str]:
    """The words of `repair`, however they were given: `default,contradiction=keep` or a list."""
    parts = [repair] if isinstance(repair, str) else repair
    return [word.strip() for part in parts for word in part.split(",") if word.strip()]


def split_shares(text: str) -> dict[str, float]:
    """The shares of `--split 0.9/0.05/0.05` (train, validation, test) as recipe keys; raises `RecipeError`."""
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1.0):
        raise RecipeError(
            f"--split {text!r} is not three shares that add up to 1",
            fix="give train/validation/test, for example --split 0.9/0.05/0.05",
        )
    return {"split.validation": shares[1], "split.test": shares[2]}
