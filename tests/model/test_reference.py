"""The reference in its three forms says the same, and its cache is found, and never believed when it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simpo.core.logps import SequenceLogps
from simpo.model.load import Policy, add_adapter, load_policy
from simpo.model.reference import (
    AdapterOffReference,
    LiveReference,
    PrecomputedReference,
    Reference,
    cache_key,
    precompute,
)
from simpo.model.score import score, score_all
from simpo.recipe import AdapterRecipe, ModelRecipe
from simpo.records import TokenGroup
from tests.model.made import GROUPS, make_group

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own for each test."""
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reference"


def load(tiny_model_dir: Path) -> Policy:
    return load_policy(ModelRecipe(name=str(tiny_model_dir)), device=CPU)


@pytest.fixture
def start(tiny_model_dir: Path) -> Policy:
    return load(tiny_model_dir)


@pytest.fixture
def trained(tiny_model_dir: Path) -> Policy:
    """A policy under training: an adapter with dropout that has moved away from the start."""
    policy = load(tiny_model_dir)
    add_adapter(policy, AdapterRecipe(type="lora", r=4, dropout=0.5), base_folder=tiny_model_dir, seed=1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    policy.model.train()
    return policy


# The three forms


def test_live_adapter_off_and_precomputed_say_the_same(
    tiny_model_dir: Path, start: Policy, trained: Policy
) -> None:
    truth = {group.row.id: score_all(start.model, [group]).total for group in GROUPS}
    forms: dict[str, Reference] = {
        "live": LiveReference(load(tiny_model_dir).model),
        "adapter_off": AdapterOffReference(trained.model),
        "precomputed": precompute(start.model, GROUPS, key="k", device=CPU),
    }
    for name, reference in forms.items():
        for batch in (GROUPS, GROUPS[::-1], GROUPS[2:5], GROUPS[:1]):
            found = reference(batch)
            wanted = torch.cat([truth[group.row.id] for group in batch])
            torch.testing.assert_close(found.total, wanted, rtol=0, atol=3e-4, msg=name)
            assert found.tokens.tolist() == [len(c) for group in batch for c in group.completions]
            assert not found.total.requires_grad


def test_switching_the_adapter_off_leaves_the_policy_as_it_was(trained: Policy) -> None:
    model = trained.model
    modes = [module.training for module in model.modules()]
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    AdapterOffReference(model)(GROUPS)
    assert [module.training for module in model.modules()] == modes
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable
    with pytest.raises(RuntimeError, match="boom"):
        AdapterOffReference(model, _failing)(GROUPS)
    assert [module.training for module in model.modules()] == modes
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable


def _failing(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    raise RuntimeError("boom")


def test_asking_the_reference_between_forward_and_backward_changes_no_gradient(trained: Policy) -> None:
    model = trained.model.eval()

    def gradient(ask: bool) -> torch.Tensor:
        model.zero_grad()
        own = score(model, GROUPS)
        if ask:
            AdapterOffReference(model)(GROUPS)
        torch.autograd.backward(own.mean.sum())
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    without = gradient(ask=False)
    assert float(without.norm()) > 0.1
    assert torch.equal(gradient(ask=True), without)


def test_a_live_reference_has_nothing_to_train(start: Policy) -> None:
    reference = LiveReference(start.model.train())
    assert not any(parameter.requires_grad for parameter in reference.model.parameters())
    assert not reference.model.training


def test_a_precomputed_reference_may_stand_in_a_loss(start: Policy) -> None:
    reference = precompute(start.model, GROUPS, key="k", device=CPU)
    weight = torch.tensor(2.0, requires_grad=True)
    torch.autograd.backward(
        (reference(GROUPS).total * weight).sum()
    )  # saved for backward, as in the DPO family
    assert weight.grad is not None


# The cache


def _never(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    raise AssertionError("scored again")


def test_what_was_scored_is_found_again_without_a_model(start: Policy) -> None:
    first = precompute(start.model, GROUPS, key="k", device=CPU)
    with torch.no_grad():
        start.model.model.norm.weight.mul_(5)  # by now another model
    second = precompute(start.model, GROUPS, key="k", device=CPU, scorer=_never)
    assert torch.equal(first(GROUPS).total, second(GROUPS).total)
    third = precompute(None, GROUPS, key="k", device=CPU)
    assert torch.equal(first(GROUPS).total, third(GROUPS).total)


def test_another_key_is_scored_anew(start: Policy) -> None:
    precompute(start.model, GROUPS, key="k", device=CPU)
    with pytest.raises(AssertionError, match="scored again"):
        precompute(start.model, GROUPS, key="other", device=CPU, scorer=_never)


def _tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_tensors(path: Path) -> None:
    save_file({"total": torch.zeros(3)}, path)


def _other_completions(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: tensor[:-1].clone() for name, tensor in tensors.items()}, path)


def _half_precision(path: Path) -> None:
    tensors = load_file(path)
    save_file({"total": tensors["total"].half(), "tokens": tensors["tokens"]}, path)


@pytest.mark.parametrize("damage", [_tear, _empty, _other_tensors, _other_completions, _half_precision])
def test_a_cache_file_that_is_not_what_was_written_is_scored_again(
    damage: Any, start: Policy, cache: Path
) -> None:
    first = precompute(start.model, GROUPS, key="k", device=CPU)
    path = cache / "k.safetensors"
    whole = path.read_bytes()
    damage(path)
    again = precompute(start.model, GROUPS, key="k", device=CPU)
    assert torch.equal(first(GROUPS).total, again(GROUPS).total)
    assert path.read_bytes() == whole  # and mended


def test_a_cache_that_cannot_be_written_stops_nothing(
    start: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SIMPO_CACHE", str(tmp_path / "file"))
    reference = precompute(start.model, GROUPS, key="k", device=CPU)
    assert len(reference(GROUPS)) == sum(len(group.completions) for group in GROUPS)


def test_log_probabilities_that_are_not_finite_are_not_kept(start: Policy, cache: Path) -> None:
    def broken(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
        good = score(model, groups)
        return SequenceLogps(good.total * float("nan"), good.tokens)

    precompute(start.model, GROUPS, key="k", device=CPU, scorer=broken)
    assert not (cache / "k.safetensors").exists()


def test_the_key_changes_with_all_that_changes_the_numbers() -> None:
    group = make_group(5, 7, 3)
    prompt, (chosen, rejected) = group.prompt, group.completions
    longer = prompt.copy()
    longer[0] += 1
    keys = [
        cache_key("model", [group], "float32"),
        cache_key("another", [group], "float32"),
        cache_key("model", [group], "bfloat16"),
        cache_key("model", [group], "float32", "cpu"),
        cache_key("model", [group, group], "float32"),
        cache_key("model", [make_group(5, 7, 3, seed=1)], "float32"),  # another row
        cache_key(
            "model", [TokenGroup(longer, group.completions, group.row)], "float32"
        ),  # rendered otherwise
        cache_key("model", [TokenGroup(prompt, (rejected, chosen), group.row)], "float32"),
        cache_key("model", [TokenGroup(prompt, (chosen,), group.row)], "float32"),
        cache_key("model", [TokenGroup(prompt[:4], (chosen, rejected), group.row)], "float32"),
        cache_key("mode", [group], "lfloat32"),
        cache_key('model", "float32', [group]),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == cache_key("model", [make_group(5, 7, 3)], "float32")


def test_a_row_that_was_not_scored_is_not_made_up(start: Policy) -> None:
    reference = PrecomputedReference({}, CPU)
    with pytest.raises(KeyError):
        reference(GROUPS[:1])
