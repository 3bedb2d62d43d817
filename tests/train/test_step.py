"""One optimizer step: its gradient is the whole batch's, and nothing that is not finite reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from simpo.core.methods import METHODS
from simpo.core.objective import Objective
from simpo.data.batches import micro_batches
from simpo.data.read import read_rows
from simpo.data.render import Renderer, render_rows
from simpo.errors import RunFailed
from simpo.model.load import Policy, load_policy
from simpo.model.reference import LiveReference
from simpo.model.score import score
from simpo.recipe import ModelRecipe, resolve_recipe
from simpo.records import TokenGroup
from simpo.train.accelerator import make_accelerator
from simpo.train.optimizer import make_optimizer
from simpo.train.step import StepRecord, train_step
from tests.oracles import losses as oracle
from tests.train.made_up import example_rows, pair_rows, write_rows
from tests.train.plainly import detached_logps, oracle_loss, token_logps


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return load_policy(ModelRecipe(name=str(tiny_model_dir)), device=torch.device("cpu"))


@pytest.fixture
def reference(tiny_model_dir: Path) -> LiveReference:
    """A model near the policy and not the same."""
    model = load_policy(ModelRecipe(name=str(tiny_model_dir)), device=torch.device("cpu")).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return LiveReference(model)


def groups_of(policy: Policy, folder: Path, name: str, count: int = 6) -> tuple[TokenGroup, ...]:
    pairwise = METHODS[name].pairwise
    rows = pair_rows(count) if pairwise else example_rows(count)
    dataset = read_rows(write_rows(folder / f"{name}.jsonl", rows), kind="pairs" if pairwise else "examples")
    return render_rows(dataset.rows, Renderer(policy.tokenizer, stop_ids=policy.stop_ids)).groups


def step(
    policy: Policy,
    groups: Sequence[TokenGroup],
    name: str = "simpo",
    *,
    size: int = 2,
    lr: float = 0.0,
    max_grad_norm: float = 1e9,
    reference: Any = None,
) -> StepRecord:
    """A step of plain gradient descent, in micro-batches of `size`."""
    recipe = resolve_recipe({"output": "x", "model": {"name": "x"}, "data": {"train": "x"}}).recipe
    return train_step(
        make_accelerator(recipe, policy.device),
        policy.model,
        torch.optim.SGD(policy.model.parameters(), lr=lr),
        list(micro_batches(groups, size)),
        objective=Objective.of(name),
        scorer=score,
        reference=reference if METHODS[name].reference else None,
        max_grad_norm=max_grad_norm,
    )


def oracle_slopes(
    own: list[list[float]], base: list[list[float]], name: str, width: float = 1e-6
) -> list[float]:
    """By how much the loss of a pair changes per nat of each completion's total, by central differences."""
    slopes = []
    for side in (0, 1):
        ends = []
        for change in (width, -width):
            moved = [list(tokens) for tokens in own]
            moved[side] = [logp + change / len(own[side]) for logp in own[side]]
            ends.append(oracle_loss(moved, base, name))
        slopes.append((ends[0] - ends[1]) / (2 * width))
    return slopes


def oracle_step(
    model: Any, reference: Any, groups: Sequence[TokenGroup], name: str
) -> tuple[float, dict[str, Tensor]]:
    """What a step minimises and its gradient, pair by pair in float64: a mean over pairs, or nats per token for SFT."""
    model.double().zero_grad()
    reference.double()
    loss, tokens = 0.0, sum(group.num_completion_tokens for group in groups)
    for group in groups:
        own, base = detached_logps(model, group), detached_logps(reference, group)
        if METHODS[name].pairwise:
            share, slopes = 1 / len(groups), oracle_slopes(own, base, name)
            loss += share * oracle_loss(own, base, name)
        else:
            share, slopes = 1 / tokens, [-1.0]
            loss += share * -math.fsum(own[0])
        for completion, slope in zip(group.completions, slopes, strict=True):
            torch.autograd.backward(share * slope * token_logps(model, group, completion).sum())
    return loss, gradients(model)


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.double().clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_of_a_step_are_those_of_the_oracle_over_the_whole_batch(
    name: str, policy: Policy, reference: LiveReference, tmp_path: Path
) -> None:
    groups = groups_of(policy, tmp_path, name)
    record = step(policy, groups, name, reference=reference)
    found = gradients(policy.model)
    loss, expected = oracle_step(policy.model, reference.model, groups, name)
    assert record.loss == pytest.approx(loss, rel=2e-6, abs=2e-6)
    norm = math.sqrt(sum(float(g.pow(2).sum()) for g in expected.values()))
    assert norm > 1e-3
    assert record.grad_norm == pytest.approx(norm, rel=2e-5)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert float((found[key] - gradient).abs().max()) <= 2e-5 * norm, key


