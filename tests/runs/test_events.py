"""The story of a run: whole lines, torn ones passed over, one straight line whatever was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simpo.errors import RunFailed
from simpo.runs.events import EventLog, read_events
from tests.runs.limits import file_limit

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
FIELDS = st.dictionaries(
    st.sampled_from(["loss", "message", "plan", "best"]),
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), ANY_TEXT, st.booleans(), st.none()),
)
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


def written(path: Path, *events: tuple[str, int, dict[str, Any]]) -> list[dict[str, Any]]:
    path.unlink(missing_ok=True)
    log = EventLog(path)
    return [log.append(kind, step=step, **fields) for kind, step, fields in events]


def told(path: Path) -> list[tuple[str, int]]:
    return [(event["event"], event["step"]) for event in read_events(path)]


@SAME_FOLDER
@given(st.lists(FIELDS, max_size=6))
def test_what_is_appended_is_read_again_whatever_the_text(
    tmp_path: Path, fields: list[dict[str, Any]]
) -> None:
    path = tmp_path / "events.jsonl"
    records = written(path, *(("note", number, each) for number, each in enumerate(fields)))
    assert read_events(path) == records


@SAME_FOLDER
@given(st.lists(FIELDS, min_size=1, max_size=4), st.floats(0, 1))
def test_a_story_torn_at_any_byte_reads_as_its_beginning_and_can_be_gone_on_with(
    tmp_path: Path, fields: list[dict[str, Any]], where: float
) -> None:
    path = tmp_path / "events.jsonl"
    records = written(path, *(("note", number, each) for number, each in enumerate(fields)))
    content = path.read_bytes()
    cut = round(where * len(content))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    # A line that lacks nothing but its end counts.
    whole += cut < len(content) and content[cut : cut + 1] == b"\n"
    assert read_events(path) == records[:whole]
    later = EventLog(path).append("note", step=9)
    assert read_events(path) == [*records[:whole], later]


def test_a_resumed_run_is_one_straight_story(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(
        path,
        ("start", 0, {}),
        ("evaluate", 0, {}),
        ("step", 1, {}),
        ("checkpoint", 1, {}),
        ("step", 2, {}),
        ("evaluate", 2, {}),
        ("resume", 1, {"evaluated": False}),
        ("step", 2, {"loss": 2.0}),
        ("evaluate", 2, {"loss": 2.5}),
        ("checkpoint", 2, {}),
        ("resume", 2, {"evaluated": True}),
        ("step", 3, {}),
    )
    assert told(path) == [
        ("start", 0),
        ("evaluate", 0),
        ("step", 1),
        ("checkpoint", 1),
        ("resume", 1),
        ("step", 2),
        ("evaluate", 2),
        ("checkpoint", 2),
        ("resume", 2),
        ("step", 3),
    ]
    assert [event["loss"] for event in read_events(path) if "loss" in event] == [2.0, 2.5]


def test_an_evaluation_that_the_checkpoint_did_not_know_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    story: tuple[tuple[str, int, dict[str, Any]], ...] = (("step", 1, {}), ("evaluate", 1, {"loss": 1.0}))
    written(path, *story, ("resume", 1, {"evaluated": False}), ("evaluate", 1, {"loss": 3.0}))
    assert [event["loss"] for event in read_events(path) if event["event"] == "evaluate"] == [3.0]


def test_a_stop_before_a_resume_was_no_stop(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, ("step", 6, {}), ("stop", 6, {}), ("resume", 6, {"evaluated": True}), ("stop", 6, {}))
    assert told(path) == [("step", 6), ("resume", 6), ("stop", 6)]


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == []
    record = json.dumps({"v": 1, "event": "step", "step": 1})
    path.write_bytes(b'\x00\x00\n[1]\n"text"\n{"v": 1}\n\xff\xfe\n' + record.encode() + b"\n\n")
    assert told(path) == [("step", 1)]


def test_a_number_that_is_not_finite_is_a_bug_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with pytest.raises(ValueError):
        EventLog(path).append("step", step=1, loss=float("nan"))
    assert read_events(path) == []


@pytest.mark.parametrize("room", [0, 1, 57, 199])
def test_an_event_that_does_not_fit_leaves_the_story_as_it_was(tmp_path: Path, room: int) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    record = log.append("step", step=1)
    before = path.read_bytes()
    with file_limit(len(before) + room), pytest.raises(RunFailed, match="larger than is allowed") as failure:
        log.append("note", step=1, message="x" * 200)
    assert failure.value.exit_status == 5
    assert path.read_bytes() == before
    log.sync()
    assert read_events(path) == [record]
