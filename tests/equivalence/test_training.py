"""{1x8, 2x4, 8x1}, {live, precomputed, adapter off}, {plain, shared scorer}: one trajectory, up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.runs.schema import check_run
from tests.train.made_up import Trained, Workshop

CUTS = {"1x8": 8, "2x4": 4, "8x1": 1}
PAIR_FIGURES = ("loss", "grad_norm", "margin", "chosen_logps", "rejected_logps", "accuracy")
LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4}}
METHODS: dict[str, dict[str, Any]] = {
    "simpo": {},
    "simpo, lora": LORA,
    "dpo": {"method": {"name": "dpo"}},
    "orpo": {"method": {"name": "orpo"}},  # with an SFT term, the mean over pairs as well
    "sft": {"method": {"name": "sft"}},
}


def assert_same_curves(one: Trained, other: Trained, figures: tuple[str, ...]) -> None:
    """Point by point within 1e-4 of the figure's size; and in the mean, where rounding cancels and a bias does not.

    The accuracy is compared from the second step on: where the policy is its own reference, rounding decides it.
    """
    for figure in figures:
        ours, theirs = np.array(one.curve(figure)), np.array(other.curve(figure))
        if figure == "accuracy":
            ours, theirs = ours[1:], theirs[1:]
        size = np.abs(ours).max()
        assert np.abs(ours - theirs).max() <= 1e-4 * size, figure
        assert abs((ours - theirs).mean()) <= 2e-5 * size, figure


def assert_same_weights(one: Trained, other: Trained) -> None:
    """Of what training changed, the difference is a small part.

    Single weights may differ by a step: where a gradient is as good as 0, Adam takes the sign of its rounding.
    """
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert float((tensor - theirs[name]).abs().mean()) <= 2e-6, name
        assert float((tensor - theirs[name]).mean().abs()) <= 5e-7, name


@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_change_memory_and_not_the_result(method: str, workshop: Workshop) -> None:
    figures = PAIR_FIGURES if method != "sft" else ("loss", "grad_norm")
    runs = {
        cut: workshop.train(cut, **METHODS[method], train={"micro_batch_size": size})
        for cut, size in CUTS.items()
    }
    for cut in ("2x4", "8x1"):
        assert_same_curves(runs["1x8"], runs[cut], figures)
        assert_same_weights(runs["1x8"], runs[cut])
        check_run(runs[cut].path)


def test_a_micro_batch_that_does_not_divide_the_batch_changes_nothing(workshop: Workshop) -> None:
    runs = [workshop.train(str(size), train={"micro_batch_size": size}) for size in (8, 3)]
    assert_same_curves(runs[0], runs[1], PAIR_FIGURES)


@pytest.mark.parametrize("name", ["dpo", "dpo_norm", "ipo"])
def test_the_reference_is_the_same_live_scored_ahead_or_behind_the_adapter(
    name: str, workshop: Workshop
) -> None:
    runs = {
        mode: workshop.train(
            mode, **LORA, method={"name": name, "reference": mode}, train={"micro_batch_size": 4}
        )
        for mode in ("live", "precomputed", "adapter_off")
    }
    for mode in ("precomputed", "adapter_off"):
        assert_same_curves(runs["live"], runs[mode], PAIR_FIGURES)
        assert_same_weights(runs["live"], runs[mode])


def test_the_reference_of_a_full_fine_tune_is_the_same_live_and_scored_ahead(workshop: Workshop) -> None:
    live, ahead = (
        workshop.train(mode, method={"name": "dpo", "reference": mode}) for mode in ("live", "precomputed")
    )
    assert_same_curves(live, ahead, PAIR_FIGURES)
    assert_same_weights(live, ahead)


def test_the_reference_stays_where_training_began(workshop: Workshop) -> None:
    """Against itself a policy has no margin; after a step at a high rate it has one."""
    run = workshop.train(
        "dpo", **LORA, method={"name": "dpo", "reference": "adapter_off"}, train={"lr": 1e-2}
    )
    margins = run.curve("margin")
    assert margins[0] == pytest.approx(0, abs=1e-6)
    assert run.curve("loss")[0] == pytest.approx(np.log(2), abs=1e-6)
    assert abs(margins[-1]) > 0.1


def test_a_reference_read_from_the_cache_is_the_one_that_was_scored(workshop: Workshop) -> None:
    first, second = (workshop.train(name, method={"name": "dpo"}) for name in ("scored", "read"))
    assert first.trajectory() == second.trajectory()


@pytest.mark.parametrize("method", ["simpo", "simpo, lora", "sft"])
def test_the_shared_scorer_trains_what_the_plain_one_trains(method: str, workshop: Workshop) -> None:
    plain, shared = (
        workshop.train(scorer, **METHODS[method], train={"scorer": scorer, "micro_batch_size": 4})
        for scorer in ("plain", "shared")
    )
    assert [run.events("scorer")[0]["name"] for run in (plain, shared)] == ["plain", "shared"]
    assert_same_curves(plain, shared, PAIR_FIGURES if method != "sft" else ("loss", "grad_norm"))
    assert_same_weights(plain, shared)


def test_after_fifty_steps_the_shared_scorer_is_still_where_the_plain_one_is(workshop: Workshop) -> None:
    plain, shared = (
        workshop.train(
            scorer, train={"scorer": scorer, "epochs": 17, "evaluate_every": None, "max_steps": 50}
        )
        for scorer in ("plain", "shared")
    )
    assert len(plain.events("step")) == len(shared.events("step")) == 50
    assert shared.events("step")[-1]["loss"] < shared.events("step")[0]["loss"] / 2  # it went somewhere
    assert_same_curves(plain, shared, PAIR_FIGURES)


@pytest.mark.parametrize("sections", [{}, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_changes_memory_and_not_the_result(
    sections: dict[str, Any], workshop: Workshop
) -> None:
    plain, checkpointed = (
        workshop.train(str(on), **sections, train={"gradient_checkpointing": on}) for on in (False, True)
    )
    assert_same_curves(plain, checkpointed, PAIR_FIGURES)
    assert_same_weights(plain, checkpointed)


def test_the_same_recipe_gives_the_same_run_and_another_seed_another(workshop: Workshop) -> None:
    one, same, other = (
        workshop.train(name, adapter={"type": "lora", "dropout": 0.2}, train={"seed": seed})
        for name, seed in (("one", 3), ("same", 3), ("other", 4))
    )
    assert one.trajectory() == same.trajectory()
    assert one.curve("loss")[1:] != other.curve("loss")[1:]


def test_a_number_of_accumulation_steps_in_the_environment_divides_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = workshop.train("plain", train={"micro_batch_size": 4})
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert workshop.train("launched", train={"micro_batch_size": 4}).trajectory() == plain.trajectory()
