"""How fast pairs are read and checked, and in how much memory, by number of rows and kind of file.

    python -m benchmarks.reading                                  # 10^4 and 10^5 pairs of 1 KB
    python -m benchmarks.reading --rows 10000 100000 1000000 --save
    python -m benchmarks.reading --forms lines gzip --repeats 5

Each measurement is a fresh process that reads a file from its first row to its last with `iter_rows` and keeps none of
them. It prints seconds of the wall clock and of the processor (the median of the repeats, with the smallest and the
largest), rows a second, and the highest resident memory before the file was opened and at the end. The growth exponent
is the slope of log seconds of the processor over log rows: 1 is linear.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
LINE_BYTES = 1024
WORDS = 4000


def pairs(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Pairs whose line of JSON is about 1 KB: invented words, with a few letters beyond ASCII and escapes."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnoprstuvwyz" * 20 + "éüñ漢"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(WORDS)]
    phrases = [" ".join(rng.choices(words, k=12)) + rng.choice((".", ".\n", "?", '"')) for _ in range(WORDS)]
    for index in range(count):
        texts = [" ".join(rng.choices(phrases, k=k)) for k in (3, 5, 5)]
        texts[2] = texts[2][: max(100, LINE_BYTES - 100 - len(texts[0]) - len(texts[1]))]
        yield {
            "id": f"pair-{index}",
            **dict(zip(("prompt", "chosen", "rejected"), texts, strict=True)),
            "category": "billing",
        }


def as_dialogues(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same pairs as conversations: a system turn, two exchanges, and lists of messages for the replies."""
    for row in rows:
        said, half = row["prompt"], len(row["prompt"]) // 2
        turns = [
            ("system", "Be brief."),
            ("user", said[:half]),
            ("assistant", "Yes?"),
            ("user", said[half:] + "?"),
        ]
        yield {
            "prompt": [{"role": role, "content": content} for role, content in turns],
            **{key: [{"role": "assistant", "content": row[key]}] for key in ("chosen", "rejected")},
            "id": row["id"],
        }


def _lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _gzip(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _array(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        file.writelines(("," if index else "") + json.dumps(row) for index, row in enumerate(rows))
        file.write("]")


def _parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = pa.Table.from_pylist(list(islice(rows, 10_000)))
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        while part := list(islice(rows, 10_000)):
            writer.write_table(pa.Table.from_pylist(part, schema=first.schema))


def _dialogues(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    _lines(path, as_dialogues(rows))


def _csv(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ("id", "prompt", "chosen", "rejected", "category"))
        table.writeheader()
        table.writerows(rows)


FORMS: dict[str, tuple[str, Callable[[Path, Iterator[dict[str, Any]]], None]]] = {
    "lines": ("pairs.jsonl", _lines),
    "gzip": ("pairs.jsonl.gz", _gzip),
    "parquet": ("pairs.parquet", _parquet),
    "array": ("pairs.json", _array),
    "csv": ("pairs.csv", _csv),
    "dialogues": ("dialogues.jsonl", _dialogues),
}

# What a child process runs: it prints what it saw as one JSON object.
_CHILD = """
import json, re, sys, time
from simpo.data.read import iter_rows
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024
before, wall, cpu = peak(), time.perf_counter(), time.process_time()
stream = iter_rows(sys.argv[1])
for row in stream:
    pass
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "before": before,
                  "peak": peak(), "records": stream.num_records, "dropped": stream.num_dropped}))
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One kind of file at one size: seconds as (median, smallest, largest), bytes as the largest of the repeats."""

    form: str
    rows: int
    file_bytes: int
    wall_s: tuple[float, float, float]
    cpu_s: tuple[float, float, float]
    rows_per_s: float
    start_bytes: int
    peak_bytes: int


def measure(form: str, rows: int, folder: Path, repeats: int) -> Figures:
    """Write a file of so many pairs, read it in fresh processes, and remove it."""
    name, write = FORMS[form]
    path = folder / name
    write(path, pairs(rows))
    size = path.stat().st_size
    seen = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True
        )
        seen.append(json.loads(done.stdout))
        if (seen[-1]["records"], seen[-1]["dropped"]) != (rows, 0):
            raise SystemExit(f"{form}: {seen[-1]['records']} of {rows} pairs were read")
    path.unlink()
    wall, cpu = (sorted(one[key] for one in seen) for key in ("wall", "cpu"))
    return Figures(
        form,
        rows,
        size,
        (median(wall), wall[0], wall[-1]),
        (median(cpu), cpu[0], cpu[-1]),
        rows / median(wall),
        max(one["before"] for one in seen),
        max(one["peak"] for one in seen),
    )


def exponent(figures: Sequence[Figures]) -> float | None:
    """The slope of log processor seconds over log rows by least squares; None for fewer than two sizes."""
    points = [(math.log(one.rows), math.log(one.cpu_s[0])) for one in figures]
    if len(points) < 2:
        return None
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points))


def table(figures: Sequence[Figures]) -> str:
    """One line a measurement, as text."""
    lines = [
        "form        rows       MB  wall s (min to max)      cpu s (min to max)       rows/s  MiB before, peak"
    ]
    for one in figures:
        wall, cpu = (f"{mid:.2f} ({low:.2f} to {high:.2f})" for mid, low, high in (one.wall_s, one.cpu_s))
        lines.append(
            f"{one.form:<10} {one.rows:>8,} {one.file_bytes / 1e6:>7.0f}  {wall:<23}  {cpu:<23}"
            f"{one.rows_per_s:>8,.0f}  {one.start_bytes / 2**20:.0f}, {one.peak_bytes / 2**20:.0f}"
        )
    return "\n".join(lines)


def result(figures: Sequence[Figures], repeats: int) -> dict[str, Any]:
    """Everything that was measured, on what machine, when and by which command."""
    from simpo.runs.machine import code_version, machine

    growth = {
        form: exponent([one for one in figures if one.form == form]) for form in {one.form for one in figures}
    }
    return {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.reading {' '.join(sys.argv[1:])}".strip(),
        "machine": machine(),
        "load_average": list(os.getloadavg()),
        "code_version": code_version(),
        "repeats": repeats,
        "growth_exponents": dict(sorted(growth.items())),
        "figures": [asdict(one) for one in figures],
    }


def main() -> None:
    """Measure what the command line names, print it, and keep it where asked."""
    parser = argparse.ArgumentParser(description="How fast pairs are read, and in how much memory.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/reading-<date>-<machine>.json")
    given = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for form in given.forms:
            for rows in given.rows:
                figures.append(measure(form, rows, Path(folder), given.repeats))
                print(table(figures[-1:]).splitlines()[1], file=sys.stderr, flush=True)
    found = result(figures, given.repeats)
    print(table(figures))
    print(
        "growth exponents:",
        {form: round(slope, 3) for form, slope in found["growth_exponents"].items() if slope},
    )
    if given.save:
        cpu = re.sub(r"[^a-z0-9]+", "-", str(found["machine"]["cpu"]).lower()).strip("-")
        path = RESULTS / f"reading-{time.strftime('%Y-%m-%d')}-{cpu}-{found['machine']['cores']}-cores.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
