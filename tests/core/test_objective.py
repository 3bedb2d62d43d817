"""Every method of the table from token log-probabilities to losses, rewards and denominators."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.core.logps import SequenceLogps, concatenate
from simpo.core.methods import METHODS
from simpo.core.objective import Objective
from tests.oracles import losses as oracle

PAIRWISE = [name for name, method in METHODS.items() if method.pairwise]
WITH_REFERENCE = ["dpo", "dpo_norm", "ipo"]
every_method = pytest.mark.parametrize("name", PAIRWISE)


def sequence_logps(completions: list[list[float]]) -> SequenceLogps:
    totals = torch.tensor([math.fsum(tokens) for tokens in completions], dtype=torch.float64)
    return SequenceLogps(totals, torch.tensor([len(tokens) for tokens in completions]))


def policy_and_reference(
    name: str, pairs: list[oracle.TokenPair]
) -> tuple[SequenceLogps, SequenceLogps | None]:
    policy = sequence_logps([tokens for pair in pairs for tokens in (pair.chosen, pair.rejected)])
    if not METHODS[name].reference:
        return policy, None
    return policy, sequence_logps(
        [tokens for pair in pairs for tokens in (pair.reference_chosen, pair.reference_rejected)]
    )


def random_pairs(count: int) -> list[oracle.TokenPair]:
    def tokens(length: int) -> list[float]:
        return (-torch.rand(length, dtype=torch.float64) * 3 - 0.01).tolist()

    lengths = torch.randint(1, 9, (count, 2)).tolist()
    return [oracle.TokenPair(tokens(c), tokens(r), tokens(c), tokens(r)) for c, r in lengths]


@st.composite
def token_pairs(draw: st.DrawFn) -> oracle.TokenPair:
    token = st.floats(-6, -(2.0**-10))
    lengths = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))

    def tokens(length: int) -> list[float]:
        return draw(st.lists(token, min_size=length, max_size=length))

    return oracle.TokenPair(*(tokens(length) for length in lengths), *(tokens(length) for length in lengths))


# Losses.


@every_method
@given(pairs=st.lists(token_pairs(), min_size=1, max_size=4), weight=st.sampled_from([None, 0.0, 0.3]))
@settings(max_examples=30, deadline=None)
def test_pair_losses_equal_the_oracle_from_the_tokens_up(
    name: str, pairs: list[oracle.TokenPair], weight: float | None
) -> None:
    objective = Objective.of(name, sft_weight=weight)
    policy, reference = policy_and_reference(name, pairs)
    expected = [
        oracle.PREFERENCE_LOSSES[name](pair, **METHODS[name].defaults)
        + (METHODS[name].sft_weight if weight is None else weight) * oracle.sft_term(pair)
        for pair in pairs
    ]
    found = objective.losses(policy, reference)
    assert found.shape == (len(pairs),)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


# The chosen answer is long and likely per token, the rejected one short and less likely per token:
# 10 tokens of -1 (total -10, mean -1) against 2 tokens of -2 (total -4, mean -2). Means prefer the chosen one by 1,
# totals the rejected one by 6: a sum passed where a mean belongs misses every one of these values.
LENGTH_TRAP = oracle.TokenPair([-1.0] * 10, [-2.0] * 2, [-1.5] * 10, [-1.5] * 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # beta 2, gamma 0.5: z = 2 * (-1 + 2 - 0.5) = 1.
        ("simpo", math.log1p(math.exp(-1))),
        ("simpo_hinge", 0.0),  # max(0, 1 - 1)
        # Ratios: chosen 10 * 0.5 = 5, rejected 2 * -0.5 = -1: beta 0.1, z = 0.6.
        ("dpo", math.log1p(math.exp(-0.6))),
        # Mean ratios 0.5 and -0.5: beta 5, z = 5.
        ("dpo_norm", math.log1p(math.exp(-5))),
        ("ipo", 16.0),  # beta 0.1: (1 - 5)^2
        # Totals -10 and -4: beta 0.1, z = -0.6; plus the SFT term, 1.
        ("cpo", math.log1p(math.exp(0.6)) + 1),
        ("simper", math.exp(-2) - math.exp(-1)),
        ("repo", 0.0),  # max(0, 0.5 - 1)
        # Odds e^-1 / (1 - e^-1) = 1 / (e - 1) and 1 / (e^2 - 1): ratio e + 1; 0.1 * log(1 + 1 / (e + 1)) + 1.
        ("orpo", 0.1 * math.log1p(1 / (math.e + 1)) + 1),
        # alpha 0.25: r = 4 * (1 - e^(|a| / 4)); beta 2.5, gamma 0.1: z = 2.5 * (4 * (e^0.5 - e^0.25) - 0.1).
        ("alphapo", math.log1p(math.exp(-2.5 * (4 * (math.exp(0.5) - math.exp(0.25)) - 0.1)))),
    ],
)
def test_sums_and_means_are_not_confused(name: str, expected: float) -> None:
    policy, reference = policy_and_reference(name, [LENGTH_TRAP])
    assert Objective.of(name).losses(policy, reference).item() == pytest.approx(expected, abs=1e-12)


@every_method
def test_pair_losses_are_not_reduced_and_pairs_do_not_mix(name: str) -> None:
    pairs = random_pairs(6)
    whole = Objective.of(name).pair_losses(*policy_and_reference(name, pairs))
    each = [Objective.of(name).pair_losses(*policy_and_reference(name, [pair])) for pair in pairs]
    torch.testing.assert_close(whole, torch.cat(each), rtol=0, atol=0)


@every_method
def test_the_gradient_of_a_batch_does_not_depend_on_how_it_is_cut(name: str) -> None:
    pairs = random_pairs(8)
    objective = Objective.of(name)
    policy, reference = policy_and_reference(name, pairs)
    gradients = []
    for size in (1, 2, 8):
        totals = policy.total.clone().requires_grad_()
        for start in range(0, 16, 2 * size):
            at = slice(start, start + 2 * size)
            part = SequenceLogps(totals[at], policy.tokens[at])
            losses = objective.losses(part, None if reference is None else reference[at])
            torch.autograd.backward(losses.sum() / objective.denominator(8, int(policy.tokens.sum())))
        assert totals.grad is not None
        gradients.append(totals.grad)
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-12, atol=0)


@every_method
def test_float32_log_probabilities_give_float32_losses(name: str) -> None:
    policy, reference = policy_and_reference(name, random_pairs(4))
    single = [
        None if logps is None else SequenceLogps(logps.total.float(), logps.tokens)
        for logps in (policy, reference)
    ]
    assert single[0] is not None
    losses = Objective.of(name).losses(single[0], single[1])
    assert losses.dtype == torch.float32
    torch.testing.assert_close(
        losses.double(), Objective.of(name).losses(policy, reference), rtol=1e-5, atol=1e-5
    )


def test_the_first_step_of_dpo_costs_log_2_a_pair_whatever_the_model_says() -> None:
    policy, _ = policy_and_reference("dpo", random_pairs(5))
    for name in ("dpo", "dpo_norm"):
        losses = Objective.of(name).losses(policy, policy)
        torch.testing.assert_close(losses, torch.full((5,), math.log(2), dtype=torch.float64))


def test_an_sft_term_weighs_each_pair_alike_whatever_its_length() -> None:
    policy, _ = policy_and_reference("simpo", [LENGTH_TRAP])
    with_term = Objective.of("simpo", sft_weight=0.5).losses(policy)
    assert (with_term - Objective.of("simpo").losses(policy)).item() == pytest.approx(0.5 * 1.0)


# SFT.


def test_sft_minimises_nats_per_token_of_the_whole_batch() -> None:
    # Totals -10 over 10 tokens and -4 over 2: 14 nats over 12 tokens, whatever the cut.
    policy = sequence_logps([LENGTH_TRAP.chosen, LENGTH_TRAP.rejected])
    objective = Objective.of("sft")
    losses = objective.losses(policy)
    assert losses.tolist() == [10, 4]
    assert losses.sum().item() / objective.denominator(2, 12) == pytest.approx(14 / 12)


def test_sft_takes_an_odd_number_of_completions_and_no_reference() -> None:
    policy = sequence_logps([[-1.0], [-2.0], [-3.0]])
    assert Objective.of("sft").losses(policy).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="sft takes no reference"):
        Objective.of("sft").losses(policy, policy)


def test_sft_has_no_loss_over_pairs() -> None:
    with pytest.raises(ValueError, match="sft has no loss over pairs"):
        Objective.of("sft").pair_losses(sequence_logps([[-1.0], [-2.0]]))


# Scores and rewards.


@every_method
def test_rewards_equal_the_oracle(name: str) -> None:
    pairs = random_pairs(6)
    method = METHODS[name]
    kind = f"{method.score} ratio" if method.reference else method.score
    beta = method.defaults.get("beta", 1.0)
    expected = [reward for pair in pairs for reward in oracle.REWARDS[kind](pair, beta)]
    found = Objective.of(name).rewards(*policy_and_reference(name, pairs))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted({*PAIRWISE} - {"ipo"}))  # past IPO's target, more reward is more loss
def test_the_reward_ranks_a_pair_as_its_loss_does(name: str) -> None:
    objective = Objective.of(name, sft_weight=0.0)
    for pair in random_pairs(40):
        swapped = oracle.TokenPair(pair.rejected, pair.chosen, pair.reference_rejected, pair.reference_chosen)
        rewards = objective.rewards(*policy_and_reference(name, [pair]))
        there = objective.losses(*policy_and_reference(name, [pair])).item()
        back = objective.losses(*policy_and_reference(name, [swapped])).item()
        assert (there <= back) == (rewards[0] >= rewards[1]).item()


@pytest.mark.parametrize("name", METHODS)
def test_a_reference_is_required_or_refused_as_the_table_says(name: str) -> None:
    policy = sequence_logps([[-1.0], [-2.0]])
    wrong = None if METHODS[name].reference else policy
    takes = "a" if METHODS[name].reference else "no"
    for use in (Objective.of(name).scores, Objective.of(name).rewards, Objective.of(name).losses):
        with pytest.raises(ValueError, match=f"{name} takes {takes} reference"):
            use(policy, wrong)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_a_reference_of_another_length_is_refused_and_not_broadcast(name: str) -> None:
    policy = sequence_logps([[-1.0], [-2.0]])
    with pytest.raises(ValueError, match="1 reference log-probabilities for 2 completions"):
        Objective.of(name).losses(policy, policy[:1])


@every_method
@pytest.mark.parametrize("count", [1, 3])
def test_completions_that_do_not_make_pairs_are_refused(name: str, count: int) -> None:
    policy = sequence_logps([[-1.0]] * count)
    with pytest.raises(ValueError, match=f"{count} completions do not make pairs"):
        Objective.of(name).losses(policy, policy if METHODS[name].reference else None)


# What an objective is made of.


def test_what_is_not_given_takes_the_default_of_the_table() -> None:
    objective = Objective.of("simpo", {"beta": 10.0})
    assert objective.parameters == {"beta": 10.0, "gamma": 0.5, "label_smoothing": 0.0}
    assert objective.sft_weight == 0.0
    assert Objective.of("cpo").sft_weight == 1.0
    assert Objective.of("cpo", sft_weight=0.0).sft_weight == 0.0


@pytest.mark.parametrize(
    ("name", "parameters"), [("simpo", {"gama": 0.3}), ("simper", {"beta": 2.0}), ("sft", {"beta": 2.0})]
)
def test_a_parameter_that_the_method_does_not_take_is_refused(
    name: str, parameters: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=f"{name} takes"):
        Objective.of(name, parameters)


def test_an_unknown_method_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Objective.of("simpoo")


@pytest.mark.parametrize("name", METHODS)
def test_the_denominator_counts_pairs_and_for_sft_tokens(name: str) -> None:
    assert Objective.of(name).denominator(7, 300) == (300 if name == "sft" else 7)


def test_one_batch_is_the_sum_of_its_parts() -> None:
    pairs = random_pairs(4)
    parts = [policy_and_reference("simpo", [pair])[0] for pair in pairs]
    whole = Objective.of("simpo").losses(concatenate(parts)).sum()
    torch.testing.assert_close(
        whole, torch.stack([Objective.of("simpo").losses(part).sum() for part in parts]).sum()
    )
