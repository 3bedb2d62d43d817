"""Workers of one sweep: each trial has one, a dead worker's trial goes to another, and what is finished stays."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import optuna
import pytest

from simpo.errors import RecipeError
from simpo.study.sweep.rows import Row
from simpo.study.sweep.space import Sweep, load_sweep
from simpo.study.sweep.store import Claim, Lost, Store
from simpo.study.sweep.worker import LEASE_S, UNSIGNED_S, Silence, Worker, is_gone, lease
from tests.study.test_sweep_space import written

SETTINGS: dict[str, dict[str, Any]] = {f"beta-{beta}": {"method.beta": float(beta)} for beta in range(8)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def dead() -> Worker:
    """A process that was here and is no more."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = Worker.here()
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    process.communicate(b"\n")
    return replace(here, pid=process.pid, began=fields[19])


def done(claim: Claim, wins: str = "10") -> Row:
    share = wins.count("1") / len(wins)
    return Row(
        claim.name, claim.settings, "done", {"value": share, "low": 0.0, "high": 1.0}, wins, seconds=1.5
    )


def at_once(work: Callable[[Barrier], None]) -> None:
    """Four workers, each in a thread, which may wait for each other; what goes wrong in one is raised here."""
    gate = Barrier(4, timeout=60)
    with ThreadPoolExecutor(gate.parties) as pool:
        for each in [pool.submit(work, gate) for _ in range(gate.parties)]:
            each.result()


def test_trials_are_taken_in_the_order_of_the_plan_and_each_once(url: str) -> None:
    one, other = Store(url, "sweep"), Store(url, "sweep")
    one.ensure(SETTINGS)
    other.ensure(SETTINGS)
    assert [row.name for row in one.rows()] == list(SETTINGS)
    order = list(reversed(SETTINGS))
    taken = [
        claim.name for _ in range(4) for store in (one, other) if (claim := store.claim(order)) is not None
    ]
    assert taken == order
    assert one.claim(order) is None and other.claim(order) is None
    assert {row.status for row in one.rows()} == {"running"}


def test_many_workers_that_plan_and_take_at_once_take_each_trial_once(url: str) -> None:
    """Every worker plans for itself, so the storage holds trials twice and more; one of each is run."""
    Store(url, "sweep")
    taken: list[str] = []

    def work(gate: Barrier) -> None:
        store = Store(url, "sweep")
        gate.wait()
        store.ensure(SETTINGS)
        while (claim := store.claim(list(SETTINGS))) is not None:
            taken.append(claim.name)
            store.finish(claim, done(claim))

    at_once(work)
    assert Counter(taken) == Counter(list(SETTINGS))
    assert [row.status for row in Store(url, "sweep").rows()] == ["done"] * len(SETTINGS)


def test_many_workers_that_make_the_tables_and_search_at_once_try_no_setting_twice(
    url: str, tmp_path: Path
) -> None:
    """Few settings and many workers: they propose the same again and again."""
    ranges = {"method.beta": [2, 5], "method.gamma": [0, 1], "strategy": "tpe", "trials": 4}
    sweep = load_sweep(written(tmp_path, ranges))
    taken: list[str] = []

    def work(gate: Barrier) -> None:
        gate.wait()
        store = Store(url, "sweep")
        while (claim := store.claim() or store.propose(sweep)) is not None:
            taken.append(claim.name)
            store.finish(claim, done(claim))

    at_once(work)
    assert len(taken) == 4 == len(set(taken))


def test_what_is_finished_is_read_as_it_was_written_and_is_not_planned_again(url: str) -> None:
    store = Store(url, "sweep")
    store.ensure(SETTINGS)
    claim = store.claim()
    assert claim is not None
    row = replace(done(claim, "1h0"), curve=({"step": 1, "accuracy": 0.5},), drift=0.25, message="m")
    store.finish(claim, row)
    again = Store(url, "sweep")
    again.ensure(SETTINGS)
    found = {each.name: each for each in again.rows()}[claim.name]
    assert asdict(found) == {**asdict(row), "curve": [{"step": 1, "accuracy": 0.5}]}
    assert len(again.rows()) == len(SETTINGS)


def test_a_trial_whose_worker_has_died_is_taken_up_again(url: str, dead: Worker) -> None:
    gone = Store(url, "sweep")
    gone.worker = dead
    gone.ensure(SETTINGS)
    claim = gone.claim(list(SETTINGS))
    assert claim is not None and claim.name == "beta-0"
    store = Store(url, "sweep")
    assert store.reap() == ["beta-0"]
    assert store.reap() == []
    store.ensure(SETTINGS)
    again = store.claim(list(SETTINGS))
    assert again is not None and again.name == "beta-0" and again.trial_id != claim.trial_id
    assert store.reap() == [], "we are alive"
    for write in (lambda: gone.finish(claim, done(claim)), lambda: gone.report(claim, 500, 0.5)):
        with pytest.raises(Lost):
            write()
    gone.give_back(claim)
    store.finish(again, done(again))
    assert Counter(row.status for row in store.rows()) == {"done": 1, "waiting": 7}


def test_who_is_gone_is_known_at_once_here_and_by_the_lease_elsewhere(dead: Worker) -> None:
    here = Worker.here()
    assert not is_gone(lease(here), here, 1e6) and is_gone(lease(dead), here, 0.0)
    assert is_gone(lease(replace(here, began="long ago")), here, 0.0), (
        "the number was given to another process"
    )
    far = replace(dead, place="another machine")
    assert not is_gone(lease(far), here, LEASE_S)
    assert is_gone(lease(far), here, LEASE_S + 1)
    assert str(far) == f"another:{dead.pid}" and here.pid == os.getpid()


