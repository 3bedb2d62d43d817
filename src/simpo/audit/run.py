"""`audit`: every pair of some files, read once and shown to every check; what they found, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from simpo.audit.beside import Beside, worth_it
from simpo.audit.copies.check import Repeats
from simpo.audit.findings import SEVERITIES, Check, Finding, Witness
from simpo.audit.labels.check import Labels
from simpo.audit.labels.model_scores import model_scorer
from simpo.audit.leakage.check import Leakage
from simpo.audit.methods import suited
from simpo.audit.reading import Identity, LeftOut, files_read
from simpo.audit.result import Audit, Facts
from simpo.audit.texts.check import TextChecks
from simpo.audit.verdict import judge
from simpo.audit.voting.check import Reliability
from simpo.data.read import RowStream, Spec, iter_rows
from simpo.data.shapes import Pairing
from simpo.errors import DataError, RecipeError
from simpo.records import Dropped, Pair
from simpo.runs.memory import peak_resident_bytes

MAX_TEXT, MAX_END = 1200, 400  # characters of each text of an example, and of these at its end
PROGRESS_EVERY = 1000  # rows

Progress = Callable[[int], None]
Scored = Callable[[int, int], None]


@runtime_checkable
class SeesDropped(Protocol):
    """A check that also wants the rows that were left out: ties carry votes."""

    def see_dropped(self, row: Dropped) -> None:
        """Take in a row that gave no pair."""
        ...


def audit(
    spec: Spec,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    pairing: Pairing = "best_worst",
    min_margin: float = 0.0,
    limit: int | None = None,
    held_out: Spec = (),
    benchmark: Spec = (),
    model: str | None = None,
    max_length: int | None = None,
    score_labels: bool = False,
    beside: bool | None = False,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> Audit:
    """Read some files of pairs once, show each pair to every check, and judge whether they are fit to train on.

    The options of reading are those of `simpo.data.read.iter_rows`. held_out: files of pairs the model is measured on;
    benchmark: files of questions. model: a folder, a run or a hub id in whose tokens the pairs are measured, against
    max_length and the model's own limit; with score_labels it also scores the replies of at most 5,000 pairs, which
    takes minutes to hours, so that suspected labels rest on more than words. beside: check the texts in a second
    process, which finds the same; None for where it pays (see `simpo.audit.beside`). progress is called now and then
    with the number of rows read so far, scored with pairs scored and pairs to score. Memory grows by some hundred bytes
    a pair for what the checks keep, and by nothing else.

    Raises `DataError` for files that cannot be read and where they hold no row, `RecipeError` for an option that is
    none. Rows that cannot be used are findings, however many they are.
    """
    began = time.monotonic()
    reading: dict[str, Any] = {
        "format": format,
        "columns": dict(columns) if columns else None,
        "pairing": pairing,
        "min_margin": min_margin,
        "limit": limit,
    }
    stream = iter_rows(spec, **reading)
    checks = _checks(held_out, benchmark, model, max_length, _labels(model, score_labels, scored))
    with ExitStack() as stack:
        aside: Beside | None = None
        if beside or (beside is None and limit is None and worth_it(stream.files)):
            aside = stack.enter_context(Beside(spec, reading))
        else:
            checks.append(TextChecks())
        facts, found = _seen(stream, checks, progress)
        found += [] if aside is None or not facts.pairs else aside.findings(stream.hashes)
    settings = {
        **reading,
        "columns": reading["columns"] or {},
        "held_out": _named(held_out),
        "benchmark": _named(benchmark),
        "model": model,
        "max_length": max_length,
        "score_labels": score_labels,
    }
    peak = peak_resident_bytes() + (aside.peak_memory_bytes if aside else 0)
    return _judged(facts, in_order(found), settings, time.monotonic() - began, peak)


def _judged(
    facts: Facts, findings: tuple[Finding, ...], settings: Mapping[str, Any], seconds: float, peak: int
) -> Audit:
    return Audit(
        data=facts,
        settings=settings,
        findings=findings,
        verdict=judge(findings, facts.pairs, facts.prompts, facts.rows_read),
        methods=suited(findings, facts.pairs, facts.prompts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        peak_memory_bytes=peak,
    )


def _checks(
    held_out: Spec, benchmark: Spec, model: str | None, max_length: int | None, labels: Labels
) -> list[Check]:
    checks: list[Check] = [Repeats(), Reliability(), labels]
    if held_out or benchmark:
        checks.append(Leakage(held_out, benchmark))
    if model is not None:
        # A tokenizer is slow to import, and rarely asked for.
        from simpo.audit.texts.token_lengths import DEFAULT_LENGTH, TokenLengths

        checks.append(TokenLengths.of_model(model, max_length=max_length or DEFAULT_LENGTH))
    elif max_length is not None:
        raise RecipeError("max_length has no effect without a model", fix="name the model whose tokens count")
    return checks


def _labels(model: str | None, score_labels: bool, scored: Scored | None) -> Labels:
    if not score_labels:
        return Labels()
    if model is None:
        raise RecipeError("labels are scored by a model", fix="name it with --model")
    return Labels(model=model_scorer(model, progress=scored))


def _seen(
    stream: RowStream, checks: Sequence[Check], progress: Progress | None
) -> tuple[Facts, list[Finding]]:
    """What was read, and what the checks found in it."""
    left_out, identity, number = LeftOut(), Identity(), 0
    curious = [check for check in checks if isinstance(check, SeesDropped)]
    for index, row in enumerate(stream, 1):
        if isinstance(row, Dropped):
            left_out.see(row)
            for one in curious:
                one.see_dropped(row)
        elif isinstance(row, Pair):
            identity.see(row)
            for check in checks:
                check.see(number, row)
            number += 1
        if progress is not None and index % PROGRESS_EVERY == 0:
            progress(stream.num_rows)
    if not stream.num_rows:
        raise DataError("the file holds no rows", where=stream.name)
    facts = Facts(
        name=stream.name,
        format=", ".join(dict.fromkeys(stream.formats)),
        files=files_read(stream),
        rows_read=stream.num_rows,
        pairs=number,
        prompts=identity.num_prompts(),
        dropped=dict(sorted(left_out.counts.items())),
        hash=identity.hash(),
    )
    found = [finding for check in checks for finding in check.findings()] if number else []
    return facts, [*left_out.findings(stream.num_rows), *found]


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


def _named(spec: Spec) -> list[str]:
    return [str(one) for one in ([spec] if not isinstance(spec, Sequence) or isinstance(spec, str) else spec)]
