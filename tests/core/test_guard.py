"""The guard's verdicts by hand: what stops a run, what is only mentioned, and what healthy training looks like."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.core.guard import Figures, Reason, judge, stands_out

START = Figures(
    median_tokens=60,
    median_chars=220,
    stopped=0.875,
    repetitive=0.0,
    repeated_4gram=0.05,
    distinct_2=0.6,
    room=128,
    chosen_logps=-1.5,
    saturated=0.0,
    loss=1.2,
    grad_norm=0.5,
)


def now(**changes: float) -> Figures:
    """The start's figures with some of them changed."""
    return dataclasses.replace(START, **changes)  # type: ignore[arg-type]


def reasons(**changes: float) -> dict[str, int]:
    """Signal -> level."""
    return {reason.signal: reason.level for reason in judge(now(**changes), START).reasons}


def test_a_policy_that_writes_as_at_the_start_is_healthy() -> None:
    verdict = judge(START, START)
    assert (verdict.name, verdict.reasons, verdict.suspects) == ("healthy", (), ())


def test_what_preference_training_is_meant_to_do_is_healthy() -> None:
    """Replies shorter by a third, or half as long again; likelihood down by half a nat; half the pairs learnt."""
    for changes in (
        {"median_tokens": 38, "distinct_2": 0.7},
        {"median_tokens": 95, "distinct_2": 0.45, "stopped": 0.75},
        {"chosen_logps": -2.0, "saturated": 0.5, "loss": 0.6, "grad_norm": 3.0},
        {"repetitive": 0.125, "repeated_4gram": 0.15},
    ):
        assert judge(now(**changes), START).name == "healthy", changes


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"repetitive": 1.0}, "repetition"),
        ({"median_tokens": 0.0}, "length"),
        ({"chosen_logps": -5.6}, "likelihood"),
    ],
)
def test_what_can_be_nothing_else_is_a_collapse_at_first_sight(
    changes: dict[str, float], signal: str
) -> None:
    verdict = judge(now(**changes), START)
    assert verdict.name == "collapsing" and verdict.suspects == (signal,)


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"repetitive": 0.625}, "repetition"),
        ({"distinct_2": 0.12}, "sameness"),
        ({"stopped": 0.125}, "stops"),
        ({"median_tokens": 8}, "length"),
        ({"chosen_logps": -3.6}, "likelihood"),
    ],
)
def test_one_suspicious_figure_stops_a_run_only_when_it_is_seen_twice(
    changes: dict[str, float], signal: str
) -> None:
    first = judge(now(**changes), START)
    assert first.name == "drifting" and first.suspects == (signal,)
    assert judge(now(**changes), START, suspected=first.suspects).name == "collapsing"
    assert judge(now(**changes), START, suspected=("another",)).name == "drifting"
    assert judge(START, START, suspected=first.suspects).name == "healthy", "the suspicion was unfounded"


def test_two_suspicious_figures_at_once_need_no_second_look() -> None:
    verdict = judge(now(repetitive=0.625, stopped=0.125), START)
    assert verdict.name == "collapsing" and set(verdict.suspects) == {"repetition", "stops"}


def test_what_is_only_bad_is_drifting_however_often_it_is_seen() -> None:
    changes = {"loss": 5.0, "saturated": 1.0, "grad_norm": 50.0, "loss_spikes": 3, "median_tokens": 400}
    verdict = judge(now(**changes), START, suspected=("loss", "saturation", "gradient", "spikes", "length"))
    assert verdict.name == "drifting" and verdict.suspects == ()
    assert {reason.signal for reason in verdict.reasons} == {
        "loss",
        "saturation",
        "gradient",
        "spikes",
        "length",
    }


def test_figures_are_measured_against_the_start_and_not_against_an_ideal() -> None:
    """A model that loops and never ends before it is trained is no news when it does so after."""
    poor = now(repetitive=0.5, stopped=0.0, distinct_2=0.1)
    assert judge(poor, poor).name == "healthy"
    assert judge(dataclasses.replace(poor, repetitive=0.625), poor).name == "healthy"


def test_replies_that_no_longer_end_are_suspect_only_where_hardly_any_does() -> None:
    assert reasons(stopped=0.5) == {"stops": 1}
    assert reasons(stopped=0.375) == {"stops": 1}
    assert reasons(stopped=0.25) == {"stops": 2}


def test_the_reasons_say_what_was_seen_the_worst_first() -> None:
    verdict = judge(now(repetitive=1.0, chosen_logps=-2.4), START)
    assert verdict.reasons[0] == Reason(
        "repetition", 3, 1.0, 0.0, "100% of the replies repeat themselves (0% at the start)"
    )
    assert verdict.words == (
        "100% of the replies repeat themselves (0% at the start); the chosen completions' mean log-probability is "
        "-2.40 nats per token (-1.50 at the start)"
    )


def test_figures_that_were_not_measured_say_nothing() -> None:
    empty = Figures()
    assert judge(empty, START).name == judge(START, empty).name == judge(empty, empty).name == "healthy"


shares = st.integers(0, 8).map(lambda count: count / 8)


@given(shares, shares, shares, shares, st.floats(-8, -0.5), st.floats(0, 200))
def test_a_worse_figure_never_gives_a_better_verdict(
    loops: float, more_loops: float, stops: float, fewer_stops: float, logps: float, tokens: float
) -> None:
    order = ("healthy", "drifting", "collapsing")
    better = now(repetitive=min(loops, more_loops), stopped=max(stops, fewer_stops), chosen_logps=logps)
    worse = dataclasses.replace(
        better, repetitive=max(loops, more_loops), stopped=min(stops, fewer_stops), chosen_logps=logps - 1
    )
    assert order.index(judge(worse, START).name) >= order.index(judge(better, START).name)
    shorter = dataclasses.replace(better, median_tokens=min(tokens, 60.0) / 2)
    longer = dataclasses.replace(better, median_tokens=min(tokens, 60.0))
    assert order.index(judge(shorter, START).name) >= order.index(judge(longer, START).name)


def test_a_loss_stands_out_from_the_median_of_those_before_it() -> None:
    before = [0.7, 0.6, 0.9, 0.8]
    # three times the median (0.8) and 0.5 above: 2.9
    assert not stands_out(2.9, before) and stands_out(2.91, before)
    assert not stands_out(100.0, before[:3]), "three steps are no habit"
    assert stands_out(0.7, [0.05] * 4) and not stands_out(0.6, [0.05] * 4), "small losses may triple"
    assert not stands_out(-0.2, [-0.5] * 4), "SimPER's losses are negative"
