"""The checks of texts in a process of their own, which reads the same files: for files so large that it pays.

Every check needs every pair in reading order, and handing pairs from one process to another costs more than reading
them again. So the files are read twice at the same time, by half of the checks each.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from simpo.audit.findings import Finding
from simpo.audit.texts.check import TextChecks
from simpo.data.read import Spec, iter_rows
from simpo.errors import DataError, RunFailed, SimpoError
from simpo.records import Pair
from simpo.runs.memory import peak_resident_bytes

WORTH_IT_BYTES = 64 << 20  # from here on the second process wins more than its start and its reading cost


def worth_it(files: tuple[Path, ...]) -> bool:
    """Whether a second process pays: only files, which can be read twice, large ones, and two cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cores < 2 or not all(map(_can_be_read_twice, files)):
        return False
    return sum(path.stat().st_size for path in files) >= WORTH_IT_BYTES


def _can_be_read_twice(path: Path) -> bool:
    # /dev/stdin is another thing in another process.
    return path.is_file() and not str(path).startswith(("/dev/", "/proc/"))


class Beside:
    """The checks of texts at work in another process; as a context, so that it ends with this one.

    hashes: of the files as that process read them; peak_memory_bytes: the most it held. Both are there once `findings`
    was called.
    """

    def __init__(self, spec: Spec, reading: Mapping[str, Any]) -> None:
        self.hashes: dict[Path, str] = {}
        self.peak_memory_bytes = 0
        with tempfile.TemporaryFile() as request:
            request.write(pickle.dumps((spec, dict(reading))))
            request.seek(0)
            # A session of its own: an interrupt is for the first process, which then ends this one.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "simpo.audit.beside"],
                stdin=request,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:  # which closes its pipe and waits for its end
            if process.poll() is None:
                process.kill()

    def findings(self, hashes: Mapping[Path, str]) -> list[Finding]:
        """What was found there. hashes: of the files as this process read them, which must be the same.

        Raises `RunFailed` where the process ended early, `DataError` where a file changed meanwhile.
        """
        answer, _ = self._process.communicate()
        if self._process.returncode != 0:
            status = self._process.returncode
            raise RunFailed(f"the process that checks the texts ended with status {status}")
        self.hashes, self.peak_memory_bytes, found = pickle.loads(answer)
        for path, digest in hashes.items():
            if self.hashes.get(path) != digest:
                raise DataError("the file changed while it was read", where=str(path), fix="audit it again")
        return list(found)


def main() -> int:
    """The other process: reading and checks as told on stdin, hashes and findings pickled to stdout."""
    spec, reading = pickle.loads(sys.stdin.buffer.read())
    checks, number = TextChecks(), 0
    try:
        stream = iter_rows(spec, **reading)
        for row in stream:
            if isinstance(row, Pair):
                checks.see(number, row)
                number += 1
    except SimpoError as error:
        return error.exit_status  # the first process meets it too, and says it
    found = checks.findings() if number else []
    sys.stdout.buffer.write(pickle.dumps((stream.hashes, peak_resident_bytes(), found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
