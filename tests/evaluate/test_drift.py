"""Drift: the divergence from the start against a float64 oracle, 0 for no change, the same however batched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simpo.data.render import Renderer, render_rows
from simpo.errors import RecipeError, RunFailed
from simpo.evaluate import drift
from simpo.evaluate.drift import reply_groups, token_kl
from simpo.model.load import Policy, load_policy
from simpo.recipe import ModelRecipe
from simpo.records import Dataset, TokenGroup


@pytest.fixture
def moved(tiny_model_dir: Path) -> Policy:
    """The tiny model with every weight a little elsewhere."""
    policy = load_policy(ModelRecipe(name=str(tiny_model_dir)), device=torch.device("cpu"))
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return policy


@pytest.fixture
def groups(held_out: Dataset, tiny_renderer: Renderer) -> tuple[TokenGroup, ...]:
    return render_rows(held_out.rows, tiny_renderer).groups


def oracle(policy: Policy, base: Policy, group: TokenGroup) -> float:
    """Position by position, in float64, from whole forwards."""
    ids = torch.tensor([[*group.prompt.tolist(), *group.completions[0].tolist()]])
    with torch.no_grad():
        p, q = (
            torch.log_softmax(each.model.double()(input_ids=ids).logits[0], dim=-1) for each in (policy, base)
        )
    total = 0.0
    for place in range(len(group.prompt) - 1, ids.shape[1] - 1):
        total += float((p[place].exp() * (p[place] - q[place])).sum())
    return total


def test_it_is_the_oracles_divergence(
    moved: Policy, tiny_policy: Policy, groups: tuple[TokenGroup, ...]
) -> None:
    found = token_kl(moved, tiny_policy, groups, batch_size=4)
    assert [each.row for each in found] == [group.row for group in groups]
    assert [each.tokens for each in found] == [len(group.completions[0]) for group in groups]
    expected = [oracle(moved, tiny_policy, group) for group in groups]
    assert min(expected) > 0.01
    assert [each.total for each in found] == pytest.approx(expected, rel=1e-3)
    assert found[0].mean == found[0].total / found[0].tokens


def test_a_model_has_not_moved_from_itself(tiny_policy: Policy, groups: tuple[TokenGroup, ...]) -> None:
    assert [each.total for each in token_kl(tiny_policy, tiny_policy, groups)] == [0.0] * len(groups)


def test_neither_batches_nor_chunks_change_it(
    moved: Policy, tiny_policy: Policy, groups: tuple[TokenGroup, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = token_kl(moved, tiny_policy, groups, batch_size=1)
    monkeypatch.setattr(drift, "CHUNK_LOGITS", 3 * 400)
    together = token_kl(moved, tiny_policy, groups, batch_size=10)
    assert [each.total for each in together] == pytest.approx([each.total for each in alone], rel=1e-5)


def test_only_the_first_completion_counts_and_modes_are_put_back(
    moved: Policy, tiny_policy: Policy, groups: tuple[TokenGroup, ...]
) -> None:
    moved.model.train()
    seen: list[tuple[int, int]] = []
    both = token_kl(moved, tiny_policy, groups, progress=lambda *done: seen.append(done))
    alone = token_kl(moved, tiny_policy, [TokenGroup(g.prompt, g.completions[:1], g.row) for g in groups])
    assert both == alone
    assert moved.model.training and not tiny_policy.model.training
    assert seen[-1] == (len(groups), len(groups))


def test_replies_are_measured_as_they_were_written(held_out: Dataset, tiny_renderer: Renderer) -> None:
    ids = [row.prompt_id for row in held_out.rows]
    lines = [
        {"prompt_id": ids[0], "reply": "It is here.", "stopped": True},
        {"prompt_id": ids[1], "reply": "It is here.", "stopped": False},
        {"prompt_id": ids[2], "reply": "", "stopped": True},
        {"prompt_id": "of other data", "reply": "It is here.", "stopped": True},
    ]
    whole, cut = reply_groups(lines, held_out.rows, tiny_renderer)
    assert whole.completions[0][:-1].tolist() == cut.completions[0].tolist()
    assert int(whole.completions[0][-1]) in tiny_renderer.stop_ids
    assert (whole.row, cut.row) == (held_out.rows[0], held_out.rows[1])
    assert whole.prompt.tolist() == tiny_renderer.prompt_ids(held_out.rows[0].prompt).tolist()


def test_broken_weights_are_told(moved: Policy, tiny_policy: Policy, groups: tuple[TokenGroup, ...]) -> None:
    with torch.no_grad():
        next(moved.model.parameters()).fill_(float("nan"))
    with pytest.raises(RunFailed, match="not finite"):
        token_kl(moved, tiny_policy, groups)


def test_models_of_other_vocabularies_are_refused(
    tiny_policy: Policy, groups: tuple[TokenGroup, ...], tiny_model_dir: Path
) -> None:
    larger = load_policy(ModelRecipe(name=str(tiny_model_dir)), device=torch.device("cpu"))
    larger.model.resize_token_embeddings(416, mean_resizing=False)
    with pytest.raises(RecipeError, match="vocabularies of 416 and 400"):
        token_kl(larger, tiny_policy, groups)
