"""Which settings a sweep tries next, from what is known so far: a pure function, so that every worker plans alike."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from simpo.study.sweep.rows import Choice, Row, choose
from simpo.study.sweep.space import Settings, Sweep, name_of


@dataclass(frozen=True, slots=True)
class Stage:
    """One range of a staged sweep: the names of its trials, and the choice that the next stage starts from."""

    key: str
    trials: tuple[str, ...]
    choice: Choice | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings by name, in the order in which they are tried. complete: none will be added once these are finished."""

    settings: Mapping[str, Settings]
    stages: tuple[Stage, ...]
    complete: bool


def make_plan(sweep: Sweep, rows: Sequence[Row], clusters: Sequence[Hashable]) -> Plan:
    """The plan of a staged or grid sweep as far as it is known."""
    if sweep.settings.strategy == "grid":
        return _grid(sweep)
    return _staged(sweep, {row.name: row for row in rows}, clusters)


def _grid(sweep: Sweep) -> Plan:
    settings: dict[str, Settings] = {}
    for values in itertools.product(*(axis.values for axis in sweep.axes)):
        each = dict(zip((axis.key for axis in sweep.axes), values, strict=True))
        settings[name_of(each)] = each
    return Plan(settings, (), True)


def _staged(sweep: Sweep, rows: Mapping[str, Row], clusters: Sequence[Hashable]) -> Plan:
    """One axis after the other, all else at the best so far; a stage begins once the one before it is finished."""
    settings: dict[str, Settings] = {}
    stages: list[Stage] = []
    current = sweep.start
    for axis in sweep.axes:
        stage = {name_of(each): each for each in ({**current, axis.key: value} for value in axis.values)}
        settings.update({name: each for name, each in stage.items() if name not in settings})
        if not all(name in rows and rows[name].finished for name in settings):
            return Plan(settings, (*stages, Stage(axis.key, tuple(stage), None)), False)
        choice = choose([rows[name] for name in settings], clusters)
        stages.append(Stage(axis.key, tuple(stage), choice))
        if choice is None:  # every setting so far collapsed: there is nothing to start the next stage from
            return Plan(settings, tuple(stages), True)
        current = dict(choice.chosen.settings)
    return Plan(settings, tuple(stages), True)
