"""The shared scorer against the plain one: packs of every form, adapters, checkpointing, precision, generation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from simpo.model import attention, tiles
from simpo.model.attention import use_shared_attention
from simpo.model.head import picked_logps
from simpo.model.pack import CannotShare, num_packed_tokens
from simpo.model.score import Scorer, score, score_all
from simpo.model.shared import shared_score
from simpo.records import Message, Pair, Source, TokenGroup
from tests.model.made import GROUPS, make_group, make_model

# transformers has new names for it, which its older versions and peft do not use.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

NAMES = ("llama", "mistral", "gemma2", "gpt2")
ROW = Pair((Message("user", "?"),), "yes", "no", Source("made.jsonl", 1))


def sharing(name: str, **changes: Any) -> Any:
    model = make_model(name, **changes).double()
    use_shared_attention(model)
    return model


MODELS = {name: sharing(name) for name in NAMES}


def compare(model: Any, groups: Sequence[TokenGroup], *, tolerance: float = 2e-6) -> None:
    """Totals and all gradients of a sum that weighs each completion differently."""
    (plain, expected), (shared, actual) = (gradients(model, groups, way) for way in (score, shared_score))
    lengths = torch.tensor([len(c) for group in groups for c in group.completions])
    assert float(((shared - plain).abs() / lengths).max()) <= 2 * tolerance
    highest = max(float(gradient.abs().max()) for gradient in expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert float((ours - theirs).abs().max()) <= tolerance * highest


def gradients(model: Any, groups: Sequence[TokenGroup], scorer: Scorer) -> tuple[Tensor, list[Tensor]]:
    found = scorer(model, groups)
    weights = torch.linspace(1.0, -0.5, len(found))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad((found.mean * weights).sum(), trained, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, slopes, strict=True)]
    return found.total.detach(), zeros


# Packs


ids = st.lists(st.integers(2, 5), min_size=1, max_size=9)


def group_of(prompt: list[int], completions: list[list[int]]) -> TokenGroup:
    return TokenGroup(np.array(prompt, np.int32), tuple(np.array(ids, np.int32) for ids in completions), ROW)


packs = st.lists(st.builds(group_of, ids, st.lists(ids, min_size=1, max_size=5)), min_size=1, max_size=4)


@pytest.mark.parametrize("name", NAMES)
@given(drawn=packs)
@settings(max_examples=8)
def test_any_mixture_of_groups_is_scored_as_the_plain_scorer_does(name: str, drawn: list[TokenGroup]) -> None:
    compare(MODELS[name], drawn)


@pytest.mark.parametrize("name", NAMES)
@given(drawn=packs)
@settings(max_examples=6)
def test_long_blocks_that_go_tile_by_tile_give_the_same(name: str, drawn: list[TokenGroup]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "DENSE_TOKENS", 3)
        patch.setattr(tiles, "TILE", 4)
        compare(MODELS[name], drawn)


@pytest.mark.parametrize("pairs", [1, 2, 40])
def test_packs_of_one_to_forty_pairs(pairs: int) -> None:
    made = [make_group(1 + seed % 11, 1 + seed % 7, 1 + seed % 5, seed=seed) for seed in range(pairs)]
    compare(MODELS["llama"], made)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_groups_and_their_company_change_nothing(name: str) -> None:
    model = MODELS[name]
    groups = [group for group in GROUPS if len(group.completions) == 2]
    with torch.no_grad():
        together = shared_score(model, groups).total.view(-1, 2)
        backwards = shared_score(model, groups[::-1]).total.view(-1, 2).flip(0)
        alone = torch.cat([shared_score(model, [group]).total for group in groups]).view(-1, 2)
        swapped = [TokenGroup(g.prompt, g.completions[::-1], g.row) for g in groups]
        turned = shared_score(model, swapped).total.view(-1, 2).flip(1)
    for other in (backwards, alone, turned):
        torch.testing.assert_close(other, together, rtol=1e-6, atol=1e-6)


def test_a_prompt_is_run_once_and_the_head_on_completions_alone() -> None:
    model = sharing("llama")
    tokens: list[int] = []
    model.model.layers[0].register_forward_hook(lambda _m, inputs, _o: tokens.append(inputs[0].shape[1]))
    head_rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _m, inputs, _o: head_rows.append(inputs[0].shape[1]))
    group = make_group(20, 3, 4)
    shared_score(model, [group])
    assert num_packed_tokens(group) == 27
    assert tokens == [32]  # filled up to one of few lengths
    assert head_rows == [0]


def test_a_chunked_head_gives_what_one_chunk_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    in_chunks = partial(picked_logps, chunk_logits=5 * 60)  # of five rows
    monkeypatch.setattr("simpo.model.shared.picked_logps", in_chunks)
    compare(sharing("llama"), GROUPS)


# Adapters, checkpointing, precision


def with_lora(model: Any) -> Any:
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return adapted.double().eval()


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_an_adapter_is_scored_and_trained_as_by_the_plain_scorer(name: str) -> None:
    model = with_lora(make_model(name))
    use_shared_attention(model)
    compare(model, GROUPS)
    with model.disable_adapter(), torch.no_grad():
        bare, plain = shared_score(model, GROUPS).total, score(model, GROUPS).total
    torch.testing.assert_close(bare.float(), plain, rtol=1e-5, atol=1e-5)


def test_an_adapter_on_the_head_is_refused() -> None:
    import peft

    model = peft.get_peft_model(
        make_model("llama"), peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"])
    )
    use_shared_attention(model)
    with pytest.raises(CannotShare, match="plain linear output head"):
        shared_score(model, GROUPS)


@pytest.mark.parametrize("dense", [1024, 3])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_gives_the_same_gradients(
    name: str, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "DENSE_TOKENS", dense)
    model = sharing(
        name, **({"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0} if name == "gpt2" else {})
    )
    expected = gradients(model.train(), GROUPS, shared_score)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    runs: list[int] = []
    model.base_model.register_forward_hook(lambda *_: runs.append(1))
    actual = gradients(model, GROUPS, shared_score)
    assert runs == [1]
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_autocast_to_bfloat16_differs_from_float32_no_more_than_the_plain_scorer_does(name: str) -> None:
    model = make_model(name)
    truth, true_gradients = gradients(model, GROUPS, score)
    use_shared_attention(model)
    for scorer in (score, shared_score):
        with torch.autocast("cpu", torch.bfloat16):
            found, slopes = gradients(model, GROUPS, scorer)
        lengths = torch.tensor([len(c) for group in GROUPS for c in group.completions])
        assert float(((found - truth).abs() / lengths).max()) <= 0.15
        difference = sum(float((a - b).square().sum()) for a, b in zip(slopes, true_gradients, strict=True))
        assert difference**0.5 <= 0.1 * sum(float(b.square().sum()) for b in true_gradients) ** 0.5


def test_totals_are_float32_and_need_no_graph() -> None:
    model = make_model("llama")
    use_shared_attention(model)
    expected = score(model, GROUPS).total.detach()
    with torch.inference_mode():
        found = shared_score(model, GROUPS)
    assert found.total.dtype == torch.float32 and not found.total.requires_grad
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-4)
    every = score_all(model, GROUPS, batch_size=3, scorer=shared_score)
    torch.testing.assert_close(every.total, expected, rtol=1e-5, atol=1e-4)
    compare(model.double(), GROUPS)  # what was scored without a graph leaves nothing behind


# Beside a pack the model is what it was


@pytest.mark.parametrize("name", [*NAMES, "qwen2"])
def test_generation_and_plain_scores_are_those_without_our_attention(name: str) -> None:
    prompts = torch.tensor([[0, 0, 5, 6, 7, 8, 9, 10, 11], [3, 4, 5, 6, 7, 8, 9, 10, 11]])
    padding = (prompts != 0).long()

    def generate(model: Any) -> Tensor:
        made: Tensor = model.generate(
            input_ids=prompts, attention_mask=padding, max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        return made

    model = make_model(name)
    before, scored = generate(model), score(model, GROUPS).total
    use_shared_attention(model)
    shared_score(model, GROUPS)
    assert torch.equal(generate(model), before)
    torch.testing.assert_close(score(model, GROUPS).total, scored, rtol=1e-5, atol=1e-4)


def test_a_saved_model_does_not_name_our_attention(tmp_path: Path) -> None:
    model = sharing("llama")
    model.save_pretrained(tmp_path)
    assert attention.NAME not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: set[tuple[Any, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            shapes = (tuple(each.shape) for each in args if isinstance(each, Tensor))
            self.shapes.add((func.overloadpacket, *shapes))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("frozen", [False, True])
def test_rows_of_many_lengths_ask_for_products_of_few_shapes(frozen: bool) -> None:
    model = with_lora(sharing("llama")) if frozen else sharing("llama")

    def shapes_of(lengths: Sequence[tuple[int, int, int]]) -> set[tuple[Any, ...]]:
        products = Products()
        with products:
            for prompt, chosen, rejected in lengths:
                loss = shared_score(model, [make_group(prompt, chosen, rejected)]).mean.sum()
                torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        return products.shapes

    # Whole blocks of 67 to 78 tokens, then blocks of 388 to 399 whose runs go tile by tile.
    for prompt, chosen, rejected in ((33, 17, 17), (65, 290, 33)):
        made = [(prompt + n % 4, chosen + n % 4, rejected + n % 5) for n in range(20)]
        assert shapes_of(made) == shapes_of(made[:1])
