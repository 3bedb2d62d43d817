"""`audit`: every pair of some files, read once and shown to every check; what they found, and what follows from it."""

from __future__ import annotations

import hashlib
import sys
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

import simpo
from simpo.audit.encoding import Encoding
from simpo.audit.findings import MAX_EXAMPLES, SEVERITIES, Check, Finding, Witness
from simpo.audit.kinds import percent
from simpo.audit.language import Language
from simpo.audit.phrases import Openings, Phrases
from simpo.audit.privacy import Privacy
from simpo.audit.structure import Structure
from simpo.audit.templates import Templates
from simpo.audit.truncation import Truncation
from simpo.audit.verdict import Method, Verdict, judge, suited
from simpo.audit.view import TextCheck, view_of
from simpo.data.read import RowStream, Spec, iter_rows
from simpo.data.reasons import NO_PAIR, REASONS
from simpo.data.shapes import Pairing
from simpo.errors import DataError
from simpo.records import Dropped, Pair

MAX_TEXT, MAX_END = 1200, 400  # characters of each text of an example, and of these at its end
PROGRESS_EVERY = 1000  # rows

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read: names, counts, and the hash of the pairs (independent of their order and of the file's format)."""

    name: str
    format: str
    files: tuple[Mapping[str, Any], ...]
    rows_read: int
    pairs: int
    prompts: int
    dropped: Mapping[str, int]
    hash: str

    def to_json(self) -> dict[str, Any]:
        """The facts as audit.json has them under `data`."""
        return {
            "name": self.name,
            "format": self.format,
            "files": [dict(file) for file in self.files],
            "rows_read": self.rows_read,
            "pairs": self.pairs,
            "prompts": self.prompts,
            "dropped": dict(self.dropped),
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """All that is known of some files of pairs: what was read and found, the verdict, and which method suits."""

    data: Facts
    settings: Mapping[str, Any]
    findings: tuple[Finding, ...]
    verdict: Verdict
    methods: tuple[Method, ...]
    created: str
    seconds: float
    peak_memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """audit.json, schema 1: everything but the row numbers."""
        return {
            "schema": 1,
            "created": self.created,
            "simpo_version": simpo.__version__,
            "data": self.data.to_json(),
            "settings": dict(self.settings),
            "verdict": self.verdict.to_json(),
            "methods": [method.to_json() for method in self.methods],
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
        }


class TextChecks:
    """The checks that look at texts, with the view of each pair made once for all of them."""

    def __init__(self, checks: Iterable[TextCheck] | None = None) -> None:
        self._checks: list[TextCheck] = (
            [Structure(), Encoding(), Templates(), Privacy(), Language(), Truncation(), Phrases(), Openings()]
            if checks is None
            else list(checks)
        )
        self._seen = 0

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self._seen += 1
        view = view_of(pair)
        for check in self._checks:
            check.look(number, pair, view)

    def findings(self) -> list[Finding]:
        """What was found."""
        return [finding for check in self._checks for finding in check.findings(self._seen)]


class _LeftOut:
    """The rows that the reader left out, by reason, with the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, list[Dropped]] = defaultdict(list)

    def see(self, row: Dropped) -> None:
        self.counts[row.reason] += 1
        if len(self._first[row.reason]) < MAX_EXAMPLES:
            self._first[row.reason].append(row)

    def findings(self, rows_read: int) -> list[Finding]:
        return [
            _left_out(reason, count, rows_read, self._first[reason]) for reason, count in self.counts.items()
        ]


def _left_out(reason: str, count: int, rows_read: int, first: Sequence[Dropped]) -> Finding:
    no_pair = reason in NO_PAIR
    of = max(rows_read, count)
    sentence = REASONS[reason].rstrip(".")
    action = (
        "Nothing: such rows make no pair and are left out of any training."
        if no_pair
        else "Mend the rows where they come from; a build leaves them out and counts them."
    )
    return Finding(
        reason,
        "note" if no_pair else "error",
        f"{count:,} of {of:,} rows ({percent(count / of)}) were left out: {sentence}.",
        action,
        count,
        of,
        "rows",
        tuple(Witness(row.source, row.detail) for row in first),
        repair=None if no_pair else "drop",
    )


class _Identity:
    """The hash of all pairs and how many prompts there are, in 16 bytes a pair."""

    def __init__(self) -> None:
        self._pairs, self._prompts = array("Q"), array("Q")

    def see(self, pair: Pair) -> None:
        self._pairs.append(int(pair.id, 16))
        self._prompts.append(int(pair.prompt_id, 16))

    def num_prompts(self) -> int:
        return len(np.unique(np.frombuffer(self._prompts, dtype=np.uint64))) if self._prompts else 0

    def hash(self) -> str:
        """As `Dataset.hash`: sha256 over the sorted ids."""
        digest = hashlib.sha256()
        ids = np.sort(np.frombuffer(self._pairs, dtype=np.uint64)) if self._pairs else np.empty(0, np.uint64)
        for start in range(0, len(ids), 65536):
            digest.update(
                "".join(f"{number:016x}" for number in ids[start : start + 65536].tolist()).encode()
            )
        return digest.hexdigest()


def audit(
    spec: Spec,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    pairing: Pairing = "best_worst",
    min_margin: float = 0.0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Read some files of pairs once, show each pair to every check, and judge whether they are fit to train on.

    The options of reading are those of `simpo.data.read.iter_rows`. progress is called now and then with the number of
    rows read so far. Memory grows by some tens of bytes a pair for what the checks keep, and by nothing else.

    Raises `DataError` for files that cannot be read and where they hold no row, `RecipeError` for an option that is
    none. Rows that cannot be used are findings, however many they are.
    """
    began = time.monotonic()
    stream = iter_rows(
        spec, limit=limit, format=format, columns=columns, pairing=pairing, min_margin=min_margin
    )
    checks: list[Check] = [TextChecks()]
    left_out, identity = _LeftOut(), _Identity()
    _show(stream, checks, left_out, identity, progress)
    if not stream.num_rows:
        raise DataError("the file holds no rows", where=stream.name)
    facts = Facts(
        name=stream.name,
        format=", ".join(dict.fromkeys(stream.formats)),
        files=_files(stream),
        rows_read=stream.num_rows,
        pairs=stream.num_records,
        prompts=identity.num_prompts(),
        dropped=dict(sorted(left_out.counts.items())),
        hash=identity.hash(),
    )
    listed = [finding for check in checks for finding in check.findings()] if stream.num_records else []
    findings = in_order([*left_out.findings(stream.num_rows), *listed])
    settings = {
        "format": format,
        "columns": dict(columns or {}),
        "pairing": pairing,
        "min_margin": min_margin,
        "limit": limit,
    }
    return Audit(
        data=facts,
        settings=settings,
        findings=findings,
        verdict=judge(findings, facts.pairs, facts.prompts, facts.rows_read),
        methods=suited(findings, facts.pairs, facts.prompts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 3),
        peak_memory_bytes=_peak_memory(),
    )


def _show(
    stream: RowStream,
    checks: Sequence[Check],
    left_out: _LeftOut,
    identity: _Identity,
    progress: Progress | None,
) -> None:
    number = 0
    for index, row in enumerate(stream, 1):
        if isinstance(row, Dropped):
            left_out.see(row)
        elif isinstance(row, Pair):
            identity.see(row)
            for check in checks:
                check.see(number, row)
            number += 1
        if progress is not None and index % PROGRESS_EVERY == 0:
            progress(stream.num_rows)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, warnings, notes; in each the largest share first. Texts of examples are cut."""
    ordered = sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), -found.share, found.kind))
    return tuple(replace(finding, examples=tuple(map(_cut, finding.examples))) for finding in ordered)


def _cut(example: Witness) -> Witness:
    return replace(
        example,
        prompt=_shortened(example.prompt),
        chosen=_shortened(example.chosen),
        rejected=_shortened(example.rejected),
    )


def _shortened(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_TEXT:
        return text
    return f"{text[: MAX_TEXT - MAX_END]}\n[...]\n{text[-MAX_END:]}"


def _files(stream: RowStream) -> tuple[Mapping[str, Any], ...]:
    """Each source that was opened; a file that a limit left half read has no hash, and neither has a hub id."""
    hashes = {str(path): digest for path, digest in stream.hashes.items()}
    return tuple(
        {"path": name, "sha256": hashes.get(name), "rows": rows}
        for name, rows in stream.rows_by_source().items()
    )


def _peak_memory() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
