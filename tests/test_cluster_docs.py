"""The files of docs/cluster/ are whole: recipes resolve, scripts parse, manifests load, commands have these options."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from simpo.cli.app import build_app
from simpo.recipe import resolve_recipe

PAGES = Path(__file__).parents[1] / "docs" / "cluster"
SITUATIONS = ("kubernetes", "one-gpu", "one-node", "ray", "skypilot", "slurm")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def parse_shell(script: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def options_of_launch() -> set[str]:
    command: Any = typer.main.get_command(build_app("launch"))
    return {name for parameter in command.commands["launch"].params for name in parameter.opts}


def test_there_is_a_page_for_each_situation_and_the_first_page_names_it() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == ["README", *SITUATIONS]
    first = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [page for page in SITUATIONS if f"({page}.md)" not in first] == []


@pytest.mark.parametrize("page", ["one-gpu", "one-node"])
def test_the_recipes_resolve(page: str) -> None:
    (text,) = blocks(page, "yaml")
    recipe = resolve_recipe(yaml.safe_load(text)).recipe
    assert recipe.method.name == "simpo"


@pytest.mark.parametrize("page", SITUATIONS)
def test_the_shell_of_a_page_parses_and_calls_launch_with_options_it_has(page: str) -> None:
    scripts = blocks(page, "bash")
    for document in [part for text in blocks(page, "yaml") for part in yaml.safe_load_all(text)]:
        scripts += [document[key] for key in ("setup", "run") if isinstance(document.get(key), str)]
        if document.get("kind") == "Job":
            scripts += document["spec"]["template"]["spec"]["containers"][0]["args"]
    for script in scripts:
        parse_shell(script)
        for call in re.findall(r"simpo launch((?:[^\n]|\\\n)*)", script):
            assert set(re.findall(r"--[a-z-]+", call)) <= options_of_launch(), call


def test_the_pods_of_the_job_find_the_first_one_by_the_name_of_their_service() -> None:
    service, job = yaml.safe_load_all(blocks("kubernetes", "yaml")[0])
    pod = job["spec"]["template"]["spec"]
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--rdzv {job['metadata']['name']}-0.{pod['subdomain']}:" in pod["containers"][0]["args"][0]
    assert f"--nnodes {job['spec']['completions']} " in pod["containers"][0]["args"][0]


def test_the_script_for_ray_is_python_and_calls_what_there_is() -> None:
    from simpo.recipe import load_recipe
    from simpo.study.align import align, align_on

    (script,) = blocks("ray", "python")
    names = {node.id for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Name)}
    assert {load_recipe.__name__, align.__name__, align_on.__name__} <= names
