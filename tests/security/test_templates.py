"""Chat templates come with models and are programs: they run in a sandbox."""

from __future__ import annotations

import json
import shutil

import pytest

from simpo.errors import DataError, RecipeError
from simpo.train.run import train
from tests.train.made_up import Workshop

REACHING = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__base__ }}",
    "{{ cycler.__init__.__globals__.os.mkdir('ran') }}",
    "{% for message in messages %}{{ message.__init__.__globals__ }}{% endfor %}",
    "{{ (messages | attr('__class__')).__mro__ }}",
)


@pytest.mark.parametrize("template", REACHING)
@pytest.mark.parametrize("place", ["model", "file"])
def test_a_template_that_reaches_for_python_is_refused_by_name(
    template: str, place: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.folder)
    if place == "model":
        folder = workshop.folder / "model"
        shutil.copytree(workshop.model, folder)
        (folder / "chat_template.jinja").write_text(template)
        recipe = workshop.recipe("run", model={"name": str(folder)}, data={"on_bad_row": "drop"})
    else:
        (workshop.folder / "mine.jinja").write_text(template)
        data = {"template": str(workshop.folder / "mine.jinja"), "on_bad_row": "drop"}
        recipe = workshop.recipe("run", data=data)
    with pytest.raises(
        (RecipeError, DataError), match=r"sandbox forbids|refuses this conversation|no row is left"
    ):
        train(recipe)
    assert not (workshop.folder / "run").exists() and not (workshop.folder / "ran").exists()


def test_what_the_sandbox_forbids_is_told_as_that(workshop: Workshop) -> None:
    (workshop.folder / "mine.jinja").write_text("{{ messages.__class__.__mro__ }}")
    recipe = workshop.recipe("run", data={"template": str(workshop.folder / "mine.jinja")})
    with pytest.raises(
        RecipeError, match="the chat template reaches for what the sandbox forbids it"
    ) as refusal:
        train(recipe)
    assert refusal.value.where is not None and refusal.value.where.endswith("mine.jinja")


def test_a_template_cannot_change_the_rows_it_is_given(workshop: Workshop) -> None:
    template = "{% set _ = messages.append({'role': 'user', 'content': 'x'}) %}{{ messages[0].content }}"
    (workshop.folder / "mine.jinja").write_text(template)
    recipe = workshop.recipe("run", data={"template": str(workshop.folder / "mine.jinja")})
    with pytest.raises((RecipeError, DataError)):
        train(recipe)


def test_text_that_looks_like_a_template_stays_text(workshop: Workshop) -> None:
    rows = workshop.folder / "rows.jsonl"
    text = "{{ 7 * 7 }}{% raw %}"
    lines = [{"prompt": f"{text} {n}", "chosen": f"yes {text}", "rejected": f"no {n}"} for n in range(20)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = train(workshop.recipe("run", data={"train": str(rows)}, train={"max_steps": 1}))
    shown = run.rendering_path.read_text(encoding="utf-8")
    assert "49" not in "".join(
        piece["text"] for pair in json.loads(shown)["pairs"] for piece in pair["prompt"]
    )
