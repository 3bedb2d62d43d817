"""How long an audit takes, and in how much memory, by number of pairs.

    python -m benchmarks.audit_scale                          # 10^4 and 10^5 pairs of 1 KB
    python -m benchmarks.audit_scale --rows 10000 100000 1000000 --repeats 1 --save

Each measurement is a fresh process that audits one file of JSON lines as `simpo audit` does: reading, texts, copies and
near copies, contradictions, votes. A fiftieth of the pairs comes twice, a fiftieth again with a word changed. What is
printed is explained in benchmarks.reading; beside the growth of the time the memory that each further pair takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.reading import RESULTS, Figures, exponent, pairs, table

# What a child process runs: it prints what it saw as one JSON object.
_CHILD = """
import json, re, sys, time
from simpo.audit.run import audit
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024
before, wall, cpu = peak(), time.perf_counter(), time.process_time()
result = audit(sys.argv[1])
counts = {finding.kind: finding.count for finding in result.findings}
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "before": before,
                  "peak": peak(), "pairs": result.data.pairs, "counts": counts}))
"""


def with_copies(count: int) -> Iterator[dict[str, Any]]:
    """`count` pairs of 1 KB, of which one in fifty is a copy of an earlier one and one in fifty nearly so."""
    last: dict[str, Any] = {}
    for number, row in enumerate(pairs(count)):
        if number % 50 == 49:
            yield last
        elif number % 50 == 24:
            yield {**last, "prompt": last["prompt"] + " Thanks", "chosen": last["chosen"] + " Bye"}
        else:
            last = row
            yield row


def measure(rows: int, folder: Path, repeats: int) -> tuple[Figures, dict[str, int]]:
    """Write a file of so many pairs, audit it in fresh processes, and remove it; the figures and what was found."""
    path = folder / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in with_copies(rows))
    size = path.stat().st_size
    seen = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True, check=True
        )
        seen.append(json.loads(done.stdout))
        if seen[-1]["pairs"] != rows:
            raise SystemExit(f"{seen[-1]['pairs']} of {rows} pairs were read")
    path.unlink()
    wall, cpu = (sorted(one[key] for one in seen) for key in ("wall", "cpu"))
    figures = Figures(
        "audit",
        rows,
        size,
        (median(wall), wall[0], wall[-1]),
        (median(cpu), cpu[0], cpu[-1]),
        rows / median(wall),
        max(one["before"] for one in seen),
        max(one["peak"] for one in seen),
    )
    return figures, seen[-1]["counts"]


def bytes_a_pair(figures: Sequence[Figures]) -> float | None:
    """How much the peak grows with each pair from the smallest size to the largest; None for fewer than two sizes."""
    first, last = figures[0], figures[-1]
    return (last.peak_bytes - first.peak_bytes) / (last.rows - first.rows) if last.rows > first.rows else None


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line names, print it, and keep it where asked."""
    parser = argparse.ArgumentParser(description="How long an audit takes, and in how much memory.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/audit-<date>-<machine>.json")
    given = parser.parse_args(argv)
    figures, counts = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(given.rows):
            one, counts[str(rows)] = measure(rows, Path(folder), given.repeats)
            figures.append(one)
            print(table([one]).splitlines()[1], file=sys.stderr, flush=True)
    print(table(figures))
    growth, each = exponent(figures), bytes_a_pair(figures)
    if growth is not None and each is not None:
        print(f"growth exponent {growth:.3f}; {each:,.0f} bytes of memory for each further pair")
    if given.save:
        print(save(figures, counts, given.repeats))


def save(figures: Sequence[Figures], counts: dict[str, dict[str, int]], repeats: int) -> Path:
    """Everything that was measured, on what machine, when and by which command, in a file of results."""
    from simpo.runs.machine import code_version, machine

    here = machine()
    cpu = re.sub(r"[^a-z0-9]+", "-", str(here["cpu"]).lower()).strip("-")
    path = RESULTS / f"audit-{time.strftime('%Y-%m-%d')}-{cpu}-{here['cores']}-cores.json"
    whole = {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.audit_scale {' '.join(sys.argv[1:])}".strip(),
        "machine": here,
        "load_average": list(os.getloadavg()),
        "code_version": code_version(),
        "repeats": repeats,
        "growth_exponent": exponent(figures),
        "bytes_a_pair": bytes_a_pair(figures),
        "figures": [asdict(one) for one in figures],
        "findings": counts,
    }
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