def test_the_loss_of_sft_is_in_nats_per_token_of_the_whole_batch_however_it_is_cut(
    policy: Policy, tmp_path: Path
) -> None:
    groups = groups_of(policy, tmp_path, "sft", count=7)
    tokens = [logp for group in groups for logp in detached_logps(policy.model, group)[0]]
    lengths = {len(g.completions[0]) for g in groups}
    assert len(lengths) > 1, "with one length for all, a mean over rows would pass as well"
    for size in (1, 3, 7):
        record = step(policy, groups, "sft", size=size)
        assert record.loss == pytest.approx(-math.fsum(tokens) / len(tokens), rel=1e-6)
        assert record.tokens == len(tokens) and record.pairs == 7
        assert record.margin is None and record.accuracy is None


def test_the_figures_of_a_step_are_means_over_its_pairs(policy: Policy, tmp_path: Path) -> None:
    groups = groups_of(policy, tmp_path, "simpo")
    means = [[oracle.mean(logps) for logps in detached_logps(policy.model, group)] for group in groups]
    record = step(policy, groups, size=4)
    assert record.chosen_logps == pytest.approx(sum(chosen for chosen, _ in means) / 6, rel=1e-5)
    assert record.rejected_logps == pytest.approx(sum(rejected for _, rejected in means) / 6, rel=1e-5)
    assert record.margin == pytest.approx(2 * sum(c - r for c, r in means) / 6, rel=1e-4)
    assert record.accuracy == sum(chosen > rejected for chosen, rejected in means) / 6


def test_a_gradient_is_clipped_to_the_norm_and_its_own_norm_is_told(policy: Policy, tmp_path: Path) -> None:
    groups = groups_of(policy, tmp_path, "simpo")
    before = [p.detach().clone() for p in policy.model.parameters()]
    record = step(policy, groups, lr=1.0, max_grad_norm=0.01)
    change = math.sqrt(
        sum(
            float((p.detach() - b).pow(2).sum())
            for p, b in zip(policy.model.parameters(), before, strict=True)
        )
    )
    assert record.grad_norm > 0.1
    assert change == pytest.approx(0.01, rel=1e-3)


def test_a_row_whose_loss_is_not_finite_is_named_and_the_weights_stay(policy: Policy, tmp_path: Path) -> None:
    """The embedding of one token that a single row has is made NaN."""
    groups = groups_of(policy, tmp_path, "simpo")
    bad = groups[4]
    own = set(bad.prompt.tolist()) - {i for g in groups if g is not bad for i in _ids(g)}
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[own.pop()] = math.nan
    # the output layer shares the weights, so that every row breaks
    before = [p.detach().clone() for p in policy.model.parameters()]
    with pytest.raises(RunFailed, match=r"loss is not finite \(6 of the step's 6 rows") as failure:
        step(policy, groups, lr=1.0)
    assert failure.value.exit_status == 5
    for parameter, old in zip(policy.model.parameters(), before, strict=True):
        assert torch.equal(parameter.nan_to_num(), old.nan_to_num())

    def one_bad_row(model: Any, groups: Sequence[TokenGroup]) -> Any:
        logps = score(model, groups)
        for index, group in enumerate(groups):
            if group is bad:
                logps.total[2 * index + 1] = -math.inf
        return logps

    with torch.no_grad():
        policy.model.get_input_embeddings().weight.nan_to_num_(0.1)
    with pytest.raises(RunFailed, match=f"row {bad.row.id}") as failure:
        train_step(
            make_accelerator(_recipe(), policy.device),
            policy.model,
            torch.optim.SGD(policy.model.parameters(), lr=1.0),
            list(micro_batches(groups, 2)),
            objective=Objective.of("simpo"),
            scorer=one_bad_row,
            reference=None,
            max_grad_norm=1.0,
        )
    assert str(failure.value).startswith(f"{bad.row.source}:")


def test_a_gradient_that_is_not_finite_is_refused_although_the_loss_is(
    policy: Policy, tmp_path: Path
) -> None:
    groups = groups_of(policy, tmp_path, "simpo")
    before = [p.detach().clone() for p in policy.model.parameters()]
    handle = next(policy.model.parameters()).register_hook(lambda grad: grad * math.inf)
    with pytest.raises(RunFailed, match="the gradient is not finite"):
        step(policy, groups, lr=1.0)
    handle.remove()
    assert all(torch.equal(p, b) for p, b in zip(policy.model.parameters(), before, strict=True))


def test_weight_decay_shrinks_matrices_and_leaves_norms_alone(policy: Policy) -> None:
    """AdamW without a gradient multiplies by 1 - lr * decay = 1 - 0.1 * 0.5 = 0.95."""
    recipe = _recipe(train={"lr": 0.1, "weight_decay": 0.5})
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    optimizer = make_optimizer(policy.model, recipe.train)
    for parameter in policy.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, p in policy.model.named_parameters() if not torch.equal(p, before[name])}
    assert shrunk == {name for name in before if "norm" not in name}
    for name, parameter in policy.model.named_parameters():
        torch.testing.assert_close(parameter, before[name] * (0.95 if name in shrunk else 1.0))


def _ids(group: TokenGroup) -> set[int]:
    return {int(i) for part in (group.prompt, *group.completions) for i in part}


def _recipe(**sections: Any) -> Any:
    values = {"output": "x", "model": {"name": "x"}, "data": {"train": "x"}, **sections}
    return resolve_recipe(values).recipe
