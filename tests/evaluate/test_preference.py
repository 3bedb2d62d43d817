"""Accuracy on held-out pairs: a case worked by hand, properties, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.core.logps import SequenceLogps
from simpo.core.objective import Objective
from simpo.errors import DataError, RunFailed
from simpo.evaluate.preference import PreferenceFigures, evaluate_preferences
from simpo.records import Example, Message, Pair, Source, TokenGroup

logp = st.floats(-50, -0.5).map(lambda value: round(value, 1))
rows = st.lists(
    st.tuples(logp, st.integers(1, 9), logp, st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=20
)


def _group(line: int, prompt: str, chosen: str, rejected: str, category: str | None = None) -> TokenGroup:
    pair = Pair((Message("user", prompt),), chosen, rejected, Source("held-out.jsonl", line), category)
    ids = np.array([1], dtype=np.int32)
    return TokenGroup(ids, (ids, ids), pair)


def _logps(*totals_and_tokens: tuple[float, int]) -> SequenceLogps:
    totals, tokens = zip(*totals_and_tokens, strict=True)
    return SequenceLogps(torch.tensor(totals), torch.tensor(tokens))


def _evaluate(drawn: list[tuple[float, int, float, int, int]]) -> PreferenceFigures:
    groups = [_group(at, f"prompt {row[4]}", f"yes {at}", f"no {at}") for at, row in enumerate(drawn)]
    logps = _logps(*[side for row in drawn for side in (row[:2], row[2:4])])
    return evaluate_preferences(groups, logps, Objective.of("simpo"), num_resamples=50)


# Three pairs over two prompts. Totals / tokens: chosen -2/4 = -0.5, rejected -3/2 = -1.5: right by mean and by total.
# chosen -6/6 = -1, rejected -4/2 = -2: right by mean, wrong by total (longer). chosen -2/2, rejected -3/3: tie by mean.
GROUPS = [
    _group(1, "a", "yes", "nope", "billing"),
    _group(2, "a", "longer", "no", "billing"),
    _group(3, "b", "same", "size", "shipping"),
]
LOGPS = _logps((-2.0, 4), (-3.0, 2), (-6.0, 6), (-4.0, 2), (-2.0, 2), (-3.0, 3))


def test_three_pairs_by_hand() -> None:
    found = evaluate_preferences(GROUPS, LOGPS, Objective.of("simpo"))
    assert (found.num_pairs, found.num_prompts) == (3, 2)
    assert found.reward.value == pytest.approx(2.5 / 3)
    assert found.mean_logps.value == pytest.approx(2.5 / 3)
    assert found.total_logps.value == pytest.approx(2 / 3)
    assert found.chosen_logps == pytest.approx((-0.5 - 1 - 1) / 3)
    assert found.rejected_logps == pytest.approx((-1.5 - 2 - 1) / 3)
    assert found.margin == pytest.approx(2.0 * (1 + 1 + 0) / 3)  # beta 2 times the mean difference
    strata = {(part.by, part.name): (part.num_pairs, part.accuracy.value) for part in found.strata}
    assert strata[("category", "billing")] == (2, 1.0)
    assert strata[("category", "shipping")] == (1, 0.5)
    assert strata[("longer", "chosen longer")] == (1, 1.0)
    assert strata[("longer", "rejected longer")] == (1, 1.0)
    assert strata[("longer", "equal")] == (1, 0.5)


def test_a_reference_enters_the_reward_and_nothing_else() -> None:
    # DPO, beta 0.1: rewards 0.1 (total - reference total). Reference makes pair 1 wrong and pair 2 right.
    reference = _logps((-1.0, 4), (-5.0, 2), (-9.0, 6), (-4.0, 2), (-3.0, 2), (-3.0, 3))
    found = evaluate_preferences(GROUPS, LOGPS, Objective.of("dpo"), reference=reference)
    plain = evaluate_preferences(GROUPS, LOGPS, Objective.of("simpo"))
    rewards = [(pair.chosen_reward, pair.rejected_reward) for pair in found.pairs]
    assert rewards == [pytest.approx(side) for side in ((-0.1, 0.2), (0.3, 0.0), (0.1, 0.0))]
    assert found.reward.value == pytest.approx(2 / 3)
    assert (found.mean_logps, found.total_logps) == (plain.mean_logps, plain.total_logps)


def test_figures_are_written_as_json_with_the_pairs_apart() -> None:
    found = evaluate_preferences(GROUPS, LOGPS, Objective.of("simpo"))
    section = found.to_json()
    assert set(section) == {
        "num_pairs", "num_prompts", "accuracy", "strata", "chosen_logps", "rejected_logps", "margin"
    }  # fmt: skip
    assert set(section["accuracy"]) == {"reward", "mean_logps", "total_logps"}
    assert set(section["strata"][0]) == {"by", "name", "num_pairs", "accuracy"}
    assert found.pairs[1].to_json() == {
        "id": GROUPS[1].row.id,
        "prompt_id": GROUPS[1].row.prompt_id,
        "source": "held-out.jsonl:2",
        "category": "billing",
        "chosen_chars": 6,
        "rejected_chars": 2,
        "chosen_total": -6.0,
        "chosen_tokens": 6,
        "rejected_total": -4.0,
        "rejected_tokens": 2,
        "chosen_reward": -2.0,
        "rejected_reward": -4.0,
    }


@given(rows)
@settings(max_examples=30, deadline=None)
def test_swapping_chosen_and_rejected_mirrors_every_accuracy(
    drawn: list[tuple[float, int, float, int, int]],
) -> None:
    one = _evaluate(drawn)
    other = _evaluate([(*row[2:4], *row[:2], row[4]) for row in drawn])
    for name in ("reward", "mean_logps", "total_logps"):
        assert getattr(other, name).value == pytest.approx(1 - getattr(one, name).value)
    assert other.margin == pytest.approx(-one.margin)
    assert other.chosen_logps == pytest.approx(one.rejected_logps)


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_pairs_changes_no_figure(
    drawn: list[tuple[float, int, float, int, int]], random: object
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = _evaluate(drawn), _evaluate(shuffled)
    assert (one.reward, one.mean_logps, one.total_logps) == (
        other.reward,
        other.mean_logps,
        other.total_logps,
    )
    assert one.margin == pytest.approx(other.margin)


def test_log_probabilities_that_are_not_finite_name_their_pair() -> None:
    broken = SequenceLogps(torch.tensor([-1.0, -2.0, float("nan"), -1.0, -1.0, -1.0]), LOGPS.tokens)
    with pytest.raises(RunFailed, match=f"held-out.jsonl:2: the log-probability of pair {GROUPS[1].row.id}"):
        evaluate_preferences(GROUPS, broken, Objective.of("simpo"))


def test_examples_without_a_rejected_completion_are_refused() -> None:
    ids = np.array([1], dtype=np.int32)
    row = Example((Message("user", "a"),), "yes", Source("sft.jsonl", 1))
    with pytest.raises(DataError, match="no pairs to evaluate"):
        evaluate_preferences([TokenGroup(ids, (ids,), row)], _logps((-1.0, 1)), Objective.of("simpo"))


def test_log_probabilities_of_another_number_of_completions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 pairs need 6"):
        evaluate_preferences(GROUPS, LOGPS[:4], Objective.of("simpo"))
