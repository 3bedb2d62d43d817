"""Ranks that are started, watched and stopped: what they are told, and that none outlives the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simpo.runs import launch as module
from simpo.runs.launch import Ended, Place, launch

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0

# A rank that writes down its environment and its process id, then does what the test says.
RANK = """
import json, os, signal, sys, time
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
rank = os.environ["RANK"]
path = os.path.join(sys.argv[1], rank + ".json")
with open(path + ".new", "w") as file:
    json.dump({"pid": os.getpid(), **{name: os.environ[name] for name in names}}, file)
"""
PUBLISH = "os.rename(path + '.new', path)\n"


def command(folder: Path, behaviour: str) -> list[str]:
    return [sys.executable, "-S", "-c", RANK + behaviour, str(folder)]


def told(folder: Path, count: int) -> list[dict[str, str]]:
    """What the ranks wrote, once all have."""
    deadline = time.monotonic() + DEADLINE_S
    while len(list(folder.glob("*.json"))) < count:
        assert time.monotonic() < deadline, "the ranks did not start"
        time.sleep(0.01)
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_each_rank_is_told_its_place_as_torchrun_tells_it(tmp_path: Path) -> None:
    assert (
        launch(
            command(tmp_path, PUBLISH), Place(2, nnodes=3, node_rank=1, address="node0", port=29500)
        ).status
        == 0
    )
    ranks = told(tmp_path, 2)
    assert [(rank["RANK"], rank["LOCAL_RANK"]) for rank in ranks] == [("2", "0"), ("3", "1")]
    for rank in ranks:
        assert (rank["WORLD_SIZE"], rank["LOCAL_WORLD_SIZE"]) == ("6", "2")
        assert (rank["MASTER_ADDR"], rank["MASTER_PORT"]) == ("node0", "29500")


def test_on_one_machine_all_ranks_meet_at_one_free_port(tmp_path: Path) -> None:
    launch(command(tmp_path, PUBLISH), Place(2))
    one, other = told(tmp_path, 2)
    assert one["MASTER_PORT"] == other["MASTER_PORT"] and 1024 < int(one["MASTER_PORT"]) < 65536


def test_a_rank_that_fails_stops_one_that_would_wait_for_ever_and_ignores_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OWN_ACCORD_S", 0.3)
    monkeypatch.setattr(module, "TERMINATION_S", 0.3)
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{PUBLISH}"
    behaviour = f"{deaf}sys.exit(3) if rank == '1' else time.sleep(600)"
    ended = launch(command(tmp_path, behaviour), Place(2))
    ranks = told(tmp_path, 2)
    assert ended == Ended(3, 1, int(ranks[1]["pid"]))
    assert not any(alive(int(rank["pid"])) for rank in ranks)


def test_the_rank_that_a_signal_killed_is_named_before_those_that_failed_for_want_of_it(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "line")  # what connects two ranks: the end of one is news to the other
    line = "line = open(os.path.join(sys.argv[1], 'line'), 'w' if rank == '1' else 'r')\n"
    behaviour = f"{line}os.kill(os.getpid(), signal.SIGKILL) if rank == '1' else (line.read(), sys.exit(5))"
    ended = launch(command(tmp_path, behaviour), Place(2))
    assert (ended.status, ended.rank) == (-signal.SIGKILL, 1)


LAUNCHER = "import sys; from simpo.runs.launch import *; sys.exit(launch(sys.argv[1:], Place(2)).status)"


def launcher(words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, *words], env=environment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_rank_and_each_is_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    behaviour = (
        "saved = lambda *_: (open(path + '.saved', 'w').close(), sys.exit(130))\n"
        f"signal.signal({int(number)}, saved)\n{PUBLISH}time.sleep(600)"
    )
    process = launcher(command(tmp_path, behaviour))
    told(tmp_path, 2)
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == 130
    assert sorted(path.name for path in tmp_path.glob("*.saved")) == ["0.json.saved", "1.json.saved"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not tell a child that its parent has died"
)
def test_ranks_whose_launcher_is_killed_end_too(tmp_path: Path) -> None:
    process = launcher(command(tmp_path, f"{PUBLISH}time.sleep(600)"))
    ranks = told(tmp_path, 2)
    process.kill()
    process.wait(DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while any(alive(int(rank["pid"])) for rank in ranks):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.01)
