"""What a model says of pairs: the plain scorer's figures in the pairs' order, nothing of those it cannot take in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from simpo.audit.labels.check import Labels
from simpo.audit.labels.model_scores import model_scorer
from simpo.data.render import Renderer, render_rows
from simpo.errors import RecipeError
from simpo.model.load import choose_device, load_policy
from simpo.model.score import score_all
from simpo.recipe import ModelRecipe
from tests.audit.labels.labelled import pair

PAIRS = [
    pair(0, "I have refunded the second charge.", "No."),
    pair(1, "It is on its way and arrives tomorrow.", "Ask the carrier."),
    pair(2, "Too long. " * 400, "Short."),
    pair(3, "Sorry about the wait.", "The parcel is lost and we will send another one."),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_differences_are_those_of_the_plain_scorer(
    dtype: str, tolerance: float, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simpo.audit.labels.model_scores._type_for", lambda _: dtype)
    seen: list[tuple[int, int]] = []
    found = model_scorer(str(tiny_model_dir), device="cpu", progress=lambda *done: seen.append(done))(PAIRS)
    policy = load_policy(ModelRecipe(name=str(tiny_model_dir)), device=choose_device("cpu"))
    groups = render_rows(PAIRS, Renderer(policy.tokenizer, stop_ids=policy.stop_ids, max_length=512)).groups
    means = score_all(policy.model, groups).mean.double().numpy()
    assert [group.row for group in groups] == [PAIRS[0], PAIRS[1], PAIRS[3]]
    assert found[[0, 1, 3]] == pytest.approx(means[0::2] - means[1::2], abs=tolerance)
    assert math.isnan(found[2])
    assert seen[-1] == (3, 3)


def test_where_no_pair_fits_there_is_no_figure(tiny_model_dir: Path) -> None:
    assert np.isnan(model_scorer(str(tiny_model_dir), device="cpu")([PAIRS[2]])).all()


def test_a_model_that_is_not_there_is_named_when_it_is_asked(tmp_path: Path) -> None:
    scorer = model_scorer(str(tmp_path / "none"), device="cpu")
    with pytest.raises(RecipeError, match="none"):
        scorer(PAIRS)


def test_labels_take_in_what_a_real_model_says(tiny_model_dir: Path) -> None:
    check = Labels(model=model_scorer(str(tiny_model_dir), device="cpu"))
    for number in range(210):
        check.see(
            number, pair(number, f"I have refunded charge {number % 7}.", f"No, not number {number % 5}.")
        )
    (found,) = (one for one in check.findings() if one.kind == "suspected_flip")
    assert found.figures["model"]["pairs"] == 210
    assert all(row["model"] is not None for row in found.figures["ranked"])


@pytest.mark.model
def test_a_real_model_prefers_an_answer_to_noise(smollm2: Path) -> None:
    sensible, noise = "The capital of France is Paris.", "Purple seventeen of of lamp the the under."
    rows = [pair(0, sensible, noise, prompt="What is the capital of France?")]
    assert model_scorer(str(smollm2), device="cpu")(rows)[0] > 1.0
