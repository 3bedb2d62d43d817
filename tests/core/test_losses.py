"""The losses against pencil, a float64 oracle, their own symmetries, and numbers too large or too small."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from simpo.core.losses import (
    alphapo_loss,
    alphapo_reward,
    cpo_loss,
    dpo_loss,
    ipo_loss,
    log_odds,
    orpo_loss,
    repo_loss,
    simper_loss,
    simpo_hinge_loss,
    simpo_loss,
)
from tests.oracles import losses as oracle

# Every loss with parameters away from the defaults, and the oracle that a one-token pair can be given to.
LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., float], dict[str, float]]] = {
    "simpo": (simpo_loss, oracle.simpo, {"beta": 2.5, "gamma": 0.3, "label_smoothing": 0.1}),
    "simpo_hinge": (simpo_hinge_loss, oracle.simpo_hinge, {"beta": 2.5, "gamma": 0.3}),
    "dpo": (dpo_loss, oracle.dpo, {"beta": 0.2, "label_smoothing": 0.1}),
    "dpo_norm": (dpo_loss, oracle.dpo_norm, {"beta": 5.0, "label_smoothing": 0.1}),
    "ipo": (ipo_loss, oracle.ipo, {"beta": 0.2}),
    "orpo": (orpo_loss, oracle.orpo, {"odds_weight": 0.3}),
    "cpo": (cpo_loss, oracle.cpo, {"beta": 0.2, "label_smoothing": 0.1}),
    "simper": (simper_loss, oracle.simper, {}),
    "repo": (repo_loss, oracle.repo, {"gamma": 0.3}),
    "alphapo": (alphapo_loss, oracle.alphapo, {"beta": 2.5, "gamma": 0.3, "alpha": 0.25}),
    "alphapo, alpha < 0": (alphapo_loss, oracle.alphapo, {"beta": 2.5, "gamma": 0.3, "alpha": -1.5}),
}
SHIFT_INVARIANT = ("simpo", "simpo_hinge", "dpo", "dpo_norm", "ipo", "cpo", "repo")
every_loss = pytest.mark.parametrize("name", LOSSES)


def of(name: str, chosen: Tensor, rejected: Tensor) -> Tensor:
    loss, _, parameters = LOSSES[name]
    return loss(chosen, rejected, **parameters)


def t(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def random_scores(pairs: int, *, low: float = -4.0, high: float = -0.1) -> tuple[Tensor, Tensor]:
    scores = torch.empty(2, pairs, dtype=torch.float64).uniform_(low, high)
    return scores[0], scores[1]


# By hand.


def test_simpo_of_a_pair_computed_by_hand() -> None:
    # a_w = -1, a_l = -2, beta 2, gamma 0.5: z = 2 * (-1 + 2 - 0.5) = 1. -log sigmoid(1) = log(1 + e^-1)
    # = log(1.3678794) = 0.3132617. Swapped: z = 2 * (-2 + 1 - 0.5) = -3, log(1 + e^3) = log(21.0855369) = 3.0485874.
    loss = simpo_loss(t(-1, -2), t(-2, -1), beta=2, gamma=0.5, label_smoothing=0)
    torch.testing.assert_close(loss, t(0.3132617, 3.0485874), atol=5e-8, rtol=0)


def test_simpo_with_smoothing_computed_by_hand() -> None:
    # The pair above: -log sigmoid(1) = 0.3132617 and -log sigmoid(-1) = 1.3132617, so at e = 0.1
    # 0.9 * 0.3132617 + 0.1 * 1.3132617 = 0.2819355 + 0.1313262 = 0.4132617.
    loss = simpo_loss(t(-1), t(-2), beta=2, gamma=0.5, label_smoothing=0.1)
    torch.testing.assert_close(loss, t(0.4132617), atol=5e-8, rtol=0)


def test_the_gradient_of_simpo_computed_by_hand() -> None:
    # d/da_w -log sigmoid(z) = -beta * sigmoid(-z); at z = 1, sigmoid(-1) = 1 / (1 + e) = 0.2689414: -2 * that.
    chosen, rejected = t(-1).requires_grad_(), t(-2).requires_grad_()
    torch.autograd.backward(simpo_loss(chosen, rejected, beta=2, gamma=0.5, label_smoothing=0).sum())
    torch.testing.assert_close(chosen.grad, t(-0.5378828), atol=5e-8, rtol=0)
    torch.testing.assert_close(rejected.grad, t(0.5378828), atol=5e-8, rtol=0)


def test_hinge_simpo_computed_by_hand() -> None:
    # beta 2, gamma 0.5. Differences 0.75, 0.5, 1, 3, -1: 1 - 2 * (d - 0.5) = 0.5, 1, 0, -4 -> 0, 4.
    loss = simpo_hinge_loss(t(-1, -1, -1, -1, -3), t(-1.75, -1.5, -2, -4, -2), beta=2, gamma=0.5)
    assert loss.tolist() == [0.5, 1, 0, 0, 4]


def test_dpo_computed_by_hand() -> None:
    # Log-ratios 5 and -5 nats, beta 0.1: z = 0.1 * 10 = 1, so 0.3132617 as above; swapped z = -1: 1.3132617.
    loss = dpo_loss(t(5, -5), t(-5, 5), beta=0.1, label_smoothing=0)
    torch.testing.assert_close(loss, t(0.3132617, 1.3132617), atol=5e-8, rtol=0)


def test_ipo_computed_by_hand() -> None:
    # beta 0.25: target 1 / 0.5 = 2. Differences 2, 0, -1, 5: 0, 4, 9, 9.
    assert ipo_loss(t(1, 0, 0, 3), t(-1, 0, 1, -2), beta=0.25).tolist() == [0, 4, 9, 9]


def test_orpo_computed_by_hand() -> None:
    # p_w = 0.8, p_l = 0.5: odds 4 and 1, ratio 4, sigmoid(log 4) = 4 / 5, -0.5 * log 0.8 = 0.5 * 0.2231436 = 0.1115718.
    loss = orpo_loss(t(math.log(0.8)), t(math.log(0.5)), odds_weight=0.5)
    torch.testing.assert_close(loss, t(0.1115718), atol=5e-8, rtol=0)


def test_cpo_computed_by_hand() -> None:
    # Totals -10 and -20, beta 0.1: z = 1: 0.3132617.
    loss = cpo_loss(t(-10), t(-20), beta=0.1, label_smoothing=0)
    torch.testing.assert_close(loss, t(0.3132617), atol=5e-8, rtol=0)


def test_simper_computed_by_hand() -> None:
    # p_w = 0.8, p_l = 0.5: 0.5 - 0.8 = -0.3.
    torch.testing.assert_close(simper_loss(t(math.log(0.8)), t(math.log(0.5))), t(-0.3))


def test_repo_computed_by_hand() -> None:
    # gamma 0.5, differences 0.25, 0.5, 2, -1: 0.25, 0, 0, 1.5.
    assert repo_loss(t(-1, -1, -1, -2), t(-1.25, -1.5, -3, -1), gamma=0.5).tolist() == [0.25, 0, 0, 1.5]


def test_alphapo_computed_by_hand() -> None:
    # alpha 1, p_w = 1/2, p_l = 1/4: r = 1 - 1/p = -1 and -3. beta 0.5, gamma 1: z = 0.5 * (-1 + 3 - 1) = 0.5.
    # log(1 + e^-0.5) = log(1.6065307) = 0.4740770.
    loss = alphapo_loss(t(-math.log(2)), t(-math.log(4)), beta=0.5, gamma=1, alpha=1)
    torch.testing.assert_close(loss, t(0.4740770), atol=5e-8, rtol=0)
    # alpha -1 is the linear reward p - 1: -1/2 and -3/4.
    torch.testing.assert_close(alphapo_reward(t(-math.log(2), -math.log(4)), -1), t(-0.5, -0.75))


@pytest.mark.parametrize(
    ("loss", "at_margin"),
    [
        (simpo_loss(t(-1), t(-1.5), beta=10, gamma=0.5, label_smoothing=0.2), math.log(2)),
        (simpo_hinge_loss(t(-1), t(-1.5), beta=10, gamma=0.5), 1.0),
        (dpo_loss(t(3), t(3), beta=10, label_smoothing=0.2), math.log(2)),
        (ipo_loss(t(3), t(3), beta=0.5), 1.0),
        (orpo_loss(t(-1), t(-1), odds_weight=0.1), 0.1 * math.log(2)),
        (cpo_loss(t(-30), t(-30), beta=10, label_smoothing=0.2), math.log(2)),
        (simper_loss(t(-1), t(-1)), 0.0),
        (repo_loss(t(-1), t(-1), gamma=0.5), 0.5),
        (alphapo_loss(t(0), t(-math.log(2)), beta=10, gamma=1, alpha=1), math.log(2)),
    ],
)
def test_each_loss_has_its_documented_value_at_the_margin(loss: Tensor, at_margin: float) -> None:
    assert loss.item() == pytest.approx(at_margin, abs=1e-12)


# Against the oracle.

scores = st.floats(-20, -(2.0**-16), width=32)


@every_loss
@given(pairs=st.lists(st.tuples(scores, scores), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_every_loss_equals_the_oracle_in_float64(name: str, pairs: list[tuple[float, float]]) -> None:
    _, truth, parameters = LOSSES[name]
    expected = t(*(truth(oracle.one_token(*pair), **parameters) for pair in pairs))
    losses = of(name, t(*(pair[0] for pair in pairs)), t(*(pair[1] for pair in pairs)))
    torch.testing.assert_close(losses, expected, rtol=1e-11, atol=1e-11)


@every_loss
@given(chosen=scores, rejected=scores)
@settings(max_examples=40, deadline=None)
def test_float32_scores_give_float32_losses_within_rounding(
    name: str, chosen: float, rejected: float
) -> None:
    _, truth, parameters = LOSSES[name]
    single = of(name, t(chosen, dtype=torch.float32), t(rejected, dtype=torch.float32))
    assert single.dtype == torch.float32
    # Budget: 8 roundings of the largest number on the way (AlphaPO: e^(20 / 4) shaped; IPO: a square).
    largest = {"alphapo": 400.0, "ipo": 25.0 * 25.0}.get(name, 2.5 * 20.0)
    assert single.item() == pytest.approx(
        truth(oracle.one_token(chosen, rejected), **parameters), abs=8 * 2.0**-24 * largest
    )


@given(
    chosen=scores,
    rejected=scores,
    beta=st.floats(0.01, 50),
    gamma=st.floats(0, 5),
    smoothing=st.floats(0, 0.499),
)
@settings(max_examples=100, deadline=None)
def test_simpo_equals_the_oracle_for_any_parameters(
    chosen: float, rejected: float, beta: float, gamma: float, smoothing: float
) -> None:
    loss = simpo_loss(t(chosen), t(rejected), beta=beta, gamma=gamma, label_smoothing=smoothing)
    expected = oracle.simpo(oracle.one_token(chosen, rejected), beta, gamma, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-11, abs=1e-11)


# Gradients.


@every_loss
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    chosen, rejected = random_scores(8)
    torch.autograd.gradcheck(
        lambda c, r: of(name, c, r), (chosen.requires_grad_(), rejected.requires_grad_())
    )


@every_loss
def test_descent_raises_chosen_and_lowers_rejected(name: str) -> None:
    chosen, rejected = random_scores(64)  # differences up to 4, below IPO's target of 2.5 only if cut
    if name == "ipo":
        rejected = torch.maximum(rejected, chosen - 2)
    chosen, rejected = chosen.detach().requires_grad_(), rejected.detach().requires_grad_()
    parameters = {**LOSSES[name][2]}
    if "label_smoothing" in parameters:
        parameters["label_smoothing"] = 0.0  # smoothing turns back where the model is surer than 1 - e
    torch.autograd.backward(LOSSES[name][0](chosen, rejected, **parameters).sum())
    assert chosen.grad is not None and rejected.grad is not None
    assert (chosen.grad <= 0).all() and (rejected.grad >= 0).all()
    assert (chosen.grad < 0).any()


@pytest.mark.parametrize("name", ["simpo_hinge", "repo"])
def test_a_pair_past_the_flat_point_has_no_loss_and_no_gradient(name: str) -> None:
    chosen, rejected = t(-0.5).requires_grad_(), t(-3).requires_grad_()
    loss = of(name, chosen, rejected)
    torch.autograd.backward(loss.sum())
    assert loss.item() == 0
    assert chosen.grad is not None and chosen.grad.item() == 0
    assert rejected.grad is not None and rejected.grad.item() == 0


# Invariances.


@every_loss
def test_losses_are_per_pair_and_do_not_see_the_rest_of_the_batch(name: str) -> None:
    chosen, rejected = random_scores(16)
    whole = of(name, chosen, rejected)
    assert whole.shape == (16,)
    split = torch.cat([of(name, chosen[i : i + 4], rejected[i : i + 4]) for i in range(0, 16, 4)])
    order = torch.randperm(16)
    torch.testing.assert_close(split, whole, rtol=0, atol=0)
    torch.testing.assert_close(of(name, chosen[order], rejected[order]), whole[order], rtol=0, atol=0)
    assert of(name, chosen[:0], rejected[:0]).shape == (0,)


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
def test_a_constant_added_to_both_scores_changes_nothing(name: str) -> None:
    chosen, rejected = random_scores(16)
    torch.testing.assert_close(of(name, chosen - 3, rejected - 3), of(name, chosen, rejected))


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - set(SHIFT_INVARIANT)))
def test_the_shaped_losses_see_the_level_of_the_scores(name: str) -> None:
    chosen, rejected = random_scores(16)
    assert not torch.allclose(of(name, chosen - 3, rejected - 3), of(name, chosen, rejected))


def test_swapping_a_pair_swaps_the_sign_of_its_logit() -> None:
    chosen, rejected = random_scores(16)
    # -log sigmoid(z) + log sigmoid(-z) = -z
    there = simpo_loss(chosen, rejected, beta=2, gamma=0, label_smoothing=0)
    back = simpo_loss(rejected, chosen, beta=2, gamma=0, label_smoothing=0)
    torch.testing.assert_close(there - back, -2 * (chosen - rejected))
    torch.testing.assert_close(simper_loss(chosen, rejected), -simper_loss(rejected, chosen))
    # Of a pair and its swap, the hinge at 0 counts only the wrong one.
    both = repo_loss(chosen, rejected, gamma=0) + repo_loss(rejected, chosen, gamma=0)
    torch.testing.assert_close(both, (chosen - rejected).abs())
    # log odds(p) - log odds(q) changes sign under the swap, so the same identity holds through the odds.
    odds = orpo_loss(chosen, rejected, odds_weight=1) - orpo_loss(rejected, chosen, odds_weight=1)
    torch.testing.assert_close(odds, log_odds(rejected) - log_odds(chosen))


@pytest.mark.parametrize("name", ["simpo", "dpo", "cpo"])
def test_smoothing_mixes_the_loss_with_the_flipped_label(name: str) -> None:
    chosen, rejected = random_scores(16)
    loss, _, parameters = LOSSES[name]
    parameters = {**parameters, **({"gamma": 0.0} if "gamma" in parameters else {})}
    plain, flipped = (
        loss(*pair, **{**parameters, "label_smoothing": 0.0})
        for pair in ((chosen, rejected), (rejected, chosen))
    )
    smoothed = loss(chosen, rejected, **{**parameters, "label_smoothing": 0.2})
    torch.testing.assert_close(smoothed, 0.8 * plain + 0.2 * flipped)


# Relations between the methods.


def test_alphapo_tends_to_simpo_as_alpha_tends_to_zero() -> None:
    chosen, rejected = random_scores(64)
    simpo = simpo_loss(chosen, rejected, beta=2, gamma=0.5, label_smoothing=0)
    torch.testing.assert_close(
        alphapo_loss(chosen, rejected, beta=2, gamma=0.5, alpha=0), simpo, rtol=0, atol=0
    )
    # r(a) = a - alpha a^2 / 2 + ..., |a| <= 4, and the loss changes at most beta a unit of r: alpha * 2 * 16 / 2 * 2.
    for alpha in (1e-2, 1e-4, 1e-8, -1e-4):
        distance = (alphapo_loss(chosen, rejected, beta=2, gamma=0.5, alpha=alpha) - simpo).abs().max().item()
        assert distance <= 40 * abs(alpha)


def test_a_small_alpha_does_not_cancel_in_float32() -> None:
    # 1 - e^(1e-6) in float32 would be off by 6 %: e^(1e-6) is one rounding away from 1.
    scores = t(-1, -3, dtype=torch.float32)
    torch.testing.assert_close(alphapo_reward(scores, 1e-6), scores, rtol=2e-6, atol=0)


def test_repo_is_simpo_over_beta_as_beta_grows() -> None:
    chosen, rejected = random_scores(64)
    repo = repo_loss(chosen, rejected, gamma=0.5)
    for beta in (10.0, 1e3, 1e5):
        scaled = simpo_loss(chosen, rejected, beta=beta, gamma=0.5, label_smoothing=0) / beta
        assert (scaled - repo).abs().max().item() <= math.log(2) / beta + 1e-12  # softplus - relu <= log 2


def test_cpo_is_dpo_with_a_uniform_reference_and_simpo_without_a_margin_is_dpo_on_means() -> None:
    chosen, rejected = random_scores(16)
    dpo = dpo_loss(chosen + 7, rejected + 7, beta=0.3, label_smoothing=0.1)
    torch.testing.assert_close(cpo_loss(chosen, rejected, beta=0.3, label_smoothing=0.1), dpo)
    torch.testing.assert_close(simpo_loss(chosen, rejected, beta=0.3, gamma=0, label_smoothing=0.1), dpo)


# Extremes.


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "alphapo"])
@pytest.mark.parametrize("chosen", [0.0, -1e-30, -1e-8, -1.0, -1e4])
@pytest.mark.parametrize("rejected", [0.0, -1e-30, -1e-8, -1.0, -1e4])
def test_float32_extremes_give_finite_losses_and_gradients(name: str, chosen: float, rejected: float) -> None:
    first = t(chosen, dtype=torch.float32).requires_grad_()
    second = t(rejected, dtype=torch.float32).requires_grad_()
    loss = of(name, first, second)
    torch.autograd.backward(loss.sum())
    assert first.grad is not None and second.grad is not None
    assert torch.isfinite(torch.cat([loss.detach(), first.grad, second.grad])).all()


def test_simpo_far_off_is_linear_and_not_infinite() -> None:
    # z = 2 * (-1e4 - 0 - 0.5) = -20001: -log sigmoid(z) = 20001, gradient -beta.
    chosen = t(-1e4, dtype=torch.float32).requires_grad_()
    loss = simpo_loss(chosen, t(0, dtype=torch.float32), beta=2, gamma=0.5, label_smoothing=0)
    torch.autograd.backward(loss.sum())
    assert (loss.item(), chosen.grad) == (20001.0, t(-2, dtype=torch.float32))


def test_log_odds_keep_their_precision_at_both_ends() -> None:
    # p = e^-1e-6: 1 - p = 1e-6 (1 - 5e-7), log odds = -1e-6 - log(1e-6) + 5e-7 = 13.8155106 - 5e-7.
    # p = e^-100: 1 - p is 1 to 43 digits, log odds = -100. p = 1/2: odds 1, log 0.
    odds = log_odds(t(-1e-6, -100, -math.log(2), dtype=torch.float32))
    torch.testing.assert_close(odds, t(13.8155101, -100, 0, dtype=torch.float32), rtol=2e-7, atol=1e-7)


def test_log_odds_stop_where_a_score_is_rounding() -> None:
    at_one = t(0.0, -1e-9, 1e-7, dtype=torch.float32).requires_grad_()
    odds = log_odds(at_one)
    torch.autograd.backward(odds.sum())
    # log((1 - eps) / eps), eps = 2^-23: 23 log 2 = 15.9423852.
    torch.testing.assert_close(odds.detach(), torch.full((3,), 15.942385))
    assert at_one.grad is not None and at_one.grad.tolist() == [0, 0, 0]


def test_alphapo_reward_falls_like_an_exponential_and_overflow_is_not_hidden() -> None:
    alpha, near = 0.25, -320.0  # alpha * |a| = 80: e^80 / 0.25 = 2.2e35, float32 holds up to 3.4e38
    chosen = t(near, dtype=torch.float32).requires_grad_()
    loss = alphapo_loss(chosen, t(-1, dtype=torch.float32), beta=2.5, gamma=0.1, alpha=alpha)
    torch.autograd.backward(loss.sum())
    assert chosen.grad is not None and torch.isfinite(loss).all() and torch.isfinite(chosen.grad).all()
    for first, second in ((-1e4, -1.0), (-1.0, -1e4), (-1e4, -1e4)):
        pair = (
            t(first, dtype=torch.float32).requires_grad_(),
            t(second, dtype=torch.float32).requires_grad_(),
        )
        loss = alphapo_loss(*pair, beta=2.5, gamma=0.1, alpha=alpha)
        torch.autograd.backward(loss.sum())
        seen = torch.cat([loss.detach(), *(score.grad for score in pair if score.grad is not None)])
        assert not torch.isfinite(seen).all()  # so the step is refused


@every_loss
def test_a_score_that_is_not_a_number_gives_a_loss_that_is_not(name: str) -> None:
    assert of(name, t(math.nan), t(-1.0)).isnan().all()
    assert of(name, t(-1.0), t(math.nan)).isnan().all()


@every_loss
def test_scores_are_positional_and_parameters_are_named(name: str) -> None:
    kinds = [parameter.kind for parameter in inspect.signature(LOSSES[name][0]).parameters.values()]
    assert kinds[:2] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    assert all(kind == inspect.Parameter.KEYWORD_ONLY for kind in kinds[2:])
