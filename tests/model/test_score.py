"""The plain scorer against one sequence at a time in float64; nothing about a batch changes what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from simpo.core.logps import SequenceLogps
from simpo.model.score import (
    evaluating,
    length_batches,
    model_batches,
    pad_groups,
    score,
    score_all,
    score_in_batches,
)
from simpo.records import TokenGroup
from tests.model.made import GROUPS, VOCABULARY, make_group, make_model
from tests.oracles import scoring as oracle

ARCHITECTURES = ("llama", "qwen2", "gemma2", "mistral", "gpt2")
CPU = torch.device("cpu")

# Nats per token by which the scorer may differ from the oracle. With float64 weights the forward is exact and what is
# left is the rounding of the log-softmax to float32; with float32 weights it is the forward's.
BUDGET = {torch.float64: 4e-6, torch.float32: 2e-5}


def totals(model: Any, groups: Sequence[TokenGroup]) -> torch.Tensor:
    with torch.no_grad():
        return score(model, groups).total


def assert_within(
    found: torch.Tensor, wanted: Sequence[float], groups: Sequence[TokenGroup], budget: float
) -> None:
    lengths = [len(completion) for group in groups for completion in group.completions]
    for total, truth, length in zip(found.tolist(), wanted, lengths, strict=True):
        assert abs(total - truth) <= budget * length, (total, truth, length)


# Values


@pytest.mark.parametrize("dtype", BUDGET)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_says_what_it_says_of_one_sequence_alone(name: str, dtype: torch.dtype) -> None:
    model = make_model(name).to(dtype)
    found = score(model, GROUPS)
    assert found.tokens.tolist() == [len(c) for group in GROUPS for c in group.completions]
    assert found.total.dtype == torch.float32
    assert_within(found.total, oracle.totals(model, GROUPS), GROUPS, BUDGET[dtype])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention: str) -> None:
    model = make_model("llama", attn_implementation=attention).double()
    assert_within(totals(model, GROUPS), oracle.totals(model, GROUPS), GROUPS, BUDGET[torch.float64])


def test_the_log_softmax_of_bfloat16_weights_is_taken_and_summed_in_float32() -> None:
    model = make_model("llama").to(torch.bfloat16)
    group = make_group(3, 40)
    found = score(model, [group])
    # The same logits, rounded to bfloat16 as the model gave them; one sequence, so that the forward is the same.
    assert_within(found.total, oracle.totals(model, [group]), [group], 4e-6)
    assert found.total.dtype == torch.float32


lengths = st.integers(1, 12)
shapes = st.lists(st.tuples(lengths, st.lists(lengths, min_size=1, max_size=4)), min_size=1, max_size=5)


@given(shapes)
@settings(max_examples=15)
def test_any_mixture_of_lengths_is_scored_as_if_alone(drawn: list[tuple[int, list[int]]]) -> None:
    groups = [make_group(prompt, *completions, seed=seed) for seed, (prompt, completions) in enumerate(drawn)]
    model = _LLAMA
    assert_within(totals(model, groups), oracle.totals(model, groups), groups, BUDGET[torch.float64])


_LLAMA = make_model("llama").double()


# Nothing about a batch matters


def test_the_token_that_pads_makes_no_difference() -> None:
    model = make_model("llama").double()
    batches = [pad_groups(GROUPS, CPU, pad_id) for pad_id in (0, 7)]
    assert batches[0].input_ids.tolist() != batches[1].input_ids.tolist()
    logits = [model(input_ids=batch.input_ids).logits[:, batch.first : -1] for batch in batches]
    torch.testing.assert_close(logits[0][batches[0].scored], logits[1][batches[1].scored], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_scores_as_its_parts_in_any_order(name: str) -> None:
    model = make_model(name).double()
    together = totals(model, GROUPS)
    alone = torch.cat([totals(model, [group]) for group in GROUPS])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)
    backwards = [totals(model, [group]) for group in GROUPS[::-1]][::-1]
    torch.testing.assert_close(
        totals(model, GROUPS[::-1]).flip(0).sort().values, together.sort().values, rtol=0, atol=2e-5
    )
    torch.testing.assert_close(torch.cat(backwards), together, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_the_groups_one_by_one(name: str) -> None:
    model = make_model(name).double()

    def gradient(batches: Sequence[Sequence[TokenGroup]]) -> torch.Tensor:
        model.zero_grad()
        for batch in batches:
            torch.autograd.backward(score(model, batch).mean.sum())
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient([GROUPS])
    alone = gradient([[group] for group in GROUPS])
    assert float(whole.norm()) > 1
    # Each log-softmax is rounded to float32, whose relative error is 6e-8.
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6 * float(whole.abs().max()))


# Which logits are asked for


class _WithoutKeeping(torch.nn.Module):
    """A model whose forward knows no `logits_to_keep`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        return self.inner(input_ids=input_ids, use_cache=use_cache)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_asking_for_some_logits_gives_what_all_of_them_give(name: str) -> None:
    model = make_model(name)
    torch.testing.assert_close(
        totals(model, GROUPS), totals(_WithoutKeeping(model), GROUPS), rtol=0, atol=2e-5
    )


