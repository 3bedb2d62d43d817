"""A sweep in a person's words: what won and why, the heat map, the table of trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simpo.report.source import Estimate
from simpo.report.sweep.charts import Role
from simpo.report.sweep.source import Axis, SweepFile, Trial, Value
from simpo.report.words import (
    NOTHING,
    count,
    duration,
    general,
    number,
    percent,
    percent_range,
    points,
    sentence,
    signed,
    whole,
)

STATUS = {
    "waiting": "waiting",
    "running": "running",
    "done": "done",
    "pruned": "stopped early",
    "collapsed": "collapsed",
    "failed": "failed",
}
MAX_PANELS = 6
MAX_SQUARES = 12

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One square of a heat map: accuracy with its interval, `heat` from 0 (worst) to 100 (best), marks in words."""

    text: str
    range: str
    heat: int
    role: str
    note: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Two axes against each other at fixed values of the others (`title`)."""

    title: str
    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One line of the table of trials."""

    name: str
    role: str
    status: str
    note: str
    accuracy: str
    range: str
    gap: str
    paraphrased: str
    chars: str
    stopped: str
    drift: str
    steps: str


def short_key(key: str) -> str:
    """The last part of a recipe key: train.lr is lr."""
    return key.rpartition(".")[2]


def value_text(value: Value) -> str:
    """A setting's value as a recipe writes it, a number with three digits that count."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return general(float(f"{value:.3g}"))


def setting_words(trial: Trial) -> str:
    """A trial's settings in words: lr 3e-7, gamma 0.5, beta 2."""
    return ", ".join(f"{short_key(key)} {value_text(value)}" for key, value in trial.settings.items())


def role_of(sweep: SweepFile, trial: Trial) -> Role:
    """The part a trial plays in the charts."""
    if sweep.chosen is not None and trial.name == sweep.chosen.name:
        return "chosen"
    if sweep.runner_up is not None and trial.name == sweep.runner_up.name:
        return "runner_up"
    return "lost" if trial.status in ("collapsed", "failed") else "other"


def best_first(sweep: SweepFile) -> list[Trial]:
    """Trials by validation accuracy, best first; those without a figure last, in their own order."""
    return sorted(
        sweep.trials, key=lambda trial: -trial.accuracy.value if trial.accuracy is not None else 1.0
    )


def with_range(estimate: Estimate | None) -> str:
    """A share with its interval in brackets."""
    if estimate is None:
        return NOTHING
    interval = percent_range(estimate.low, estimate.high)
    return f"{percent(estimate.value)}{f' ({interval})' if interval else ''}"


def title(sweep: SweepFile) -> str:
    """What the sweep came to, as a headline."""
    best = sweep.trial(sweep.chosen.name) if sweep.chosen else None
    if best is None:
        return "No setting was chosen" if sweep.status == "done" else "No setting has been chosen yet"
    return f"Go on with {setting_words(best)}"


def state(sweep: SweepFile) -> str:
    """How a sweep that is not done stands; empty for one that is."""
    finished = sum(trial.status not in ("waiting", "running") for trial in sweep.trials)
    of = f" of {whole(sweep.planned)}" if sweep.planned else ""
    if sweep.status == "running":
        return f"This sweep is running: {whole(finished)}{of} trials have ended. What stands here may change."
    if sweep.status == "interrupted":
        return f"This sweep was interrupted: {whole(finished)}{of} trials have ended. The same command goes on with it."
    return ""


def sentences(sweep: SweepFile) -> Iterator[str]:
    """The chosen setting and the runner-up in words."""
    best = sweep.trial(sweep.chosen.name) if sweep.chosen else None
    if sweep.chosen is None or best is None:
        return
    began = ""
    if sweep.start is not None and sweep.start.accuracy is not None:
        began = f", from {percent(sweep.start.accuracy.value)} before training"
    yield f"This setting reaches {with_range(best.accuracy)} validation accuracy{began}."
    if sweep.chosen.why:
        yield sentence(sweep.chosen.why)
    second = sweep.trial(sweep.runner_up.name) if sweep.runner_up else None
    if sweep.runner_up is not None and second is not None:
        lead = sweep.runner_up.difference
        behind = ""
        if lead is not None and lead.low is not None and lead.high is not None:
            apart = "" if lead.low > 0 or lead.high < 0 else ", which does not tell the two apart"
            behind = (
                f", {points(lead.value)} points ({points(lead.low)} to {points(lead.high)}) behind{apart}"
            )
            behind = behind.replace("+", "")
        yield f"The runner-up is {setting_words(second)} at {percent(_value(second))}{behind}."
        if sweep.runner_up.why:
            yield sentence(sweep.runner_up.why)
    if sweep.chosen.test_note:
        yield sentence(sweep.chosen.test_note)


