"""Length-controlled win rates: the fit against scipy, what must hold for any, and AlpacaEval's published numbers."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from simpo.core.intervals import Floats, share_interval
from simpo.core.length_control import (
    fit_logistic,
    length_controlled_rate,
    length_feature,
    prompt_difficulty,
)

# Win rate and length-controlled win rate in percent, over 805 prompts: AlpacaEval's leaderboard
# (github.com/tatsu-lab/alpaca_eval, weighted_alpaca_eval_gpt4_turbo_leaderboard.csv at commit 01f3cb2).
PUBLISHED = {
    "OpenHermes-2.5-Mistral-7B": (10.34, 16.25),
    "Qwen-14B-Chat": (7.50, 12.38),
    "Mixtral-8x7B-Instruct-v0.1_concise": (13.74, 22.96),
    "alpaca-7b": (2.59, 5.88),
    "alpaca-7b_concise": (1.99, 4.47),
    "alpaca-7b_verbose": (2.93, 6.82),
    "alpaca-farm-ppo-human": (4.10, 6.42),
    "alpaca-farm-ppo-sim-gpt4-20k": (3.45, 7.12),
    "baize-v2-13b": (4.59, 7.01),
    "chatglm2-6b": (2.76, 4.36),
    "claude": (16.99, 27.29),
    "claude-2": (17.19, 28.16),
    "claude-2.1": (15.73, 25.25),
    "claude-2.1_concise": (9.23, 18.21),
    "claude-instant-1.2": (16.13, 25.61),
    "falcon-40b-instruct": (3.34, 5.61),
    "falcon-7b-instruct": (2.15, 4.04),
    "gemma-2b-it": (3.40, 5.44),
    "gemma-7b-it": (6.94, 10.43),
    "gpt-3.5-turbo-0301": (9.62, 18.09),
    "gpt-3.5-turbo-1106": (9.18, 19.30),
    "gpt-3.5-turbo-1106_concise": (7.42, 15.77),
    "gpt-3.5-turbo-1106_verbose": (12.76, 22.00),
    "gpt35_turbo_instruct": (8.46, 17.73),
    "gpt4_0613_concise": (9.40, 21.58),
    "humpback-llama2-70b": (10.12, 16.25),
    "jina-chat": (7.79, 15.87),
    "minichat-3b": (3.01, 5.73),
    "minotaur-13b": (5.74, 11.47),
    "nous-hermes-13b": (5.41, 9.72),
    "oasst-rlhf-llama-33b": (6.30, 7.97),
    "oasst-sft-llama-33b": (4.77, 9.87),
    "oasst-sft-pythia-12b": (1.79, 3.27),
    "openbuddy-falcon-40b-v9": (5.96, 8.99),
    "openbuddy-llama-30b-v7.1": (6.13, 10.21),
    "openbuddy-llama2-13b-v11.1": (6.17, 9.16),
    "openbuddy-llama2-70b-v10.1": (8.10, 12.57),
    "phi-2": (2.35, 4.40),
    "phi-2-sft": (3.98, 5.85),
    "pythia-12b-mix-sft": (2.58, 4.22),
    "text_davinci_001": (2.76, 9.03),
    "ultralm-13b": (5.07, 7.11),
    "vicuna-13b": (5.83, 9.22),
    "vicuna-13b-v1.5": (6.72, 10.48),
    "vicuna-13b-v1.5-togetherai": (6.96, 11.69),
    "vicuna-7b": (4.16, 6.28),
    "vicuna-7b-v1.3": (4.64, 7.16),
    "vicuna-7b-v1.5": (4.80, 7.62),
    "wizardlm-13b": (5.88, 9.83),
}


def drawn(theta: float, phi: float, shift: float, n: int = 4000) -> tuple[Floats, Floats, Floats]:
    """Outcomes and lengths under the model itself."""
    rng = np.random.default_rng(0)
    delta = rng.normal(shift, 300.0, n)
    logits = theta + phi * length_feature(delta)
    return (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(float), 2000 + delta, np.full(n, 2000.0)


def test_the_fit_minimises_the_penalised_cross_entropy() -> None:
    rng = np.random.default_rng(1)
    x, y, w = rng.normal(size=(60, 3)), rng.random(60), rng.integers(0, 4, 60).astype(float)

    def cost(b: Floats) -> float:
        z = x @ b
        return float((w * (np.logaddexp(0, z) - y * z)).sum() + 0.005 * (b @ b))

    expected = optimize.minimize(cost, np.zeros(3), tol=1e-12).x
    found = fit_logistic(x, y, w[None])
    assert found[0] == pytest.approx(expected, abs=1e-5)


def test_a_model_that_wins_by_length_alone_has_half_at_equal_lengths() -> None:
    wins, lengths, other = drawn(0.0, 2.0, 300.0)
    found = length_controlled_rate(wins, lengths, other, range(len(wins)), num_resamples=200)
    assert wins.mean() > 0.7
    assert found.rate.low < 0.5 < found.rate.high
    assert found.length_effect == pytest.approx(2.0, abs=0.4)


def test_without_an_effect_of_length_the_rate_is_the_raw_one() -> None:
    wins, lengths, other = drawn(0.8, 0.0, 300.0)
    found = length_controlled_rate(wins, lengths, other, range(len(wins)), num_resamples=50)
    assert found.rate.value == pytest.approx(wins.mean(), abs=0.02)


def test_two_models_share_one_win_between_them() -> None:
    wins, lengths, other = drawn(0.4, 1.0, 150.0, n=80)
    clusters = [at // 2 for at in range(80)]
    one = length_controlled_rate(wins, lengths, other, clusters)
    back = length_controlled_rate(1 - wins, other, lengths, clusters)
    assert one.rate.value + back.rate.value == pytest.approx(1.0, abs=1e-9)
    assert one.rate.low + back.rate.high == pytest.approx(1.0, abs=1e-6)
    assert one.longer + back.longer == 1.0


def test_winning_whenever_longer_stays_finite() -> None:
    delta = np.linspace(-500, 500, 40)
    found = length_controlled_rate((delta > 0).astype(float), 1000 + delta, np.full(40, 1000.0), range(40))
    assert found.rate.value == pytest.approx(0.5, abs=1e-6)
    assert 0 <= found.rate.low < 0.5 < found.rate.high <= 1


def test_where_all_outcomes_are_equal_there_is_nothing_to_fit() -> None:
    found = length_controlled_rate([1.0] * 24, range(24), [5.0] * 24, range(24))
    assert found.rate == share_interval([1.0] * 24, range(24))


def test_replies_that_are_nearly_always_longer_are_told() -> None:
    wins, lengths, other = drawn(0.0, 1.0, 900.0, n=200)
    assert length_controlled_rate(wins, lengths, other, range(200), num_resamples=20).extrapolated
    assert not length_controlled_rate(*drawn(0, 1, 100, n=200), range(200), num_resamples=20).extrapolated


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one"):
        length_controlled_rate([1.0], [1.0, 2.0], [1.0], "a")
    with pytest.raises(ValueError, match="outcomes"):
        length_controlled_rate([1.0], [1.0, 2.0], [1.0, 2.0], "ab")


@pytest.fixture(scope="module")
def judgements(test_data: Path) -> dict[str, list[dict[str, Any]]]:
    """Half of AlpacaEval's prompts, judged by its own annotator, by model."""
    found = defaultdict(list)
    with gzip.open(test_data / "judgments_alpacaeval_matrix.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["judge"] == "weighted_alpaca_eval_gpt4_turbo":
                found[row["model"]].append(row)
    return dict(found)


def columns(rows: list[dict[str, Any]]) -> tuple[list[float], list[float], list[float], list[str]]:
    """Outcomes, lengths, the baseline's lengths, prompts."""
    return (
        [row["score"] for row in rows],
        [row["len_model"] for row in rows],
        [row["len_baseline"] for row in rows],
        [row["group"] for row in rows],
    )


def test_raw_win_rates_are_alpacaevals_up_to_the_prompts_that_are_missing(
    judgements: dict[str, list[dict[str, Any]]],
) -> None:
    """398 of the 805 prompts: deviations of the size that drawing half of them gives, and no bias."""
    scores = []
    for model, (published, _) in PUBLISHED.items():
        outcomes = 100 * np.array(columns(judgements[model])[0])
        error = outcomes.std(ddof=1) / np.sqrt(len(outcomes)) * np.sqrt(1 - len(outcomes) / 805)
        scores.append((outcomes.mean() - published) / error)
    assert np.sqrt(np.mean(np.square(scores))) < 1.5
    assert np.abs(scores).max() < 3.5


def test_with_the_prompts_difficulty_the_rates_are_alpacaevals(
    judgements: dict[str, list[dict[str, Any]]],
) -> None:
    """They deviate by 1.5 points on average, with no bias; nearly all lie within our interval."""
    names = {
        group: at for at, group in enumerate(sorted({r["group"] for v in judgements.values() for r in v}))
    }
    rows = [row for model in judgements.values() for row in model]
    features = np.concatenate(
        [length_feature(np.subtract(*columns(model)[1:3])) for model in judgements.values()]
    )
    models = np.repeat(range(len(judgements)), [len(model) for model in judgements.values()])
    prompts = np.array([names[row["group"]] for row in rows])
    difficulty = prompt_difficulty(np.array([row["score"] for row in rows]), features, models, prompts)
    deviations, held = [], 0
    for model, (_, published) in PUBLISHED.items():
        own = columns(judgements[model])
        hard = difficulty[[names[group] for group in own[3]]]
        found = length_controlled_rate(*own, difficulty=hard, num_resamples=200).rate
        deviations.append(100 * found.value - published)
        held += 100 * found.low <= published <= 100 * found.high
    assert np.abs(deviations).mean() < 1.6
    assert abs(np.mean(deviations)) < 0.5
    assert held >= len(PUBLISHED) - 3


def test_without_the_prompts_difficulty_the_order_of_models_is_alpacaevals(
    judgements: dict[str, list[dict[str, Any]]],
) -> None:
    """The two-parameter model says more where replies are nearly always shorter; the ranks agree all the same."""
    from scipy.stats import spearmanr

    found = [
        100 * length_controlled_rate(*columns(judgements[model]), num_resamples=10).rate.value
        for model in PUBLISHED
    ]
    published = [rates[1] for rates in PUBLISHED.values()]
    assert spearmanr(found, published).statistic > 0.85
    assert 0 < np.mean(np.subtract(found, published)) < 8
