"""Writes the generated pages of docs/: the help of every command, and every recipe key.

python docs/generate.py          write the pages anew
python docs/generate.py --check  say which pages are not current, and exit with 1 if any
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import typer

from simpo.cli.app import COMMANDS, Command, main
from simpo.cli.recipe import fields
from simpo.recipe import Recipe

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py (`make docs`): change the code, not this page. -->\n"


def help_of(words: list[str]) -> str:
    """What `simpo WORDS --help` prints on a terminal of 80 columns."""
    printed = io.StringIO()
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(printed):
        main([*words, "--help"])
    return printed.getvalue()


def verbs_of(entry: Command) -> list[str]:
    """The verbs below a command, in the order of its help; none for a plain command."""
    verb = importlib.import_module(entry.module).command
    if not isinstance(verb, typer.Typer):
        return []
    return [info.name or info.callback.__name__ for info in verb.registered_commands if info.callback]


def command_page() -> str:
    """docs/cli.md."""
    parts = [NOTE, "# The command line\n", f"```\n{help_of([])}```\n"]
    for entry in COMMANDS:
        for words in ([entry.name], *([entry.name, verb] for verb in verbs_of(entry))):
            parts.append(f"{'#' * (len(words) + 1)} simpo {' '.join(words)}\n")
            parts.append(f"```\n{help_of(words)}```\n")
    return "\n".join(parts)


def recipe_page() -> str:
    """docs/recipe.md."""
    parts = [
        NOTE,
        "# The recipe\n",
        "A recipe is a YAML file that decides a run. An unknown key is an error that names the nearest one, and so is\n"
        "a setting that has no effect. `--set train.lr=8e-7` overrides a value, `simpo recipe check FILE` prints\n"
        "every value in force with where it came from, `simpo recipe list` shows the recipes of the package.\n"
        "What each `method.name` computes, and its defaults, is in [methods.md](methods.md).\n",
    ]
    for section, keys in groupby(fields(), key=lambda field: field.key.rpartition(".")[0]):
        if section:
            about = Recipe.model_fields[section].annotation
            parts.append(f"## {section}\n")
            parts.append(f"{about.__doc__}\n" if about is not None else "")
        rows = [(f"`{field.key}`", field.type, field.default, field.description) for field in keys]
        parts.append(_table(("key", "holds", "default", "what it does"), rows))
    return "\n".join(parts)


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


PAGES = {"cli.md": command_page, "recipe.md": recipe_page}


def stale_pages() -> list[str]:
    """The names of the pages whose file differs from what the code gives now."""
    return [
        name
        for name, page in PAGES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != page()
    ]


def write_pages(arguments: list[str]) -> int:
    """Write the pages, or with --check only compare them; the exit status."""
    stale = stale_pages()
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} is not current: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(write_pages(sys.argv[1:]))