def _value(trial: Trial) -> float | None:
    return trial.accuracy.value if trial.accuracy else None


def tiles(sweep: SweepFile) -> list[tuple[str, str, str]]:
    """(label, value, note) of the opening figures."""
    found: list[tuple[str, str, str]] = []
    best = sweep.trial(sweep.chosen.name) if sweep.chosen else None
    if best is not None and best.accuracy is not None:
        interval = percent_range(best.accuracy.low, best.accuracy.high)
        found.append(("Validation accuracy", percent(best.accuracy.value), interval))
    if sweep.chosen is not None and sweep.chosen.test is not None:
        test = sweep.chosen.test
        found.append(("Test accuracy", percent(test.value), percent_range(test.low, test.high)))
    if best is not None:
        found += list(_best_tiles(sweep, best))
    found.append(("Trials", whole(len(_ended(sweep))), _trials_note(sweep)))
    return found


def _ended(sweep: SweepFile) -> list[Trial]:
    return [trial for trial in sweep.trials if trial.status not in ("waiting", "running")]


def _trials_note(sweep: SweepFile) -> str:
    ended = _ended(sweep)
    counts = [
        (sum(trial.status == status for trial in ended), STATUS[status])
        for status in ("collapsed", "pruned", "failed")
    ]
    words = [f"{whole(number_of)} {word}" for number_of, word in counts if number_of]
    return ", ".join([*words, duration(sweep.seconds)] if sweep.seconds is not None else words)


def _best_tiles(sweep: SweepFile, best: Trial) -> Iterator[tuple[str, str, str]]:
    if best.gap is not None:
        yield "Gap", signed(100 * best.gap), "points, training less validation"
    if best.median_chars is not None:
        began = sweep.start.median_chars if sweep.start else None
        yield (
            "Median reply",
            whole(best.median_chars),
            "characters" + (f", {whole(began)} before" if began is not None else ""),
        )
    if best.drift is not None:
        yield "Drift", number(best.drift, 3), "nats per token from the start"


def heat_maps(sweep: SweepFile) -> list[HeatMap]:
    """gamma by beta where both were varied, else the first two axes that were; one panel a value of the others."""
    pair = two_axes(sweep)
    if pair is None or any(len(_values(sweep, axis.key)) > MAX_SQUARES for axis in pair):
        return []
    across, down = pair
    others = [axis.key for axis in sweep.axes if axis.key not in (across.key, down.key)]
    panels: dict[tuple[str, ...], list[Trial]] = {}
    for trial in sweep.trials:
        fixed = tuple(f"{short_key(key)} {value_text(trial.settings.get(key))}" for key in others)
        panels.setdefault(fixed, []).append(trial)
    scale = accuracy_scale(sweep)
    return [
        _heat_map(sweep, ", ".join(fixed), across, down, members, scale)
        for fixed, members in sorted(panels.items(), key=lambda each: -_best_of(each[1]))[:MAX_PANELS]
        if sum(trial.accuracy is not None for trial in members) > 1
    ]


