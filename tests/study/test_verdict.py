"""The verdict: chosen by the figures, in words a manager understands, with what speaks against it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.study.compare.grounds import THRESHOLDS
from simpo.study.compare.verdict import judge_comparison

Json = dict[str, Any]


def estimate(value: float, half: float = 0.03) -> Json:
    return {"value": value, "low": value - half, "high": value + half}


def difference(first: str, second: str, value: float, half: float = 0.03, own: bool = True) -> Json:
    found = estimate(value, half)
    return {"first": first, "second": second, "own": found if own else None, "common": found}


def rate(first: str, second: str, raw: float, equal: float | None = None, half: float = 0.05) -> Json:
    controlled = {**estimate(raw if equal is None else equal, half), "extrapolated": False}
    return {
        "first": first, "second": second, "raw": estimate(raw, half), "length_controlled": controlled,
        "agreement_of_orders": None,
    }  # fmt: skip


def replies(
    chars: float = 200, stopped: float = 1.0, repetitive: float = 0.0, escalation: float = 0.1
) -> Json:
    return {
        "chars": {"median": chars}, "stopped": estimate(stopped), "repetitive": repetitive,
        "escalation": estimate(escalation), "changes": {"escalation": estimate(escalation - 0.1)},
    }  # fmt: skip


def cost(method: str, reference: str | None, source: str, seconds: float, memory: float) -> Json:
    return {
        "method": method, "reference": reference, "from": source, "seconds_per_pair": seconds,
        "seconds_per_pair_low": 0.9 * seconds, "seconds_per_pair_high": 1.1 * seconds,
        "peak_memory_bytes": memory,
    }  # fmt: skip


def comparison(seeds: int = 3) -> Json:
    """SimPO clearly ahead of DPO, both ahead of the start, nothing wrong with either."""
    runs = [{"status": "done"}] * seeds
    return {
        "methods": [
            {"id": "simpo", "label": "SimPO", "name": "simpo", "runs": runs},
            {"id": "dpo", "label": "DPO", "name": "dpo", "runs": runs},
        ],
        "data": {"num_pairs": 1000, "num_prompts": 800, "seen_in_training": 0},
        "preference": {
            "models": {
                "simpo": {"own": estimate(0.74)}, "dpo": {"own": estimate(0.61)}, "base": {"own": None},
            },
            "differences": [
                difference("simpo", "dpo", 0.13),
                difference("simpo", "base", 0.2, own=False),
                difference("dpo", "base", 0.08, own=False),
            ],
        },
        "generation": {
            "num_prompts": 400,
            "models": {"simpo": replies(), "dpo": replies(), "base": replies()},
            "win_rates": [
                rate("simpo", "base", 0.7), rate("dpo", "base", 0.6), rate("simpo", "dpo", 0.6),
            ],
        },
        "drift": {"models": {"simpo": {"chosen": estimate(0.1)}, "dpo": {"chosen": estimate(0.05)}}},
        "regression": [{"name": "gsm8k", "changes": {"simpo": estimate(0.0), "dpo": estimate(0.0)}}],
        "cost": [
            cost("simpo", None, "run", 5.0, 6e9), cost("dpo", "precomputed", "run", 1.0, 10e9),
            cost("simpo", None, "trial", 1.0, 6e9), cost("dpo", "precomputed", "trial", 1.3, 10e9),
            cost("dpo", "live", "trial", 9.0, 20e9),
        ],
    }  # fmt: skip


def test_a_method_that_is_clearly_ahead_everywhere_is_the_one_to_take() -> None:
    found = judge_comparison(comparison())
    assert (found.choice, found.strength) == ("simpo", "clear")
    assert found.headline == "Cut over to SimPO: it is better than the starting model and than DPO"
    assert found.doubts == ()
    assert "60 % (55 % to 65 %) of cases" in found.paragraph
    assert "13.0 points more of 1000 held-out pairs rightly than DPO (+10.0 to +16.0)" in found.paragraph
    assert (
        "Training SimPO took 23 % less time a pair (with the reference scored ahead) "
        "and 40 % less memory than training DPO." in found.paragraph
    )
    assert found.paragraph.endswith("Nothing in the figures speaks against it.")
    assert found.to_json()["thresholds"] == dict(THRESHOLDS)


def test_the_same_figures_named_the_other_way_round_give_the_same_choice() -> None:
    report = comparison()
    report["preference"]["models"] = {
        id_: report["preference"]["models"][id_] for id_ in ("dpo", "simpo", "base")
    }
    report["preference"]["differences"][0] = difference("dpo", "simpo", -0.13)
    report["generation"]["win_rates"][2] = rate("dpo", "simpo", 0.4)
    assert judge_comparison(report).reasons == judge_comparison(comparison()).reasons


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            ("generation", "models", "simpo", "stopped"),
            estimate(0.8),
            "Only 80 % of its replies end by themselves",
        ),
        (("generation", "models", "simpo", "chars"), {"median": 320.0}, "1.6 times as long (320 characters"),
        (
            ("generation", "models", "simpo", "repetitive"),
            0.2,
            "20 % of its replies mostly repeat themselves",
        ),
        (
            ("generation", "models", "simpo"),
            None,
            "Escalations rise from 10 % to 20 %",
        ),
        (
            ("regression", 0, "changes", "simpo"),
            estimate(-0.05, 0.02),
            "On gsm8k it lost 5.0 points (3.0 to 7.0)",
        ),
        (("drift", "models", "simpo", "chosen"), estimate(0.9), "0.90 nats per token"),
    ],
)
def test_what_got_worse_than_at_the_start_is_said_and_takes_the_certainty(
    path: tuple[Any, ...], value: Any, words: str
) -> None:
    report = comparison()
    inner: Any = report
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = replies(escalation=0.2) if value is None else value
    found = judge_comparison(report)
    assert (found.choice, found.strength) == ("simpo", "leaning")
    assert words in found.paragraph
    assert found.headline.startswith("SimPO is ahead of DPO, but read what speaks against it")


def test_a_loss_within_its_interval_is_no_loss() -> None:
    report = comparison()
    report["regression"][0]["changes"]["simpo"] = estimate(-0.05, 0.06)
    assert judge_comparison(report).doubts == ()


def test_methods_too_close_to_call_are_called_so() -> None:
    report = comparison()
    report["generation"]["win_rates"][2] = rate("simpo", "dpo", 0.52)
    found = judge_comparison(report)
    assert (found.choice, found.strength) == ("simpo", "undecided")
    assert "these figures do not decide" in found.headline


def test_where_another_figure_favours_the_other_method_it_is_said() -> None:
    report = comparison()
    report["preference"]["differences"][0] = difference("simpo", "dpo", -0.1)
    report["generation"]["win_rates"][2] = rate("simpo", "dpo", 0.6, equal=0.4)
    found = judge_comparison(report)
    assert (found.choice, found.strength) == ("simpo", "leaning")
    assert found.doubts == (
        "On 400 prompts the judge preferred DPO's reply to SimPO's in 60 % (55 % to 65 %) of cases, at equal lengths.",
        "Each by its own reward, DPO orders 10.0 points more of 1000 held-out pairs rightly than SimPO "
        "(+7.0 to +13.0).",
    )


@pytest.mark.parametrize(("raw", "strength"), [(0.52, "undecided"), (0.4, "clear")])
def test_what_is_no_better_than_the_start_is_not_taken(raw: float, strength: str) -> None:
    report = comparison()
    report["generation"]["win_rates"] = [
        rate("simpo", "base", raw), rate("dpo", "base", raw - 0.1), rate("simpo", "dpo", 0.6)
    ]  # fmt: skip
    found = judge_comparison(report)
    assert (found.choice, found.strength) == (None, strength)
    assert found.headline.startswith("Do not cut over")


def test_the_limits_of_a_small_comparison_are_said() -> None:
    report = comparison(seeds=1)
    report["data"] = {"num_pairs": 40, "num_prompts": 30, "seen_in_training": 5}
    report["generation"]["num_prompts"] = 24
    report["generation"]["win_rates"][0]["agreement_of_orders"] = 0.5
    report["generation"]["win_rates"][2]["length_controlled"]["extrapolated"] = True
    text = judge_comparison(report).paragraph
    for words in (
        "Only 1 training seed: another", "Only 40 held-out pairs", "Only 24 prompts were judged",
        "5 of the held-out prompts were trained on", "changed its mind with the order in 50 % of cases",
        "the rate at equal lengths is a guess",
    ):  # fmt: skip
        assert words in text


def test_without_a_judge_accuracy_decides_and_is_said_not_to_be_quality() -> None:
    report = comparison()
    report["generation"] = None
    found = judge_comparison(report)
    assert (found.choice, found.strength) == ("simpo", "leaning")
    assert "SimPO orders 20.0 points more of the pairs rightly than the starting model." in found.paragraph
    assert "accuracy on pairs is not quality" in found.paragraph


def test_a_method_with_a_reference_is_held_against_chance_without_a_judge() -> None:
    report = comparison()
    report["generation"] = None
    report["preference"]["models"]["simpo"]["own"] = estimate(0.55)
    report["preference"]["differences"][0] = difference("simpo", "dpo", -0.06)
    found = judge_comparison(report)
    assert found.choice == "dpo"
    assert "61 % (58 % to 64 %) of the pairs rightly; tossing a coin gives 50 %" in found.paragraph


def test_an_interval_that_is_missing_decides_nothing() -> None:
    report = comparison()
    report["generation"]["win_rates"][2]["raw"] = {"value": 0.6, "low": None, "high": None}
    found = judge_comparison(report)
    assert found.strength == "undecided"
    assert "in 60 % of cases" in found.paragraph


def test_times_that_overlap_are_not_told() -> None:
    report = comparison()
    report["cost"][3]["seconds_per_pair_low"] = 1.05
    assert "time" not in judge_comparison(report).paragraph
    report["cost"] = []
    assert "Training SimPO" not in judge_comparison(report).paragraph


def test_between_equals_the_one_with_which_less_got_worse_is_taken() -> None:
    report = comparison()
    report["generation"]["win_rates"][2] = rate("simpo", "dpo", 0.5)
    report["generation"]["models"]["simpo"] = replies(chars=400, stopped=0.5)
    found = judge_comparison(report)
    assert (found.choice, found.strength) == ("dpo", "leaning")
    assert found.headline.startswith("DPO rather than SimPO: these figures do not tell which is better")
    assert "With SimPO: Only 50 % of its replies end by themselves" in found.paragraph


def test_a_clear_lead_is_not_given_up_for_a_gentler_method() -> None:
    report = comparison()
    report["generation"]["models"]["simpo"] = replies(stopped=0.5)
    assert judge_comparison(report).choice == "simpo"


def test_a_busy_runs_time_is_never_told_and_memory_is_compared_like_with_like() -> None:
    report = comparison()
    report["cost"] = [row for row in report["cost"] if row["method"] == "simpo" or row["from"] == "run"]
    paragraph = judge_comparison(report).paragraph
    assert "time a pair" not in paragraph
    assert "40 % less memory" in paragraph


def test_a_price_that_is_higher_speaks_against() -> None:
    report = comparison()
    report["cost"][2] = cost("simpo", None, "trial", 2.0, 12e9)
    found = judge_comparison(report)
    (said,) = (doubt for doubt in found.doubts if "Training SimPO" in doubt)
    assert "54 % more time a pair" in said and "20 % more memory than training DPO" in said
    assert not any("Training SimPO" in reason for reason in found.reasons)


def test_methods_that_are_level_are_not_said_to_be_ahead() -> None:
    report = comparison()
    report["preference"]["differences"][0] = difference("simpo", "dpo", 0.0)
    assert (
        "Each by its own reward, SimPO and DPO order as many of the held-out pairs rightly."
        in judge_comparison(report).doubts
    )


shares = st.one_of(st.floats(0.0, 1.0, allow_nan=False), st.sampled_from([0.0, 0.5, 1.0]))


@settings(max_examples=200, deadline=None)
@given(
    wins=st.tuples(shares, shares, shares), equal=st.tuples(shares, shares, shares), half=st.floats(0.0, 0.3),
    own=st.tuples(shares, shares), times=st.tuples(*[st.floats(0.1, 10.0)] * 2), judged=st.booleans(),
    memory=st.tuples(*[st.floats(1e9, 1e10)] * 2), stopped=st.tuples(shares, shares, shares),
)  # fmt: skip
def test_no_figure_that_is_worse_is_ever_a_reason_for(
    wins: tuple[float, ...], equal: tuple[float, ...], half: float, own: tuple[float, float],
    times: tuple[float, float], judged: bool, memory: tuple[float, float], stopped: tuple[float, ...],
) -> None:  # fmt: skip
    report = comparison()
    gap = own[0] - own[1]
    report["preference"]["models"] |= {"simpo": {"own": estimate(own[0])}, "dpo": {"own": estimate(own[1])}}
    report["preference"]["differences"] = [
        difference("simpo", "dpo", gap, half), difference("simpo", "base", own[0] - 0.5, half, own=False),
        difference("dpo", "base", own[1] - 0.5, half, own=False),
    ]  # fmt: skip
    sides = (("simpo", "base"), ("dpo", "base"), ("simpo", "dpo"))
    report["generation"]["win_rates"] = [
        rate(*side, raw, at_equal, half) for side, raw, at_equal in zip(sides, wins, equal, strict=True)
    ]
    report["generation"]["models"] = {
        id_: replies(stopped=share) for id_, share in zip(("simpo", "dpo", "base"), stopped, strict=True)
    }
    report["cost"] = [
        cost("simpo", None, "trial", times[0], memory[0]), cost("dpo", "precomputed", "trial", times[1], memory[1])
    ]  # fmt: skip
    if not judged:
        report["generation"] = None
    found = judge_comparison(report)
    if found.choice is None:
        assert found.reasons == ()
        return
    ours, sign = ("SimPO", 1) if found.choice == "simpo" else ("DPO", -1)
    theirs = "DPO" if ours == "SimPO" else "SimPO"
    ahead = {
        "orders": sign * gap > 0,
        "preferred": sign * (wins[2] - 0.5) > 0,
        "equal": sign * (equal[2] - 0.5) > 0,
        "less time": sign * (times[1] - times[0]) > 0,
        "less memory": sign * (memory[1] - memory[0]) > 0,
    }
    for reason in found.reasons:
        assert "more time" not in reason and "more memory" not in reason and "fewer" not in reason
        assert "as often" not in reason and "as many" not in reason
        if "points more of 1000" in reason:
            assert f"{ours} orders" in reason and ahead["orders"]
        if "the judge preferred" in reason:
            assert f"preferred {ours}'s reply to" in reason
            assert ahead["equal"] if ", at equal lengths" in reason else ahead["preferred"]
            assert ahead["equal"] or "at equal lengths" not in reason
        for price in ("less time", "less memory"):
            assert price not in reason or ahead[price]
    for doubt in found.doubts:
        assert "less time" not in doubt and "less memory" not in doubt
        assert f"preferred {ours}'s reply to" not in doubt or "as often as the other way round" in doubt
        assert f"{theirs} orders" not in doubt or not ahead["orders"]
    told = [sentence for sentence in (*found.reasons, *found.doubts) if "Each by its own" in sentence]
    assert len(told) == 1 and all(sentence in found.paragraph for sentence in (*found.reasons, *found.doubts))
