"""Read spoilt files for as long as wanted: whatever the bytes, rows are read, left out and counted, or refused.

    python -m tests.data.fuzz --cases 1000000 --seed 1 --keep found/

Seeds are the examples of docs/formats.md and, where SIMPO_TEST_DATA names a folder, the beginnings of the files of its
raw_formats. A case that raises what it must not, or breaks one of the promises of `check`, is written to `--keep`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simpo.data.formats import FORMATS
from simpo.data.pairing import PAIRINGS
from simpo.data.read import RowStream, iter_rows
from simpo.data.reasons import REASONS
from simpo.data.shapes import Kind
from simpo.errors import DataError, RecipeError
from simpo.records import Dropped, Row
from tests.data.mutations import MAX_BYTES, Spoilt, spoilt

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
LONGEST_S = 20
NAMES = [(kind, entry.name) for kind, entries in FORMATS.items() for entry in entries]
KEYS = sorted(
    {key for entries in FORMATS.values() for entry in entries for key in entry.columns}
    | {
        "role",
        "content",
        "from",
        "value",
        "rank",
        "completion",
        "response",
        "answer",
        "text",
        "replies",
        "tools",
    }
    | {"tool_calls", "score", "annotator1", "preference", "judge", "p_second_better", "category", "margin"}
)


@dataclass(frozen=True, slots=True)
class Case:
    """A file and how it is read."""

    file: Spoilt
    kind: Kind
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What became of the cases: how many were read to the end, refused, broken; rows read and left out by reason."""

    cases: int = 0
    read: int = 0
    refused: int = 0
    rows: int = 0
    records: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    broken: dict[str, Case] = field(default_factory=dict)


class BrokenPromise(AssertionError):
    """Reading did what it never may."""


def check(case: Case, folder: Path, tally: Tally) -> None:
    """Read a case; raises whatever reading raises beside its own errors, and BrokenPromise.

    Every row that is read is used or left out; each record can be written as UTF-8 and has an id; reasons are those
    that are documented; a file that was read to its end has the hash of its bytes; errors name the file.
    """
    path = folder / case.file.name
    path.write_bytes(case.file.content)
    tally.cases += 1
    try:
        stream = iter_rows(path, kind=case.kind, **case.options)
        outcomes = list(stream)
    except (DataError, RecipeError) as error:
        tally.refused += 1
        said = str(error).encode()
        if isinstance(error, DataError) and str(path).encode() not in said:
            raise BrokenPromise(f"the error does not name the file: {error}") from error
        return
    finally:
        path.unlink()
    _check_stream(stream, outcomes, case)
    tally.read += 1
    tally.rows += stream.num_rows
    tally.records += stream.num_records
    tally.formats.update(stream.formats)
    tally.dropped.update(one.reason for one in outcomes if isinstance(one, Dropped))


def _check_stream(stream: RowStream, outcomes: Sequence[Row | Dropped], case: Case) -> None:
    limit = case.options.get("limit")
    stopped = limit is not None and stream.num_records >= limit
    if not stopped and stream.num_rows != stream.num_used + stream.num_dropped:
        raise BrokenPromise(f"{stream.num_rows} rows, {stream.num_used} used, {stream.num_dropped} left out")
    if not stopped and list(stream.hashes.values()) != [hashlib.sha256(case.file.content).hexdigest()]:
        raise BrokenPromise("the hash is not that of the file")
    for one in outcomes:
        if isinstance(one, Dropped):
            if one.reason not in REASONS:
                raise BrokenPromise(f"the reason {one.reason!r} is documented nowhere")
            one.detail.encode()
        else:
            said = "\n".join([turn.content for turn in one.prompt] + list(one.completions))
            said.encode()
            json.dumps([dict(turn.extra) for turn in one.prompt] + list(one.tools), allow_nan=False).encode()
            if len(one.id) != 16 or not str(one.source).startswith(stream.name):
                raise BrokenPromise(f"the record {one.id} has no place")


def seed_rows() -> list[list[Any]]:
    """Rows of every format: those of the documentation, and the first of each real file at hand."""
    page = PAGE.read_text(encoding="utf-8")
    cells = [line.split(" | ")[2] for line in page.splitlines() if line.startswith("| `")]
    rows = [[json.loads(row) for row in re.findall("`(.*?)`", cell)] * 3 for cell in cells]
    for path in _real_files():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows.append([json.loads(line) for line in islice(text.splitlines(), 6)])
        elif isinstance(value := json.loads(text), list):
            rows.append(value[:6])
    return [group for group in rows if group]


