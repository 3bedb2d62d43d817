"""The figures of a comparison, by hand: pairs matched one by one, seeds apart, replies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from simpo.core.intervals import paired_difference
from simpo.core.mcnemar import exact_p
from simpo.evaluate.files import Evaluation
from simpo.evaluate.judge import Judge
from simpo.study.compare.measure import Drift
from simpo.study.compare.more import drift_json, regression_json
from simpo.study.compare.pairs import pair_table, preference_json
from simpo.study.compare.plan import BASE
from simpo.study.compare.replies import generation_json, reply_table


def evaluation(
    rewards: Sequence[float], *, ids: Sequence[str] | None = None, replies: Sequence[Any] = (), **report: Any
) -> Evaluation:
    """Pairs of five tokens whose chosen reward is given and whose rejected reward is 0; mean logps a fifth of that."""
    names = ids or [f"pair{at}" for at in range(len(rewards))]
    pairs = tuple(
        {
            "id": name, "prompt_id": f"prompt{at // 2}", "category": "ab"[at % 2], "chosen_chars": 10 + at,
            "rejected_chars": 12, "chosen_total": reward - 10.0, "chosen_tokens": 5, "rejected_total": -10.0,
            "rejected_tokens": 5, "chosen_reward": reward, "rejected_reward": 0.0,
        }
        for at, (name, reward) in enumerate(zip(names, rewards, strict=True))
    )  # fmt: skip
    lines = tuple(
        {
            "prompt_id": f"prompt{at}", "prompt": [], "chosen": "c", "rejected": "r", "category": None,
            "reply": "x" * chars, "chars": chars, "stopped": True, "score": float(score), "parts": {"p": score},
            "escalates": score < 0,
        }
        for at, (chars, score) in enumerate(replies)
    )  # fmt: skip
    generation = {"repeated_4gram": 0.0, "repetitive": 0.0, "distinct_2": 1.0, "settings": {"seed": 0}}
    return Evaluation({"generation": generation, "regression": None, **report}, pairs, lines)


def test_accuracies_and_differences_by_hand() -> None:
    first, second = [1, 1, 1, -1, 1, 1], [1, -1, -1, -1, 1, 0]
    table = pair_table(
        {"a": [evaluation(first)], "b": [evaluation(second)], BASE: [evaluation([1, -1, 1, -1, 1, -1])]}
    )
    found = preference_json(table)
    assert found["models"]["a"]["own"]["value"] == pytest.approx(5 / 6)
    assert found["models"]["b"]["own"]["value"] == pytest.approx(2.5 / 6)  # a tie counts half
    assert found["models"][BASE]["own"] is None
    assert found["models"][BASE]["common"]["value"] == 0.5
    assert found["models"]["a"]["chosen_logps"] == pytest.approx(sum(first) / 6 / 5 - 2)
    difference = found["differences"][0]
    assert (difference["first"], difference["second"]) == ("a", "b")
    outcomes = [[float(x > 0) + 0.5 * (x == 0) for x in rewards] for rewards in (first, second)]
    expected = paired_difference(
        outcomes[0], outcomes[1], ["prompt0"] * 2 + ["prompt1"] * 2 + ["prompt2"] * 2, bounds=(0.0, 1.0)
    )
    assert difference["own"]["value"] == pytest.approx(2.5 / 6)
    assert difference["own"]["low"] == pytest.approx(expected.low)
    test = difference["own"]["mcnemar"]
    assert (test["first_only"], test["second_only"], test["ties"]) == (2, 0, 1)
    assert test["p_exact"] == exact_p(2, 0)
    assert difference["own"]["needed"]["pairs"] > 0


def test_pairs_are_matched_by_content_and_how_often_it_came() -> None:
    ids = ["same", "same", "third"]
    one = evaluation([1, -1, 1], ids=ids)
    other = evaluation([1, 1, 1], ids=ids)
    shuffled = Evaluation(other.report, other.pairs[::-1], ())
    table = pair_table({"a": [one], "b": [shuffled], BASE: [evaluation([1, 1], ids=["third", "same"])]})
    assert table.own["a"].tolist() == [[1.0, 1.0]]  # the base lacks the second of the same
    assert len(table.prompts) == 2
    with pytest.raises(ValueError, match="no pair in common"):
        pair_table({"a": [one], BASE: [evaluation([1], ids=["elsewhere"])]})


def test_seeds_stand_apart_and_the_mean_is_over_all() -> None:
    seeds = [evaluation([1, 1, 1, 1]), evaluation([1, 1, -1, -1])]
    table = pair_table({"a": seeds, "b": [evaluation([-1, -1, -1, -1])], BASE: [evaluation([1, 1, 1, 1])]})
    found = preference_json(table)
    assert found["models"]["a"]["per_seed"]["own"] == [1.0, 0.5]
    assert found["models"]["a"]["own"]["value"] == 0.75
    assert (
        found["models"]["a"]["own"]["high"] - found["models"]["a"]["own"]["low"] > 0.8
    )  # two seeds far apart
    assert found["differences"][0]["own"]["mcnemar"]["first_only"] == 6  # both seeds against the one


def test_every_cut_holds_every_pair_and_length_matching_is_another_one() -> None:
    table = pair_table({"a": [evaluation([1] * 6)], "b": [evaluation([1] * 6)], BASE: [evaluation([1] * 6)]})
    parts = preference_json(table)["models"]["a"]["strata"]
    for by in ("length_quartile", "longer", "category"):
        assert sum(part["num_pairs"] for part in parts if part["by"] == by) == 6
    # Lengths 10 ... 15 against 12: the equal pair, 11 with 13; 10 finds 14 and not 15.
    (matched,) = [part for part in parts if part["by"] == "length_matched"]
    assert matched["num_pairs"] == 5


def test_win_rates_by_hand_and_replies_of_the_first_seed_shown() -> None:
    start = [(10, 0), (10, 0), (10, 0), (10, 0)]
    models = {
        "a": [evaluation([1], replies=[(12, 1), (14, 1), (16, 0), (9, -1)])],
        "b": [evaluation([1], replies=[(20, 2), (20, 2), (20, 2), (20, -2)])] * 2,
        BASE: [evaluation([1], replies=start)],
    }
    table = reply_table(models)
    assert table is not None
    found = generation_json(table, models, Judge("j", lambda p, r, c: 0.0), None, {})
    first, second, head_to_head = found["win_rates"]
    assert (first["first"], first["second"]) == ("a", BASE)
    assert {key: first["raw"][key] for key in ("value", "wins", "ties", "losses")} == {
        "value": 0.625, "wins": 2, "ties": 1, "losses": 1
    }  # fmt: skip
    assert second["raw"]["wins"] == 6  # over two seeds
    assert head_to_head["raw"]["value"] == 0.25
    assert first["length_controlled"]["longer"] == 0.75
    assert second["length_controlled"]["extrapolated"]
    assert found["models"]["a"]["chars"]["median"] == 13.0
    assert found["models"]["a"]["escalation"]["value"] == 0.25
    assert found["models"]["a"]["parts"] == {"p": 0.25}
    assert found["models"]["b"]["per_seed"]["median_chars"] == [20.0, 20.0]
    assert found["samples"][0]["replies"]["a"]["text"] == "x" * 12


def test_only_prompts_that_all_replied_to_are_compared() -> None:
    models = {
        "a": [evaluation([1], replies=[(12, 1), (14, 1)])],
        BASE: [evaluation([1], replies=[(10, 0), (10, 0), (10, 0)])],
    }
    table = reply_table(models)
    assert table is not None and table.prompts == ["prompt0", "prompt1"]
    assert generation_json(table, models, None, None, {})["win_rates"] == []
    assert reply_table({**models, "b": [evaluation([1])]}) is None


def test_drift_is_a_mean_over_replies_of_nats_per_token() -> None:
    table = pair_table({"a": [evaluation([1, 1])] * 2, BASE: [evaluation([0, 0])]})
    seeds = [
        Drift(
            [{"prompt_id": "p", "total": 4.0, "tokens": 4}, {"prompt_id": "q", "total": 1.0, "tokens": 2}], []
        ),
        Drift([{"prompt_id": "p", "total": 2.0, "tokens": 4}], []),
    ]
    found = drift_json({"a": seeds}, table)
    assert found is not None
    assert found["models"]["a"]["per_seed"]["chosen"] == [1.0, 0.5]  # of the prompt that both seeds have
    assert found["models"]["a"]["chosen"]["value"] == 0.75
    assert found["models"]["a"]["generated"] is None
    assert found["models"]["a"]["chosen_logps_change"]["value"] == pytest.approx(0.2)
    assert drift_json({"a": []}, table) is None


def test_the_interval_of_a_divergence_does_not_reach_below_none() -> None:
    table = pair_table({"a": [evaluation([1, 1])] * 2, BASE: [evaluation([0, 0])]})
    seeds = [Drift([{"prompt_id": p, "total": total, "tokens": 1} for p in "pq"], []) for total in (0.1, 5.0)]
    found = drift_json({"a": seeds}, table)
    assert found is not None
    chosen = found["models"]["a"]["chosen"]
    assert chosen["low"] == 0.0 < chosen["value"] < chosen["high"]


def test_regression_sets_are_compared_question_by_question() -> None:
    about = {"kind": "exact_match", "metric": "m", "file": "f", "not_checked": 0, "more": {"x": 0.5}}

    def asked(values: Sequence[float | None]) -> Evaluation:
        lines = tuple({"set": "s", "source": f"f:{at}", "value": value} for at, value in enumerate(values))
        return Evaluation({"regression": {"s": about}}, (), (), lines)

    (found,) = regression_json({"a": [asked([1, 1, None, 0])], BASE: [asked([1, 0, 1, 0])]}) or []
    assert found["num_items"] == 3  # the third could not be checked for one of them
    assert found["models"]["a"]["value"] == pytest.approx(2 / 3)
    assert found["changes"]["a"]["value"] == pytest.approx(1 / 3)
    assert found["more"] == {"x": {"a": 0.5, BASE: 0.5}}
    assert regression_json({BASE: [evaluation([1])]}) is None
