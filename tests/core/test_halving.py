"""Who is stopped early, by hand; and that the best never is, for any sequence of trials."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simpo.core.halving import hopeless

MANY = 10_000  # prompts enough for a standard error of half a point


def test_the_best_third_goes_on_by_hand() -> None:
    others = [0.60, 0.65, 0.70, 0.75, 0.80]  # with one more, six: the best two go on
    assert hopeless(0.62, others, num_prompts=MANY)
    assert hopeless(0.74, others, num_prompts=MANY)
    assert not hopeless(0.76, others, num_prompts=MANY)
    assert not hopeless(0.81, others, num_prompts=MANY)


def test_fewer_than_three_trials_are_no_field_to_judge_by() -> None:
    assert not hopeless(0.1, [0.9], num_prompts=MANY)
    assert hopeless(0.1, [0.9, 0.8], num_prompts=MANY)


def test_what_noise_alone_sets_apart_goes_on() -> None:
    # standard error of 0.8 on 100 prompts: 0.04
    others = [0.80, 0.79, 0.79, 0.79]
    assert not hopeless(0.761, others, num_prompts=100)
    assert hopeless(0.759, others, num_prompts=100)


def test_a_perfect_accuracy_on_a_few_prompts_is_no_certainty() -> None:
    assert not hopeless(0.9, [1.0, 1.0, 1.0], num_prompts=4)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=30),
    st.integers(1, 1000),
)
def test_the_trial_that_leads_is_never_stopped_and_someone_is_always_left(
    curves: list[list[float]], num_prompts: int
) -> None:
    """Trials one after another, three points each; a stopped one has no later points."""
    points: list[list[float]] = [[], [], []]
    finished = []
    for curve in curves:
        for point, accuracy in enumerate(curve):
            stopped = hopeless(accuracy, points[point], num_prompts=num_prompts)
            assert not (stopped and accuracy >= max(points[point], default=0.0))
            points[point].append(accuracy)
            if stopped:
                break
        else:
            finished.append(curve)
    assert finished
    best = max(curves, key=lambda curve: curve[2])
    if all(best[point] == max(curve[point] for curve in curves) for point in range(3)):
        assert best in finished, "the best at every point was stopped"
