"""A sweep's trials in optuna's storage: planned once, taken by one worker each, taken up again when that one dies."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from simpo.errors import RecipeError, RunFailed
from simpo.study.sweep.rows import Row
from simpo.study.sweep.space import Axis, Settings, Sweep, name_of
from simpo.study.sweep.worker import Silence, Worker, is_gone, lease, renewed

_LIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
_TABLE_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
_NAMING_POLL_S = 0.05
_REPEATS = 50  # proposals of settings that were tried already, after which a search counts as exhausted


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this worker, and no other, is to run."""

    trial_id: int
    number: int
    name: str
    settings: Settings


class Lost(Exception):
    """The trial was taken from this worker, which had not been heard of for too long."""


class Store:
    """The shared memory of all workers of one sweep. A trial is known by the name of its settings.

    Of several trials of one name the one with the lowest number counts, of those that did not fail: whoever else
    takes the others sees that and leaves them. So two workers may plan the same at once, and still run it once.
    """

    def __init__(self, url: str, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.worker, self.silence = Worker.here(), Silence()
        try:
            self.storage = _open(url)
            self.study_id = _study(self.storage, name)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise RecipeError(
                f"the sweep's storage cannot be opened: {str(error).splitlines()[0]}",
                where=url.partition("://")[0],
                fix="check --storage: a URL as SQLAlchemy takes it, its driver installed",
            ) from None
        self.study = optuna.load_study(study_name=name, storage=self.storage)

    # What all workers know of the sweep as a whole

    def info(self, key: str) -> Any:
        """What was written under `key`, or None."""
        return self.storage.get_study_user_attrs(self.study_id).get(key)

    def tell(self, key: str, value: Any) -> None:
        """Write something down for all workers."""
        self.storage.set_study_user_attr(self.study_id, key, value)

    def begin(self, sweep: Sweep) -> None:
        """Write down what this sweep is; RecipeError where the storage holds another one under its name.

        One of which nothing was tried yet makes way: a first call that failed leaves no trace.
        """
        there, own = self.info("fingerprint"), sweep.fingerprint()
        tried = [row for row in self.rows() if row.status != "waiting"]
        if there != own and not tried:
            for trial in self._live().values():
                self.give_back(Claim(trial._trial_id, trial.number, trial.user_attrs["name"], {}))
            for key in self.storage.get_study_user_attrs(self.study_id):
                self.tell(key, None)
            self.tell("fingerprint", own)
        elif there != own:
            raise RecipeError(
                "this sweep was begun with another recipe or other ranges",
                where=sweep.name,
                fix="choose another --out (and --study), or put the recipe back as it was",
            )

    # Trials

    def rows(self) -> list[Row]:
        """Every trial that counts, in the order in which they were planned."""
        return [_row(trial) for trial in self._live().values()]

    def ensure(self, settings: Mapping[str, Settings]) -> None:
        """Plan each setting that has no trial, or whose trial failed."""
        there = self._live()
        for name, each in settings.items():
            if name not in there:
                self._add(name, each, {}, {})

    def claim(self, order: Sequence[str] = ()) -> Claim | None:
        """Take the first trial that waits, by the names in `order`, then by number; None where none waits."""
        places = {name: place for place, name in enumerate(order)}
        waiting = [trial for trial in self._trials() if trial.state == TrialState.WAITING]
        waiting.sort(key=lambda trial: (places.get(trial.user_attrs["name"], len(places)), trial.number))
        for trial in waiting:
            name, settings = trial.user_attrs["name"], dict(trial.user_attrs["settings"])
            claim = Claim(trial._trial_id, trial.number, name, settings)
            try:
                if not self.storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                    continue
                self.storage.set_trial_user_attr(claim.trial_id, "lease", lease(self.worker))
            except UpdateFinishedTrialError:
                continue
            if self._counts(claim):
                return claim
            self.give_back(claim)
        return None

    def propose(self, sweep: Sweep) -> Claim | None:
        """Take a trial of settings that optuna's TPE proposes; None once there are enough, or nothing new to try."""
        distributions = {axis.key: _distribution(axis) for axis in sweep.axes}
        for _ in range(_REPEATS):
            live = self._live()
            if len(live) >= min(sweep.settings.trials, _num_settings(sweep.axes)):
                return None
            self.study.sampler = _sampler(sweep, len(self._trials()) - self._num_failed())
            trial = self.study.ask(distributions)
            settings = {axis.key: _value(axis, trial.params[axis.key]) for axis in sweep.axes}
            claim = Claim(trial._trial_id, trial.number, name_of(settings), settings)
            # The name last: from then on others count it in.
            for key, value in (("lease", lease(self.worker)), ("settings", settings), ("name", claim.name)):
                self.storage.set_trial_user_attr(claim.trial_id, key, value)
            self._wait_for_names_before(claim)
            place = list(self._live()).index(claim.name)
            if self._counts(claim) and place < sweep.settings.trials:
                return claim
            known = live.get(claim.name)
            if (
                known is not None and known.state == TrialState.COMPLETE
            ):  # the search learns that it has been there
                self._end(claim, TrialState.COMPLETE, [known.value or 0.0])
            else:
                self.give_back(claim)
        return None

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Show signs of life while the block runs."""
        with renewed(lambda: self._renew(claim)):
            yield

    def report(self, claim: Claim, progress: int, accuracy: float) -> list[float]:
        """Write down a trial's accuracy at `progress` (thousandths of its steps); returns the others' at that point."""
        try:
            self.storage.set_trial_intermediate_value(claim.trial_id, progress, accuracy)
        except UpdateFinishedTrialError:
            raise Lost from None
        others = [trial for trial in self._live().values() if trial._trial_id != claim.trial_id]
        return [
            trial.intermediate_values[progress] for trial in others if progress in trial.intermediate_values
        ]

    def finish(self, claim: Claim, row: Row) -> None:
        """Write down what became of a trial; Lost where another worker has taken it meanwhile."""
        values = {field.name: getattr(row, field.name) for field in fields(row)}
        values["settings"] = dict(row.settings)
        try:
            self.storage.set_trial_user_attr(claim.trial_id, "row", {**values, "curve": [*row.curve]})
        except UpdateFinishedTrialError:
            raise Lost from None
        pruned = row.status == "pruned"
        # A collapsed trial has lost: to a search it is as bad as can be.
        accuracy = (row.accuracy or {}).get("value") if row.status == "done" else 0.0
        self._end(
            claim, TrialState.PRUNED if pruned else TrialState.COMPLETE, None if pruned else [accuracy or 0.0]
        )

    def give_back(self, claim: Claim) -> None:
        """Leave a trial to whoever plans next."""
        try:
            self._end(claim, TrialState.FAIL, None)
        except Lost:
            return

    def reap(self) -> list[str]:
        """Names of trials whose workers are gone, left to whoever plans next."""
        gone = []
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and self._is_left(trial):
                name = trial.user_attrs.get("name", "?")
                self.give_back(Claim(trial._trial_id, trial.number, name, {}))
                self._retry(trial)
                gone.append(name)
        return gone

    def _is_left(self, trial: FrozenTrial) -> bool:
        held = trial.user_attrs.get("lease")
        return is_gone(held, self.worker, self.silence.seconds(trial._trial_id, held))

    def _wait_for_names_before(self, claim: Claim) -> None:
        """Wait until proposals of lower numbers are named: one of them may be of the same settings, and counts then."""
        while any(
            trial.number < claim.number
            and trial.state == TrialState.RUNNING
            and "name" not in trial.user_attrs
            and not self._is_left(trial)
            for trial in self._trials()
        ):
            time.sleep(_NAMING_POLL_S)

    def _retry(self, trial: FrozenTrial) -> None:
        """Put settings that a search had proposed back on the list; those of a plan are put back by the plan."""
        if trial.params and trial.user_attrs.get("name") not in {None, *self._live()}:
            attrs = trial.user_attrs
            self._add(attrs["name"], attrs["settings"], trial.params, trial.distributions)

    def _add(
        self,
        name: str,
        settings: Settings,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self.study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=dict(params),
                distributions=dict(distributions),
                user_attrs={"name": name, "settings": settings},
            )
        )

    def _trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    def _live(self) -> dict[str, FrozenTrial]:
        """The trial that counts, by name. One that has no name yet was made a moment ago and is being named."""
        found: dict[str, FrozenTrial] = {}
        for trial in sorted(self._trials(), key=lambda trial: trial.number):
            name = trial.user_attrs.get("name")
            if trial.state in _LIVE and name is not None:
                found.setdefault(name, trial)
        return found

    def _num_failed(self) -> int:
        return sum(trial.state == TrialState.FAIL for trial in self._trials())

    def _counts(self, claim: Claim) -> bool:
        return self._live()[claim.name].number == claim.number

    def _renew(self, claim: Claim) -> None:
        try:
            self.storage.set_trial_user_attr(claim.trial_id, "lease", lease(self.worker))
        except (UpdateFinishedTrialError, SQLAlchemyError):
            return  # lost, which whoever writes the next figure will hear; or a database away, which may be back soon

    def _end(self, claim: Claim, state: TrialState, values: Sequence[float] | None) -> None:
        try:
            self.storage.set_trial_state_values(claim.trial_id, state, values)
        except UpdateFinishedTrialError:
            raise Lost from None


@contextmanager
def storage_failures(where: str) -> Iterator[None]:
    """Tell a database that cannot be reached as a failed run, which is gone on with by the same command."""
    try:
        yield
    except SQLAlchemyError as error:
        raise RunFailed(
            f"the sweep's storage failed: {str(error).splitlines()[0]}",
            where=where,
            fix="run the same command again",
        ) from error


def _open(url: str) -> optuna.storages.RDBStorage:
    # Several workers write to one file now and then: waiting a minute is better than failing.
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    storage = _with_tables(url, arguments)
    if storage.engine.dialect.name == "sqlite":
        _lock_before_reading(storage.engine)
    return storage


def _with_tables(url: str, arguments: Mapping[str, Any]) -> optuna.storages.RDBStorage:
    """Open a storage and make its tables where there are none; of several workers who do so at once one succeeds."""
    for wait in _TABLE_WAITS_S:
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=dict(arguments))
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
            time.sleep(wait)
    return optuna.storages.RDBStorage(url, engine_kwargs=dict(arguments))


def _lock_before_reading(engine: Engine) -> None:
    """Make every transaction of SQLite take the file's lock where it begins.

    A trial is taken by reading that it waits and writing that it runs. Other databases lock the row that was read
    (`SELECT ... FOR UPDATE`), which SQLite ignores: without this, two workers both read "waiting" and both take it.
    """

    @event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were made before these rules


def _study(storage: optuna.storages.RDBStorage, name: str) -> int:
    try:
        return storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], study_name=name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)


def _row(trial: FrozenTrial) -> Row:
    attrs = trial.user_attrs
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and "row" in attrs:
        return Row(**attrs["row"])
    row = Row(attrs["name"], attrs["settings"], "waiting")
    if trial.state == TrialState.RUNNING:
        held = attrs.get("lease")
        who = None if held is None else f"{held['place'].partition(' ')[0]}:{held['pid']}"
        return replace(row, status="running", worker=who)
    return row


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices is not None:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _num_settings(axes: Sequence[Axis]) -> float:
    """How many settings there are in all: of a range without end, endlessly many."""
    return math.prod(float("inf") if axis.choices is None else len(axis.choices) for axis in axes)


def _value(axis: Axis, proposed: Any) -> Any:
    return float(f"{proposed:.6g}") if axis.choices is None and not axis.whole else proposed


def _sampler(sweep: Sweep, place: int) -> optuna.samplers.BaseSampler:
    """TPE with a seed of its own for each place: a search that was killed and goes on proposes what it would have."""
    digest = hashlib.sha256(f"{sweep.settings.seed} {place}".encode()).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=max(3, sweep.settings.trials // 4),
            constant_liar=True,  # several workers do not all propose the same
            seed=int.from_bytes(digest[:4], "little"),
        )
