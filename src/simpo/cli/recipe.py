"""`simpo recipe`: the recipes that ship with the package, every key there is, and a check of one's own."""

from __future__ import annotations

import re
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic_core import PydanticUndefined

from simpo.cli.options import JsonOption, SetOption
from simpo.cli.output import note, print_json, print_table, print_text
from simpo.errors import RecipeError
from simpo.recipe import MethodRecipe, Section, known_keys, load_recipe, warnings_for

FOLDER = Path(__file__).parents[1] / "recipes"

command = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Field:
    """One recipe key as a person needs it: what it holds, what stands there when it is not given, what it does."""

    key: str
    type: str
    default: str
    description: str


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes in the package."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def shipped_recipe(name: str) -> Path:
    """The file of one shipped recipe; `RecipeError` with the names there are."""
    recipes = shipped_recipes()
    path = recipes.get(name.removesuffix(".yaml"))
    if path is None:
        raise RecipeError(f"there is no shipped recipe {name!r}", fix=f"one of {', '.join(recipes)}")
    return path


def recipe_file(name: str) -> Path:
    """A recipe named on the command line: a file where there is one, else a shipped recipe of that name."""
    path = Path(name)
    return shipped_recipe(name) if not path.exists() and path.suffix == "" and len(path.parts) == 1 else path


def about(text: str) -> str:
    """The comment on top of a recipe file, first sentence: what the recipe is for."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return re.split(r"(?<=[.:])\s", " ".join(lines), maxsplit=1)[0].rstrip(".:")


def fields(prefix: str = "") -> list[Field]:
    """Every recipe key that starts with `prefix`, in the order of the sections."""
    found = []
    for key, (section, leaf) in known_keys().items():
        if key.startswith(prefix):
            info = section.model_fields[leaf]
            found.append(
                Field(key, _type_name(info.annotation), _default(section, leaf), info.description or "")
            )
    return found


def _default(section: type[Section], leaf: str) -> str:
    default = section.model_fields[leaf].default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "the method's" if section is MethodRecipe else "none"
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in arguments if part is not types.NoneType)
    if origin is Literal:
        return ", ".join(str(part) for part in arguments)
    if origin is dict:
        return "mapping of text"
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    return {str: "text", float: "number", int: "whole number", bool: "true, false"}[annotation]


@command.command("list")
def list_recipes(as_json: JsonOption = False) -> None:
    """List the recipes that ship with the package."""
    rows = []
    for name, path in shipped_recipes().items():
        text = path.read_text(encoding="utf-8")
        method = load_recipe(path).recipe.method.describe()
        rows.append({"name": name, "method": method, "about": about(text), "path": str(path)})
    if as_json:
        print_json({"recipes": rows})
    else:
        print_table(
            ("name", "method", "about"),
            [(row["name"], row["method"].split(":")[0], row["about"]) for row in rows],
        )


@command.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a shipped recipe.")],
    as_json: JsonOption = False,
) -> None:
    """Print a shipped recipe."""
    path = shipped_recipe(name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        print_json({"name": path.stem, "path": str(path), "text": text})
    else:
        print_text(text.rstrip("\n"))


@command.command()
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a shipped recipe.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="File or folder to write.")] = Path("."),
    as_json: JsonOption = False,
) -> None:
    """Copy a shipped recipe to a file of your own; a file that exists is left alone."""
    source = shipped_recipe(name)
    target = destination / source.name if destination.is_dir() else destination
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(source.read_text(encoding="utf-8"))
    except FileExistsError:
        raise RecipeError("this file exists", where=str(target), fix="name another, or remove it") from None
    except OSError as error:
        raise RecipeError(f"cannot write the recipe: {error.strerror}", where=str(target)) from error
    if as_json:
        print_json({"name": source.stem, "path": str(target)})
    else:
        print_text(f"wrote {target}")


@command.command("fields")
def list_fields(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that start so: train")] = "",
    as_json: JsonOption = False,
) -> None:
    """List every recipe key with its type, its default and what it does."""
    found = fields(prefix)
    if not found:
        raise RecipeError(
            f"no recipe key starts with {prefix!r}", fix="`simpo recipe fields` lists every key"
        )
    if as_json:
        print_json({"fields": [asdict(field) for field in found]})
    else:
        columns = ("key", "type", "default", "description")
        print_table(columns, [(field.key, field.type, field.default, field.description) for field in found])


@command.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe file.")],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe and print it resolved: every value in force, and where it came from."""
    loaded = load_recipe(file, overrides or ())
    warnings = warnings_for(loaded.recipe)
    if as_json:
        values, origins = loaded.resolved()
        print_json(
            {
                "values": values,
                "origins": origins,
                "method": loaded.recipe.method.describe(),
                "warnings": warnings,
            }
        )
        return
    print_text(loaded.to_yaml().rstrip("\n"))
    for warning in warnings:
        note(f"warning: {warning}")