def test_wrappers_do_not_hide_that_a_model_takes_logits_to_keep() -> None:
    model = make_model("llama")
    shapes = _Shapes()
    with shapes:
        wrapped = totals(torch.nn.DataParallel(model), GROUPS)
    longest = max(group.longest for group in GROUPS)
    assert (sum(len(group.completions) for group in GROUPS), longest, VOCABULARY) not in shapes.seen
    assert torch.equal(wrapped, totals(model, GROUPS))


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every shape and type that an operation gave while the block ran."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[tuple[int, ...]] = set()
        self.float32: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
                if tensor.dtype == torch.float32:
                    self.float32.add(tuple(tensor.shape))
        return result


def test_the_logits_of_a_batch_are_never_copied_to_float32_as_a_whole() -> None:
    model = make_model("llama").to(torch.bfloat16)
    shapes = _Shapes()
    with torch.no_grad(), shapes:
        score(model, GROUPS)
    batch = pad_groups(GROUPS, CPU)
    sequences, positions = batch.targets.shape
    assert (sequences, positions, VOCABULARY) in shapes.seen  # the premise: as the model gave them
    assert (positions, VOCABULARY) in shapes.float32
    assert (sequences, positions, VOCABULARY) not in shapes.float32


# Scoring many


def test_many_groups_come_back_in_order_on_the_cpu_without_a_graph() -> None:
    model = make_model("llama")
    for batch_size in (1, 3, 8, 100):
        found = score_all(model, GROUPS, batch_size=batch_size)
        torch.testing.assert_close(found.total, totals(model, GROUPS), rtol=0, atol=2e-4)
        assert (found.total.dtype, found.total.device, found.total.requires_grad) == (
            torch.float32,
            CPU,
            False,
        )
        assert not found.total.is_inference()  # may stand in a loss with gradients


def test_progress_is_told_after_each_batch() -> None:
    told: list[tuple[int, int]] = []
    score_all(
        make_model("llama"), GROUPS, batch_size=3, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_scoring_many_switches_dropout_off_and_each_module_back_as_it_was() -> None:
    model = make_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5).train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    first = score_all(model, GROUPS).total
    assert torch.equal(first, score_all(model, GROUPS).total)
    assert [module.training for module in model.modules()] == modes
    assert True in modes and False in modes


def test_the_mode_is_put_back_when_scoring_fails() -> None:
    model = make_model("llama").train()

    def failing(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        score_all(model, GROUPS, scorer=failing)
    assert all(module.training for module in model.modules())
    with evaluating(model):
        assert not any(module.training for module in model.modules())


# Batches of like lengths, bounded in number and memory

triples = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=25
)


def _lengths(groups: Sequence[TokenGroup]) -> SequenceLogps:
    found = [len(completion) for group in groups for completion in group.completions]
    return SequenceLogps(-torch.tensor(found, dtype=torch.float32), torch.tensor(found))