def seed_files(rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """Whole files: lines, arrays, tables, Parquet, Arrow, and the beginnings of the real files at hand."""
    files = []
    for group in rows:
        files.append("\n".join(map(json.dumps, group)).encode()[:MAX_BYTES])
        files.append(json.dumps(group, ensure_ascii=False).encode()[:MAX_BYTES])
    table = pa.Table.from_pylist([{"prompt": "a", "chosen": "b", "rejected": "c", "score": 0.5}] * 3)
    sinks = [pa.BufferOutputStream() for _ in range(3)]
    pq.write_table(table, sinks[0])
    for sink, make in zip(sinks[1:], (pa.ipc.new_file, pa.ipc.new_stream), strict=True):
        with make(sink, table.schema) as writer:
            writer.write_table(table)
    files += [bytes(sink.getvalue()) for sink in sinks]
    files += [b'prompt,chosen,rejected\na,b,c\n"d ""e""","f\ng",h\n', b"prompt;chosen;rejected\na;b;c\n"]
    files += [path.read_bytes()[:MAX_BYTES] for path in _real_files("*")]
    return files


def _real_files(pattern: str = "*.json*") -> list[Path]:
    folder = os.environ.get("SIMPO_TEST_DATA")
    return sorted(Path(folder, "raw_formats").glob(pattern)) if folder else []


def make_case(rng: random.Random, files: Sequence[bytes], rows: Sequence[Sequence[Any]]) -> Case:
    """The case of a random state: a spoilt file, and options as users give them."""
    kind, name = rng.choice(NAMES)
    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["format"] = name
    if rng.random() < 0.3:
        options["pairing"] = rng.choice(PAIRINGS)
    if kind == "pairs" and rng.random() < 0.1:
        options["min_margin"] = rng.choice((0.5, 1.0, 3.0))
    if rng.random() < 0.1:
        options["columns"] = {rng.choice(KEYS): rng.choice(KEYS) for _ in range(rng.choice((1, 2)))}
    if rng.random() < 0.05:
        options["limit"] = rng.choice((1, 3))
    if kind == "examples" and rng.random() < 0.3:
        options["sft_turns"] = "last"
    return Case(spoilt(rng, files, rows, KEYS), kind, options)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise BrokenPromise(f"more than {LONGEST_S} s for one file")


def run(cases: int, seed: int, folder: Path) -> Tally:
    """Read that many spoilt files; the same seed makes the same ones. What breaks is in the tally, once a place."""
    tally = Tally()
    rows = seed_rows()
    files = seed_files(rows)
    before = signal.signal(
        signal.SIGPROF, _too_long
    )  # of the processor's time: a busy machine breaks no promise
    try:
        for index in range(cases):
            case = make_case(random.Random(f"{seed}:{index}"), files, rows)
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            try:
                check(case, folder, tally)
            except (Exception, RecursionError, MemoryError) as error:
                frames = traceback.extract_tb(error.__traceback__)
                place = f"{type(error).__name__} {Path(frames[-1].filename).name}:{frames[-1].lineno}"
                tally.broken.setdefault(f"{place} {str(error)[:80]!r}", case)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.signal(signal.SIGPROF, before)
    return tally


def main() -> None:
    """Fuzz as the command line says and print what became of it."""
    parser = argparse.ArgumentParser(description="Read spoilt files.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that break reading")
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        tally = run(given.cases, given.seed, Path(folder))
    for number, (place, case) in enumerate(tally.broken.items()):
        print(f"BROKEN {place}: {case.kind} {case.options} {case.file.name} {case.file.content[:300]!r}")
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{given.seed}-{number}-{case.file.name}").write_bytes(case.file.content)
            said = {"place": place, "kind": case.kind, "options": case.options}
            (given.keep / f"{given.seed}-{number}.json").write_text(json.dumps(said))
    print(
        f"{tally.cases} cases, seed {given.seed}, {time.monotonic() - start:.0f} s: {tally.read} read "
        f"({tally.rows} rows, {tally.records} records), {tally.refused} refused, {len(tally.broken)} broken"
    )
    print("formats", dict(tally.formats.most_common()))
    print("left out", dict(tally.dropped.most_common()))


if __name__ == "__main__":
    main()
