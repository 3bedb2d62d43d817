"""Micro-batches by tokens: as many as help, fewer where memory is short, and the same after a resume."""

from __future__ import annotations

import weakref

import pytest
import torch

from simpo.model.score import padded_tokens, score
from simpo.model.trust import Choice
from simpo.recipe import TrainRecipe
from simpo.train.budget import enough_tokens, find_budget
from simpo.train.optimizer import make_optimizer, reserve
from simpo.train.prepare import prepare
from tests.train.made_up import Workshop

AUTO = {"micro_batch_size": None, "tokens_per_microbatch": "auto"}


def test_without_a_word_a_run_finds_its_budget_and_trains_what_counted_pairs_train(
    workshop: Workshop,
) -> None:
    auto, counted = workshop.train("auto", train=AUTO), workshop.train("counted")
    (found,) = auto.events("budget")
    assert found["tokens"] >= 1024 and not counted.events("budget")
    for ours, theirs in zip(auto.events("step"), counted.events("step"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_a_budget_of_few_tokens_gives_the_gradient_of_one_forward(workshop: Workshop) -> None:
    few = workshop.train("few", train={"micro_batch_size": None, "tokens_per_microbatch": 40})
    for ours, theirs in zip(few.events("step"), workshop.train("whole").events("step"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_recipe_cuts_its_batches_by_one_rule() -> None:
    with pytest.raises(ValueError, match="give one"):
        TrainRecipe(micro_batch_size=2, tokens_per_microbatch=100)


def test_short_memory_makes_micro_batches_smaller_and_leaves_nothing_behind(workshop: Workshop) -> None:
    prepared = prepare(workshop.recipe("run").recipe)
    model, groups = prepared.policy.model, prepared.train
    optimizer = make_optimizer(model, TrainRecipe())
    choice = Choice(score, "plain", "as the test says")
    longest = max(groups, key=lambda group: group.longest)
    state = torch.get_rng_state()
    states = 3 * 4 * sum(parameter.numel() for parameter in model.parameters())

    def tokens(free: int | None) -> int:
        return find_budget(model, optimizer, choice, groups, free).tokens

    assert tokens(None) == tokens(states + 2**40) == 1024 == enough_tokens(model)
    assert tokens(0) == tokens(states) == padded_tokens([longest])  # one group must fit, whatever is free
    sizes = [tokens(states + kibibytes * 2**10) for kibibytes in (1024, 2048, 4096, 8192)]
    assert sizes == sorted(sizes) and len(set(sizes)) > 2 and sizes[0] < 1024
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    reserve(optimizer)  # what is there is not counted twice
    assert tokens(2048 * 2**10) == sizes[1]


def test_finding_a_budget_holds_on_to_no_forward(workshop: Workshop) -> None:
    """A graph whose saved tensors are kept as they are keeps itself alive, collected by nobody."""
    prepared = prepare(workshop.recipe("run").recipe)
    model = prepared.policy.model
    made: list[weakref.ref[torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, __, output: made.append(weakref.ref(output)))
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    optimizer = make_optimizer(model, TrainRecipe())
    find_budget(model, optimizer, Choice(score, "plain", ""), prepared.train, 2**40)
    for handle in handles:
        handle.remove()
    assert len(made) == len(handles)
    assert [output() for output in made] == [None] * len(made)


def test_an_adapter_is_content_with_fewer_tokens_than_all_weights(workshop: Workshop) -> None:
    model = prepare(workshop.recipe("run").recipe).policy.model
    full = enough_tokens(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert 2 * enough_tokens(model) == full
