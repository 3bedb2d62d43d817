"""Bytes that are bred for what they reach in the reader, by atheris (which is not installed with the tests).

    python -m tests.data.fuzz_guided -runs=200000 -max_len=4096 -seed=1 SEEDS

The first bytes of an input say how the rest is named and read. SEEDS, where it is an empty folder, is filled with the
seeds of `tests.data.fuzz`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["simpo.data", "simpo.records"]):
    from simpo.data.pairing import PAIRINGS
    from tests.data.fuzz import NAMES, Case, Tally, check, seed_files, seed_rows
    from tests.data.mutations import Spoilt

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".gz")
TALLY = Tally()


def case_of(data: bytes) -> Case:
    """A case by four bytes that choose and the file's own."""
    how, which, pairing, suffix = data[:4].ljust(4, b"\0")
    kind, name = NAMES[which % len(NAMES)]
    options = {"format": name} if how & 1 else {}
    options["pairing"] = PAIRINGS[pairing % len(PAIRINGS)]
    return Case(Spoilt(f"f{SUFFIXES[suffix % len(SUFFIXES)]}", data[4:]), kind, options)


def main() -> None:
    """Fuzz until the runs that were asked for are over; ends with what it cannot accept."""
    folders = [Path(given) for given in sys.argv[1:] if not given.startswith("-")]
    if folders and not list(folders[0].iterdir()):
        for index, content in enumerate(seed_files(seed_rows())):
            (folders[0] / str(index)).write_bytes(b"\0\0\0\0" + content)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        atheris.Setup(sys.argv, lambda data: check(case_of(data), Path(folder), TALLY))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
