"""What an audit keeps of the reading itself: the rows that were left out, and the identity of the pairs."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from simpo.audit.findings import MAX_EXAMPLES, Finding, Severity, Witness
from simpo.audit.kinds import percent
from simpo.data.read import RowStream
from simpo.data.reasons import NO_PAIR, REASONS
from simpo.records import Dropped, Pair

MANY_LEFT_OUT = 0.1  # of the rows: more that make no pair than this are worth a warning
_IDS_AT_ONCE = 65536


class LeftOut:
    """The rows, and the turns and answers of rows, that gave no pair, by reason, with the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, list[Dropped]] = defaultdict(list)

    def see(self, row: Dropped) -> None:
        """Take in what was left out."""
        self.counts[row.reason] += 1
        if len(self._first[row.reason]) < MAX_EXAMPLES:
            self._first[row.reason].append(row)

    def findings(self, rows_read: int) -> list[Finding]:
        """One finding a reason."""
        return [
            _left_out(reason, count, max(rows_read, count), self._first[reason])
            for reason, count in self.counts.items()
        ]


def _left_out(reason: str, count: int, of: int, first: Sequence[Dropped]) -> Finding:
    examples = tuple(Witness(row.source, row.detail) for row in first)
    title = f"{count:,} of {of:,} rows ({percent(count / of)}) were left out: {REASONS[reason]}."
    if reason in NO_PAIR:
        severity: Severity = "warning" if count > MANY_LEFT_OUT * of else "note"
        action = "Nothing is wrong with such rows, but they make no pair; look at why there are so many if there are."
        return Finding(reason, severity, title, action, count, of, "rows", examples)
    action = "Mend the rows where they come from; a build leaves them out and counts them."
    return Finding(reason, "error", title, action, count, of, "rows", examples, repair="drop")


class Identity:
    """The hash of all pairs and how many prompts there are, in 16 bytes a pair."""

    def __init__(self) -> None:
        self._pairs, self._prompts = array("Q"), array("Q")

    def see(self, pair: Pair) -> None:
        """Take in a pair."""
        self._pairs.append(int(pair.id, 16))
        self._prompts.append(int(pair.prompt_id, 16))

    def num_prompts(self) -> int:
        """How many different prompts there are."""
        return len(np.unique(np.array(self._prompts, dtype=np.uint64)))

    def hash(self) -> str:
        """As `Dataset.hash`: sha256 over the sorted ids."""
        ids = np.sort(np.array(self._pairs, dtype=np.uint64))
        digest = hashlib.sha256()
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = ids[start : start + _IDS_AT_ONCE].tolist()
            digest.update("".join(f"{number:016x}" for number in part).encode())
        return digest.hexdigest()


def files_read(stream: RowStream) -> tuple[dict[str, Any], ...]:
    """Each source that was opened: path, sha256 where it was read to its end, rows, and why which format was taken."""
    hashes = {str(path): digest for path, digest in stream.hashes.items()}
    return tuple(
        {"path": name, "sha256": hashes.get(name), "rows": rows, "read_as": why}
        for (name, rows), why in zip(stream.rows_by_source().items(), stream.explanations, strict=True)
    )
