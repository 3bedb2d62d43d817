"""Imports go down only: the layer table of DESIGN.md, checked in the source of every module."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "simpo"

# From the ground up. A part may import what stands on a lower level, itself, and the neighbours named below.
LEVELS = (
    ("errors", "records", "core"),
    ("recipe",),
    ("data", "model", "runs"),
    ("train", "evaluate", "audit"),
    ("study", "sizing", "release", "report", "build"),
    ("web", "cli"),
)
NEIGHBOURS: Mapping[str, frozenset[str]] = {
    "records": frozenset({"errors"}),
    "core": frozenset({"errors", "records"}),
    "model": frozenset({"data", "runs"}),  # a run folder is one way to name a model
    "build": frozenset({"release"}),  # a card escapes other people's text as the other card does
    "train": frozenset({"evaluate"}),  # the guard lets the policy write, as an evaluation does
}
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

Sources = Mapping[str, str]


def read_sources(folder: Path) -> dict[str, str]:
    """Dotted module name -> source of every module of the package."""
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def packages(sources: Sources) -> set[str]:
    """The modules that hold other modules."""
    return {name.rpartition(".")[0] for name in sources}


def imports_of(module: str, sources: Sources) -> set[str]:
    """The modules of the package that `module` imports anywhere: in functions and under TYPE_CHECKING as well."""
    root = module.partition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".") + ["."] * (module in packages(sources))
                base = ".".join([*up[: -node.level], *([node.module] if node.module else [])])
            found.update(
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in sources else base for alias in node.names
            )
    return {name for name in found if name == root or name.startswith(f"{root}.")}


def part_of(module: str) -> str | None:
    """The second word of a dotted name: `simpo.core.losses` belongs to `core`; None for `simpo` itself."""
    return module.split(".")[1] if "." in module else None


def violations(sources: Sources) -> list[str]:
    """One line for each import that goes up or sideways, and for each part that the table lacks."""
    found = []
    for module in sources:
        part = part_of(module)
        if part is None:
            continue
        if part not in LEVEL:
            found.append(f"{module}: {part} stands in no level of the table")
            continue
        for target in sorted(imports_of(module, sources)):
            other = part_of(target)
            if other is None or other == part or LEVEL.get(other, len(LEVELS)) < LEVEL[part]:
                continue
            if other not in NEIGHBOURS.get(part, frozenset()):
                found.append(f"{module} imports {target}")
    return found


def import_cycle(sources: Sources) -> list[str]:
    """The modules of one import cycle, or nothing."""
    graph = {module: imports_of(module, sources) & set(sources) - {module} for module in sources}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def test_no_import_goes_up_or_sideways() -> None:
    assert violations(read_sources(SOURCE)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert import_cycle(read_sources(SOURCE)) == []


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_an_import_that_goes_up_is_found_wherever_it_hides() -> None:
    hidden = {
        "at the top": "from simpo.train import loop",
        "as a module": "import simpo.train.loop",
        "in a function": "def f():\n    from simpo.train.loop import run",
        "for types only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from simpo.train.loop import run",
        "relative": "from ..train.loop import run",
    }
    for where, text in hidden.items():
        sources = {"simpo.core": "", "simpo.core.losses": text, "simpo.train": "", "simpo.train.loop": ""}
        assert violations(sources) == ["simpo.core.losses imports simpo.train.loop"], where


def test_an_import_of_a_neighbour_is_found_unless_the_table_allows_it() -> None:
    sources = {"simpo.data.read": "import simpo.model.load", "simpo.model.load": "import simpo.data.render"}
    assert violations(sources) == ["simpo.data.read imports simpo.model.load"]


def test_a_part_that_the_table_lacks_is_found() -> None:
    assert violations({"simpo.helpers": ""}) == ["simpo.helpers: helpers stands in no level of the table"]


def test_a_circle_inside_one_part_is_found() -> None:
    sources = {
        "simpo.core.a": "from simpo.core import b",
        "simpo.core.b": "def f():\n    from simpo.core.a import x",
        "simpo.core": "",
    }
    assert sorted(set(import_cycle(sources))) == ["simpo.core.a", "simpo.core.b"]