def test_a_batch_is_cut_where_its_logits_would_be_too_many() -> None:
    # Spans from the end of the prompt: 9 for two groups, 36 logits of a vocabulary of 1; a third would make 54.
    groups = [make_group(1, 9, 5)] * 3
    assert length_batches(groups, batch_size=8, vocab_size=1, max_logits=36) == [[0, 1], [2]]
    assert length_batches(groups, batch_size=8, vocab_size=1, max_logits=54) == [[0, 1, 2]]
    assert length_batches(groups, batch_size=1, vocab_size=1) == [[0], [1], [2]]


def test_a_group_that_alone_is_too_large_is_scored_alone() -> None:
    assert length_batches([make_group(5, 100, 100)] * 2, batch_size=8, vocab_size=10, max_logits=3) == [
        [0],
        [1],
    ]


def test_the_vocabulary_that_bounds_a_batch_is_the_models() -> None:
    groups = [make_group(1, 100, 100)] * 3
    assert model_batches(make_model("llama"), groups, 3) == [[0, 1, 2]]
    assert model_batches(make_model("gpt2"), groups, 2) == [[0, 1], [2]]
    with torch.device("meta"):  # shapes only
        large = make_model("llama", vocab_size=2**21)
    assert model_batches(large, groups, 3) == [[0], [1], [2]]


@given(triples, st.integers(1, 6), st.integers(1, 400))
@settings(max_examples=60)
def test_every_group_is_in_one_batch_and_batches_keep_their_bounds(
    drawn: list[tuple[int, int, int]], batch_size: int, max_logits: int
) -> None:
    groups = [make_group(*shape) for shape in drawn]
    batches = length_batches(groups, batch_size=batch_size, vocab_size=1, max_logits=max_logits)
    assert sorted(index for batch in batches for index in batch) == list(range(len(groups)))
    for batch in batches:
        span = max(groups[index].longest for index in batch) - min(
            len(groups[index].prompt) for index in batch
        )
        assert len(batch) == 1 or (len(batch) <= batch_size and 2 * len(batch) * span <= max_logits)
    longest = [groups[index].longest for batch in batches for index in batch]
    assert longest == sorted(longest, reverse=True)


@given(triples, st.integers(1, 6))
@settings(max_examples=30)
def test_results_come_in_the_order_of_the_groups(drawn: list[tuple[int, int, int]], batch_size: int) -> None:
    groups = [make_group(*shape) for shape in drawn]
    batches = length_batches(groups, batch_size=batch_size, vocab_size=1)
    found = score_in_batches(_lengths, groups, batches)
    assert found.tokens.tolist() == _lengths(groups).tokens.tolist()


def test_what_a_scorer_gives_in_float64_comes_back_in_float32_without_a_graph() -> None:
    def scorer(groups: Sequence[TokenGroup]) -> SequenceLogps:
        found = _lengths(groups)
        return SequenceLogps(found.total.double().requires_grad_(), found.tokens)

    found = score_in_batches(scorer, [make_group(1, 2, 3)], [[0]])
    assert (found.total.dtype, found.total.requires_grad) == (torch.float32, False)


# The real model


@pytest.mark.model
def test_the_real_model_in_one_batch_says_what_it_says_one_by_one(smollm2: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from simpo.data.render import Renderer, render_rows
    from simpo.records import Message, Pair, Source

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    rows = [
        Pair(
            (Message("user", "Where is my parcel?"),), "It is on its way to you.", "No idea.", Source("a", 1)
        ),
        Pair(
            (Message("user", "Hi"),), "Hello! How can I help you today?", "What do you want?", Source("a", 2)
        ),
    ]
    groups = render_rows(rows, Renderer(tokenizer, stop_ids={tokenizer.eos_token_id})).groups
    found = totals(model, groups)
    one_by_one = torch.cat([totals(model, [group]) for group in groups])
    torch.testing.assert_close(found, one_by_one, rtol=0, atol=1e-3)
    means = [
        total / length for total, length in zip(found.tolist(), _lengths(groups).tokens.tolist(), strict=True)
    ]
    assert means[2] > means[3]  # to a greeting a greeting is likelier, per token, than a rebuff
