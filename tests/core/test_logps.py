"""Log-probabilities of tokens against a float64 oracle with a stated error budget, and their sums."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.core.logps import SequenceLogps, concatenate, sum_scored, token_logps
from tests.oracles import logps as oracle


def budget(logits: torch.Tensor) -> float:
    """Nats by which float32 may err, as `token_logps` says.

    Half an ulp of the log of the sum, at most 2^-24 (M + log V), and of its distance to the target, at most
    2^-24 (2 M + log V), are together below 2^-23 (2 M + log V); 1 more for the sum itself.
    """
    return 2.0**-23 * (1 + math.log(logits.shape[-1]) + 2 * logits.abs().max().item())


def logps(*totals_and_tokens: tuple[float, int]) -> SequenceLogps:
    totals, tokens = zip(*totals_and_tokens, strict=True)
    return SequenceLogps(torch.tensor(totals, dtype=torch.float32), torch.tensor(tokens))


# token_logps


def test_token_logps_computed_by_hand() -> None:
    # Odds 1 : 3: probabilities 1/4 and 3/4. Equal logits over 4 tokens: 1/4 each, whatever their height.
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    torch.testing.assert_close(
        token_logps(logits, torch.tensor([0, 1])), torch.tensor([-math.log(4), math.log(0.75)])
    )
    flat = torch.full((4,), 7.0)
    torch.testing.assert_close(token_logps(flat, torch.tensor(2)), torch.tensor(-math.log(4)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocabulary", [1, 2, 37, 5003])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (8, 0), (8, -30), (300, 0)])
def test_token_logps_stay_within_their_error_budget_of_the_oracle(
    dtype: torch.dtype, vocabulary: int, scale: float, offset: float
) -> None:
    logits = (torch.randn(3, 2, vocabulary) * scale + offset).to(dtype)
    targets = torch.randint(vocabulary, (3, 2))
    found = token_logps(logits, targets)
    assert (found.dtype, found.shape) == (torch.float32, (3, 2))
    truth = [
        oracle.token_logp(row.double().tolist(), int(target))
        for row, target in zip(logits.flatten(0, 1), targets.flatten(), strict=True)
    ]
    error = (found.flatten().double() - torch.tensor(truth, dtype=torch.float64)).abs().max().item()
    assert error <= budget(logits)
    assert (found <= 0).all()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_token_logps_equal_the_oracle_for_any_logits(data: st.DataObject) -> None:
    row = data.draw(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12))
    target = data.draw(st.integers(0, len(row) - 1))
    logits = torch.tensor(row)
    found = token_logps(logits, torch.tensor(target)).item()
    assert found == pytest.approx(oracle.token_logp(row, target), abs=budget(logits))
    assert found <= 0


def test_logits_of_ten_thousand_either_way_give_finite_values_and_gradients() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]]).requires_grad_()
    found = token_logps(logits, torch.tensor([1, 0, 2]))
    torch.testing.assert_close(
        found.detach(), torch.tensor([-2e4, -math.log(3), -math.log(3)]), atol=2.0**-23 * 2e4, rtol=0
    )
    torch.autograd.backward(found.sum())
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_a_vocabulary_of_one_is_certain() -> None:
    assert token_logps(torch.tensor([[-1e4], [3.0]]), torch.tensor([0, 0])).tolist() == [0, 0]


def test_tokens_ruled_out_by_minus_infinity_do_not_count() -> None:
    logits = torch.tensor([2.0, -math.inf, 2.0])
    assert token_logps(logits, torch.tensor(0)).item() == pytest.approx(-math.log(2), abs=1e-6)


def test_probabilities_over_the_vocabulary_sum_to_one() -> None:
    logits = torch.randn(4, 50) * 5
    everything = token_logps(logits.unsqueeze(1).expand(4, 50, 50), torch.arange(50).expand(4, 50))
    torch.testing.assert_close(everything.exp().sum(-1), torch.ones(4))


def test_the_gradient_of_token_logps_is_one_hot_less_softmax() -> None:
    logits = torch.tensor([[0.0, math.log(3)]]).requires_grad_()
    torch.autograd.backward(token_logps(logits, torch.tensor([0])).sum())
    torch.testing.assert_close(logits.grad, torch.tensor([[0.75, -0.75]]))  # (1, 0) - (1/4, 3/4)


def test_bfloat16_logits_are_not_softmaxed_in_bfloat16() -> None:
    # In bfloat16, log softmax of 1 in 50 000 equal tokens would round by up to 2^-8 * 10.8 = 0.04 nats.
    logits = torch.zeros(50_000, dtype=torch.bfloat16)
    assert token_logps(logits, torch.tensor(7)).item() == pytest.approx(-math.log(50_000), abs=1e-5)


def test_a_target_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        token_logps(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises((IndexError, RuntimeError)):
        token_logps(torch.zeros(2, 3), torch.tensor([0, -100]))


# sum_scored


def test_sum_scored_computed_by_hand() -> None:
    rows = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, -16.0, -32.0]])
    mask = torch.tensor([[True, False, True], [False, True, False]])
    found = sum_scored(rows, mask)
    assert (found.total.tolist(), found.tokens.tolist(), found.mean.tolist()) == (
        [-5, -16],
        [2, 1],
        [-2.5, -16],
    )


def test_a_mask_equals_the_subset_it_keeps() -> None:
    rows, mask = -torch.rand(5, 9), torch.rand(5, 9) < 0.5
    mask[:, 3] = True
    found = sum_scored(rows, mask)
    for row, (total, tokens) in enumerate(oracle.sequence_logps(rows.tolist(), mask.tolist())):
        alone = sum_scored(rows[row, mask[row]][None], torch.ones(1, tokens, dtype=torch.bool))
        assert found.tokens[row] == alone.tokens[0] == tokens
        assert found.total[row].item() == pytest.approx(total, abs=1e-6)
        torch.testing.assert_close(alone.total[0], found.total[row])


def test_padding_on_the_right_changes_nothing_whatever_it_holds() -> None:
    rows = -torch.rand(2, 4)
    mask = torch.ones(2, 4, dtype=torch.bool)
    padded = torch.cat([rows, torch.tensor([[math.nan, -math.inf], [7.0, 0.0]])], dim=1).requires_grad_()
    found = sum_scored(padded, torch.cat([mask, torch.zeros(2, 2, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(found.total.detach(), sum_scored(rows, mask).total)
    torch.autograd.backward(found.mean.sum())
    assert padded.grad is not None
    torch.testing.assert_close(padded.grad, torch.tensor([[0.25] * 4 + [0.0] * 2] * 2))


def test_a_completion_without_a_scored_token_is_refused() -> None:
    with pytest.raises(ValueError, match="no scored token"):
        sum_scored(torch.zeros(2, 3), torch.tensor([[True, True, True], [False, False, False]]))


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(2, 2, dtype=torch.bool)])
def test_a_mask_of_another_shape_or_type_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="boolean mask"):
        sum_scored(torch.zeros(2, 3), mask)


# SequenceLogps


def test_mean_and_total_differ_by_the_number_of_tokens() -> None:
    found = logps((-10, 5), (-3, 1))
    assert found.total.tolist() == [-10, -3]
    assert found.mean.tolist() == [-2, -3]
    assert len(found) == 2


def test_slices_keep_totals_with_their_tokens() -> None:
    found = logps((-1, 1), (-2, 2), (-3, 3), (-4, 4))
    for index in (slice(0, None, 2), slice(1, None, 2), slice(1, 3), slice(0, 0)):
        assert found[index].total.tolist() == found.total.tolist()[index]
        assert found[index].tokens.tolist() == found.tokens.tolist()[index]


def test_concatenation_undoes_slicing() -> None:
    found = logps((-1, 1), (-2, 2), (-3, 3))
    again = concatenate([found[:1], found[1:1], found[1:]])
    assert (again.total.tolist(), again.tokens.tolist()) == (found.total.tolist(), found.tokens.tolist())


def test_detached_values_carry_no_graph() -> None:
    found = SequenceLogps(torch.zeros(2, requires_grad=True), torch.ones(2, dtype=torch.int64))
    assert found.mean.requires_grad and not found.detach().mean.requires_grad


@pytest.mark.parametrize(
    ("total", "tokens"),
    [
        (torch.zeros(2), torch.ones(3)),
        (torch.zeros(2, 1), torch.ones(2, 1)),
        (torch.tensor(0.0), torch.tensor(1)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2)),
        (torch.zeros(2, dtype=torch.int64), torch.ones(2)),
    ],
)
def test_shapes_that_differ_and_coarse_totals_are_refused(total: torch.Tensor, tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="total"):
        SequenceLogps(total, tokens)
