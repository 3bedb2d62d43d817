"""From text to gradient: however a batch is cut, held or stored, a model says the same of it and learns the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from simpo.core.objective import Objective
from simpo.data.batches import micro_batches
from simpo.data.render import Renderer, render_rows
from simpo.model.load import Policy, add_adapter, load_policy
from simpo.model.reference import AdapterOffReference, LiveReference, Reference, precompute
from simpo.model.score import score, score_all
from simpo.model.weights import save_weights
from simpo.recipe import AdapterRecipe, ModelRecipe
from simpo.records import Message, Pair, Source, TokenGroup

CPU = torch.device("cpu")
CUTS = {"1x8": 8, "2x4": 4, "8x1": 1, "3+3+2": 3}
ROWS = [
    Pair(
        (Message("user", f"Where is parcel {number}?" + " It is late." * number),),
        f"It comes on day {number}." + " Sorry!" * (number % 3),
        "I do not know" + ", sorry" * (7 - number) + ".",
        Source("pairs.jsonl", number + 1),
    )
    for number in range(8)
]


def load(folder: Path) -> Policy:
    return load_policy(ModelRecipe(name=str(folder)), device=CPU)


def moved(policy: Policy, base: Path) -> Policy:
    """The policy with an adapter that has left the start behind."""
    add_adapter(policy, AdapterRecipe(type="lora", r=4), base_folder=base, seed=1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return policy


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return moved(load(tiny_model_dir), tiny_model_dir)


@pytest.fixture
def groups(policy: Policy) -> tuple[TokenGroup, ...]:
    rendered = render_rows(ROWS, Renderer(policy.tokenizer, stop_ids=policy.stop_ids))
    assert len(rendered.groups) == 8
    return rendered.groups


def gradient(
    policy: Policy,
    batches: Sequence[Sequence[TokenGroup]],
    objective: Objective,
    reference: Reference | None = None,
) -> torch.Tensor:
    """The gradient of the mean loss over the pairs of all batches, as one vector."""
    policy.model.zero_grad()
    pairs = sum(len(batch) for batch in batches)
    for batch in batches:
        baseline = None if reference is None else reference(batch)
        torch.autograd.backward(objective.losses(score(policy.model, batch), baseline).sum() / pairs)
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal up to float32 rounding through the model: a ten-thousandth of the vector's length."""
    assert float(wanted.norm()) > 1e-3
    assert float((found - wanted).norm()) <= 1e-4 * float(wanted.norm())


@pytest.mark.parametrize("method", ["simpo", "orpo", "simper"])
@pytest.mark.parametrize("cut", CUTS)
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    method: str, cut: str, policy: Policy, groups: tuple[TokenGroup, ...]
) -> None:
    objective = Objective.of(method)
    whole = gradient(policy, [groups], objective)
    assert_same(gradient(policy, list(micro_batches(groups, CUTS[cut])), objective), whole)
    assert_same(gradient(policy, [groups[::-1]], objective), whole)


@pytest.mark.parametrize("method", ["dpo", "dpo_norm"])
def test_every_form_of_the_reference_gives_the_same_gradient(
    method: str,
    policy: Policy,
    groups: tuple[TokenGroup, ...],
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path))
    start = load(tiny_model_dir).model
    objective = Objective.of(method)
    wanted = gradient(policy, [groups], objective, LiveReference(start))
    forms: dict[str, Reference] = {
        "adapter_off": AdapterOffReference(policy.model),
        "precomputed": precompute(start, groups, key="k", device=CPU),
        "from the cache": precompute(None, groups, key="k", device=CPU),
    }
    for reference in forms.values():
        for size in CUTS.values():
            assert_same(gradient(policy, list(micro_batches(groups, size)), objective, reference), wanted)


def test_a_policy_says_the_same_in_memory_saved_and_merged(
    policy: Policy, groups: tuple[TokenGroup, ...], tiny_model_dir: Path, tmp_path: Path
) -> None:
    wanted = score_all(policy.model, groups).total
    assert float((wanted - score_all(load(tiny_model_dir).model, groups).total).abs().max()) > 0.1
    save_weights(policy, tmp_path / "adapter")
    merged = load(tmp_path / "adapter")
    torch.testing.assert_close(score_all(merged.model, groups).total, wanted, rtol=0, atol=1e-3)
    save_weights(merged, tmp_path / "whole")
    again = load(tmp_path / "whole")
    assert torch.equal(score_all(again.model, groups).total, score_all(merged.model, groups).total)
    assert again.stop_ids == policy.stop_ids
    assert again.tokenizer.get_chat_template() == policy.tokenizer.get_chat_template()


def test_swapping_chosen_and_rejected_swaps_what_is_said_of_them(
    policy: Policy, groups: tuple[TokenGroup, ...]
) -> None:
    swapped = [TokenGroup(group.prompt, group.completions[::-1], group.row) for group in groups]
    straight, crossed = score_all(policy.model, groups), score_all(policy.model, swapped)
    torch.testing.assert_close(crossed.total[0::2], straight.total[1::2], rtol=0, atol=1e-4)
    torch.testing.assert_close(crossed.total[1::2], straight.total[0::2], rtol=0, atol=1e-4)