def accuracy_scale(sweep: SweepFile) -> tuple[float, float]:
    """Lowest and highest accuracy of the trials that did not collapse, which would make all others look alike."""
    sound = [trial for trial in sweep.trials if role_of(sweep, trial) != "lost"]
    known = [trial.accuracy.value for trial in sound if trial.accuracy is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _best_of(trials: Sequence[Trial]) -> float:
    return max((trial.accuracy.value for trial in trials if trial.accuracy is not None), default=0.0)


def two_axes(sweep: SweepFile) -> tuple[Axis, Axis] | None:
    """The two axes of the map, across and down: gamma and beta before others; None where no two were varied."""
    usable = [axis for axis in sweep.axes if len(_values(sweep, axis.key)) >= 2]
    preferred = sorted(usable, key=lambda axis: short_key(axis.key) not in ("gamma", "beta", "reward_margin"))
    if len(preferred) < 2:
        return None
    first, second = preferred[:2]
    return (second, first) if short_key(first.key) == "beta" else (first, second)


def _values(sweep: SweepFile, key: str) -> list[Value]:
    found = {trial.settings[key] for trial in sweep.trials if key in trial.settings}
    return sorted(
        found,
        key=lambda value: (
            not isinstance(value, (int, float)),
            value if isinstance(value, (int, float)) else 0,
            str(value),
        ),
    )


def _heat_map(
    sweep: SweepFile,
    fixed: str,
    across: Axis,
    down: Axis,
    members: Sequence[Trial],
    scale: tuple[float, float],
) -> HeatMap:
    columns, rows = _values(sweep, across.key), _values(sweep, down.key)
    at = {(trial.settings.get(down.key), trial.settings.get(across.key)): trial for trial in members}
    empty = Cell("", "", 0, "empty", "")
    table = []
    for row in rows:
        cells = tuple(
            _cell(sweep, at[row, column], scale) if (row, column) in at else empty for column in columns
        )
        if any(cell is not empty for cell in cells):
            table.append((value_text(row), cells))
    return HeatMap(
        fixed, short_key(across.key), short_key(down.key), tuple(map(value_text, columns)), tuple(table)
    )


def _cell(sweep: SweepFile, trial: Trial, scale: tuple[float, float]) -> Cell:
    role = role_of(sweep, trial)
    status = "" if trial.status == "done" else STATUS[trial.status]
    words = {"chosen": "chosen", "runner_up": "runner-up"}.get(role, status)
    if trial.accuracy is None:
        return Cell(NOTHING, "", 0, role if role != "other" else trial.status, words)
    low, high = scale
    heat = min(max(round(100 * (trial.accuracy.value - low) / (high - low)), 0), 100) if high > low else 100
    return Cell(
        percent(trial.accuracy.value),
        percent_range(trial.accuracy.low, trial.accuracy.high),
        heat,
        role if role != "other" else trial.status,
        words,
    )


def trial_rows(sweep: SweepFile) -> list[TrialRow]:
    """Every trial, best first."""
    ties = set(sweep.chosen.ties) if sweep.chosen else set()
    return [_trial_row(sweep, trial, trial.name in ties) for trial in best_first(sweep)]


def _trial_row(sweep: SweepFile, trial: Trial, tied: bool) -> TrialRow:
    role = role_of(sweep, trial)
    marks = {"chosen": "chosen", "runner_up": "runner-up"}
    note = marks.get(role, "within one standard error of the best" if tied else "")
    accuracy = trial.accuracy
    return TrialRow(
        setting_words(trial),
        role,
        STATUS[trial.status],
        "; ".join(text for text in (note, trial.message or "") if text),
        percent(accuracy.value) if accuracy else NOTHING,
        percent_range(accuracy.low, accuracy.high) if accuracy else "",
        signed(100 * trial.gap) if trial.gap is not None else NOTHING,
        percent(trial.paraphrase_accuracy.value) if trial.paraphrase_accuracy else NOTHING,
        whole(trial.median_chars),
        percent(trial.stopped, 0),
        number(trial.drift, 3),
        whole(trial.best_step if trial.best_step is not None else trial.steps or None),
    )


def data_facts(sweep: SweepFile) -> Facts:
    """What was swept on what, and what it cost."""
    data, cost = sweep.data, sweep.cost
    facts: Facts = [
        ("recipe", sweep.recipe),
        ("method", sweep.method),
        ("strategy", sweep.strategy),
        ("axes", "; ".join(_axis_words(axis) for axis in sweep.axes)),
        ("training pairs", whole(data.num_train)),
        ("validation pairs", _of_prompts(data.num_validation, data.num_prompts)),
        ("training pairs measured for the gap", whole(data.train_sample)),
        ("paraphrased pairs", whole(data.num_paraphrases)),
        ("test", data.test or ""),
    ]
    if cost is not None:
        facts.append(("reading, rendering and loading, once a worker", duration(cost.shared_seconds)))
        facts.append(("trials", duration(cost.trial_seconds)))
    facts += [("begun", sweep.created), ("last written", sweep.updated)]
    return [(name, value) for name, value in facts if value and value != NOTHING]


def _of_prompts(pairs: int | None, prompts: int | None) -> str:
    if pairs is None:
        return ""
    return f"{whole(pairs)}, on {count(prompts, 'prompt')}" if prompts else whole(pairs)


def _axis_words(axis: Axis) -> str:
    if axis.values is not None:
        return f"{axis.key} {', '.join(map(value_text, axis.values))}"
    return f"{axis.key} {value_text(axis.low)} to {value_text(axis.high)}{', log' if axis.log else ''}"