def test_a_worker_elsewhere_is_gone_when_its_lease_has_stood_still_and_not_while_it_is_renewed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the wall clocks say: they are set years ahead and back between any two looks."""
    years = itertools.cycle((10, -10))
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + next(years) * 365 * 86400)
    seconds = [0.0]
    far, store = Store(url, "sweep"), Store(url, "sweep")
    far.worker = replace(Worker.here(), place="another machine")
    store.silence = Silence(lambda: seconds[0])
    far.ensure({"beta-0": SETTINGS["beta-0"]})
    claim = far.claim()
    assert claim is not None
    for _ in range(3):
        assert store.reap() == [], "it has shown a sign of life since the last look"
        seconds[0] += 3600
        far.storage.set_trial_user_attr(claim.trial_id, "lease", lease(far.worker))
    assert store.reap() == []
    seconds[0] += LEASE_S
    assert store.reap() == []
    seconds[0] += 1
    assert store.reap() == ["beta-0"]


def test_a_trial_that_nobody_signed_for_is_left_alone_for_a_while(url: str) -> None:
    """Between taking a trial and signing for it a worker may die; it may also only be slow."""
    seconds = [0.0]
    store = Store(url, "sweep")
    store.silence = Silence(lambda: seconds[0])
    store.ensure({"beta-0": SETTINGS["beta-0"]})
    (trial,) = store.study.get_trials()
    assert store.storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.RUNNING)
    assert store.reap() == []
    seconds[0] = UNSIGNED_S
    assert store.reap() == []
    seconds[0] += 0.1
    assert store.reap() == ["beta-0"]


def test_accuracies_on_the_way_are_told_to_the_others(url: str) -> None:
    one, other = Store(url, "sweep"), Store(url, "sweep")
    one.ensure(SETTINGS)
    first, second = one.claim(), other.claim()
    assert first is not None and second is not None
    assert one.report(first, 250, 0.6) == []
    assert other.report(second, 250, 0.7) == [0.6]
    assert one.report(first, 500, 0.8) == [] and other.report(second, 500, 0.75) == [0.8]


def test_another_sweep_in_the_same_place_is_refused(url: str, tmp_path: Path) -> None:
    store = Store(url, "sweep")
    store.begin(load_sweep(written(tmp_path, {"method.beta": [3]})))
    store.ensure({"beta-3": {"method.beta": 3.0}})
    store.begin(load_sweep(written(tmp_path, {"method.beta": [2, 5]})))
    assert store.rows() == [], "of the first nothing had been tried"
    store.ensure(SETTINGS)
    claim = store.claim()
    assert (claim and claim.name) == "beta-0"
    Store(url, "sweep").begin(load_sweep(written(tmp_path, {"method.beta": [2, 5]})))
    with pytest.raises(RecipeError, match="begun with another recipe or other ranges"):
        Store(url, "sweep").begin(load_sweep(written(tmp_path, {"method.beta": [2, 6]})))
    Store(url, "another").begin(load_sweep(written(tmp_path, {"method.beta": [2, 6]})))


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/db", "sqlite:////nowhere/at/all/study.db"])
def test_a_storage_that_cannot_be_opened_is_said_without_its_password(url: str) -> None:
    with pytest.raises(RecipeError, match="storage cannot be opened") as error:
        Store(url, "sweep")
    assert error.value.exit_status == 2


def search(folder: Path, trials: int) -> Sweep:
    ranges = {"low": 1e-7, "high": 1e-5, "log": True}
    return load_sweep(
        written(folder, {"train.lr": ranges, "method.beta": [2, 10], "strategy": "tpe", "trials": trials})
    )


def score(settings: dict[str, Any]) -> str:
    """Best near 1e-6 with beta 10."""
    wins = 8 - round(4 * abs(1 - settings.get("train.lr", 1e-6) / 1e-6)) + int(settings["method.beta"] == 10)
    return "".join("1" if place < wins else "0" for place in range(10))


def propose_all(store: Store, sweep: Sweep) -> None:
    while (claim := store.claim() or store.propose(sweep)) is not None:
        store.finish(claim, done(claim, score(claim.settings)))


def test_a_search_makes_as_many_trials_as_it_may_all_different_and_within_the_ranges(
    url: str, tmp_path: Path
) -> None:
    sweep, store = search(tmp_path, 9), Store(url, "sweep")
    propose_all(store, sweep)
    rows = store.rows()
    assert len(rows) == 9 == len({row.name for row in rows})
    for row in rows:
        assert 1e-7 <= row.settings["train.lr"] <= 1e-5 and row.settings["method.beta"] in (2, 10)


def test_a_search_ends_when_there_is_nothing_new_to_try(url: str, tmp_path: Path) -> None:
    sweep = load_sweep(
        written(tmp_path, {"method.beta": [2, 5], "method.gamma": [0, 1], "strategy": "tpe", "trials": 9})
    )
    store = Store(url, "sweep")
    propose_all(store, sweep)
    assert len(store.rows()) == 4


def test_a_search_that_lost_a_worker_proposes_what_it_would_have_proposed(
    tmp_path: Path, dead: Worker
) -> None:
    sweep = search(tmp_path, 8)
    straight = Store(f"sqlite:///{tmp_path / 'straight.db'}", "sweep")
    propose_all(straight, sweep)
    url = f"sqlite:///{tmp_path / 'torn.db'}"
    while True:
        store = Store(url, "sweep")
        store.worker = dead  # of every second trial it will not be heard again
        claim = store.claim() or store.propose(sweep)
        if claim is None:
            break
        store = Store(url, "sweep")
        assert store.reap() == [claim.name]
        claim = store.claim() or store.propose(sweep)
        assert claim is not None
        store.finish(claim, done(claim, score(claim.settings)))
    assert [asdict(row) for row in Store(url, "sweep").rows()] == [asdict(row) for row in straight.rows()]
