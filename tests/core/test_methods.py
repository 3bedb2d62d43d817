"""The table of methods against the losses it names, the recipe that reads it and the page that shows it."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from simpo.core import losses
from simpo.core.methods import METHODS
from simpo.recipe import MethodRecipe
from tests.oracles.losses import PREFERENCE_LOSSES

ROOT = Path(__file__).parents[2]
PAIRWISE = [name for name, method in METHODS.items() if method.pairwise]
every_method = pytest.mark.parametrize("name", METHODS)
every_pairwise_method = pytest.mark.parametrize("name", PAIRWISE)


@every_method
def test_each_row_stands_under_its_own_name(name: str) -> None:
    assert METHODS[name].name == name
    assert METHODS[name].title


@every_pairwise_method
def test_the_defaults_are_exactly_the_named_parameters_of_the_loss(name: str) -> None:
    parameters = inspect.signature(METHODS[name].loss).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind == inspect.Parameter.KEYWORD_ONLY]
    assert named == list(METHODS[name].defaults)
    assert all(
        parameter.default is inspect.Parameter.empty for parameter in parameters
    )  # defaults: one place


def test_every_loss_is_in_the_table() -> None:
    written = {name for name, _ in inspect.getmembers(losses, inspect.isfunction) if name.endswith("_loss")}
    assert {METHODS[name].loss_name for name in PAIRWISE} == written


def test_every_pairwise_method_has_an_oracle() -> None:
    assert set(PAIRWISE) == set(PREFERENCE_LOSSES)


@every_pairwise_method
def test_sources_are_arxiv_numbers_that_the_loss_cites(name: str) -> None:
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", METHODS[name].source)
    documentation = METHODS[name].loss.__doc__ or ""
    # The hinge was published in the SimPO authors' code, which its docstring names.
    assert METHODS[name].source in documentation or "princeton-nlp/SimPO" in documentation


def test_sft_is_the_one_method_without_a_loss_over_pairs() -> None:
    sft = METHODS["sft"]
    assert (sft.pairwise, sft.loss_name, dict(sft.defaults), sft.sft_weight) == (False, None, {}, 0.0)
    assert len(PAIRWISE) == len(METHODS) - 1
    with pytest.raises(ValueError, match="sft has no loss over pairs"):
        _ = sft.loss


def test_who_has_a_reference_which_score_and_an_sft_term() -> None:
    assert {name for name, method in METHODS.items() if method.reference} == {"dpo", "dpo_norm", "ipo"}
    assert {name for name, method in METHODS.items() if method.score == "total"} == {"dpo", "cpo", "sft"}
    assert {name for name, method in METHODS.items() if method.sft_weight} == {"orpo", "cpo"}


def test_the_defaults_of_simpo_are_those_promised() -> None:
    assert dict(METHODS["simpo"].defaults) == {"beta": 2.0, "gamma": 0.5, "label_smoothing": 0.0}
    assert METHODS["simpo"].sft_weight == 0.0


@every_method
def test_a_recipe_key_is_used_if_it_is_a_parameter_or_has_a_meaning_of_its_own(name: str) -> None:
    method = METHODS[name]
    for key in ("beta", "gamma", "alpha", "odds_weight", "label_smoothing"):
        assert method.uses(key) == (key in method.defaults)
    assert method.uses("reward_margin") == ({"beta", "gamma"} <= method.defaults.keys())
    assert method.uses("sft_weight") == (name != "sft")
    assert method.uses("reference") == (name in ("dpo", "dpo_norm", "ipo"))
    assert not method.uses("no such key")


@every_method
def test_a_recipe_that_names_only_the_method_gets_the_table(name: str) -> None:
    recipe = MethodRecipe(name=name)
    assert recipe.parameters == dict(METHODS[name].defaults)
    assert recipe.chosen_sft_weight == METHODS[name].sft_weight


@every_method
def test_the_defaults_lie_in_the_domain_that_a_recipe_accepts(name: str) -> None:
    values = {key: value for key, value in METHODS[name].defaults.items()}
    assert MethodRecipe.model_validate({"name": name, **values}).parameters == values
    assert all(math.isfinite(value) for value in values.values())


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["simpo"]  # type: ignore[index]
    with pytest.raises(TypeError):
        METHODS["simpo"].defaults["beta"] = 1.0  # type: ignore[index]


def test_reading_the_table_does_not_import_torch() -> None:
    code = "import sys, simpo.core.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The page.


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "generate_methods", ROOT / "docs/generate_methods.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def test_the_page_of_methods_is_what_its_generator_writes() -> None:
    assert (ROOT / "docs/methods.md").read_text(encoding="utf-8") == generator().page()


def test_every_method_has_a_note_and_no_note_lacks_its_method() -> None:
    assert list(generator().NOTES) == list(METHODS)


@every_method
def test_the_page_shows_each_method_with_its_defaults_and_source(name: str) -> None:
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    method = METHODS[name]
    row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    shown = dict(re.findall(r"`(\w+)` ([\d.]+)", cells[4]))
    assert {key: float(value) for key, value in shown.items()} == dict(method.defaults)
    assert (cells[2], cells[3]) == (method.score, "yes" if method.reference else "no")
    assert float(cells[5] or 0) == method.sft_weight
    assert method.source in cells[6]
    section = page[page.index(f"\n## {method.title}\n") :]
    for key, value in method.defaults.items():
        assert re.search(rf"\| `method\.{key}` \| {value:g} \|", section)


def test_every_link_inside_the_page_leads_to_a_heading() -> None:
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings
