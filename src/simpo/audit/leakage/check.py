"""What of the held-out files and of benchmarks stands in the data already: prompts, the same or nearly, and answers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simpo.audit.copies.prompts import Asked, asked, text_key
from simpo.audit.findings import MAX_EXAMPLES, Finding, Severity, Witness
from simpo.audit.kinds import percent
from simpo.audit.leakage.prompt_index import Match, PromptIndex
from simpo.audit.leakage.quotes import Quotes
from simpo.audit.leakage.references import Reference, benchmark_references, held_out_references
from simpo.audit.tally import witness
from simpo.audit.texts.structure import normalised
from simpo.audit.words import counted, part_of
from simpo.core.intervals import wilson
from simpo.data.read import Spec
from simpo.records import Pair, Source

MIN_ANSWER = 40  # characters; "You are welcome!" in two files is no leak
MANY_LEAKED = 0.01  # share of the held-out prompts from which leakage is an error
_AT_ONCE = 512  # pairs looked up together

How = Literal["same", "near", "quoted"]


@dataclass(slots=True)
class Overlap:
    """What was seen of some reference files in the data: which pairs, which references, and the first examples."""

    rows: array[int] = field(default_factory=lambda: array("q"))
    examples: list[Witness] = field(default_factory=list)
    how: dict[How, int] = field(default_factory=lambda: {"same": 0, "near": 0, "quoted": 0})
    hit: dict[int, None] = field(default_factory=dict)

    def add(self, number: int, pair: Pair, reference: int, source: Source, how: How, detail: str) -> None:
        """Note that pair `number` overlaps with a reference."""
        self.rows.append(number)
        self.how[how] += 1
        self.hit[reference] = None
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(witness(pair, detail, other=source))


class _References:
    """The distinct prompts of reference files, and where each stands first."""

    def __init__(self) -> None:
        self.index = PromptIndex()
        self.sources: list[Source] = []

    def add(self, reference: Reference) -> None:
        if self.index.add(reference.asked) == len(self.sources):
            self.sources.append(reference.source)

    def by_file(self, hit: dict[int, None]) -> dict[str, dict[str, int]]:
        """Of each file, how many distinct prompts it is the first to ask, and how many of them were hit."""
        files: dict[str, dict[str, int]] = {}
        for number, source in enumerate(self.sources):
            counts = files.setdefault(source.file, {"prompts": 0, "leaked": 0})
            counts["prompts"] += 1
            counts["leaked"] += number in hit
        return files


class Leakage:
    """Looks up each pair's prompt and chosen answer in held-out files of pairs, and its prompt in benchmark files.

    A prompt leaks where the same or nearly the same one (see `Prompts`) is held out. A benchmark's question leaks where
    what the user says, or says last, is the same or nearly the same, or holds most of it word for word. The reference
    files are read at once and kept in memory as signatures; of the data only what overlaps is kept.

    Raises `DataError` for a reference file that cannot be read or holds nothing to compare with.
    """

    def __init__(self, held_out: Spec = (), benchmark: Spec = ()) -> None:
        self._held_out, self._benchmark = _References(), _References()
        self._answers: dict[int, Source] = {}
        self._both = 0
        self._questions: list[str] = []
        for reference in held_out_references(held_out) if held_out else ():
            self._held_out.add(reference)
            for answer in reference.answers:
                self._add_answer(normalised(answer), reference.source)
        for reference in benchmark_references(benchmark) if benchmark else ():
            known = len(self._benchmark.sources)
            self._benchmark.add(reference)
            if len(self._benchmark.sources) > known:
                self._questions.append(reference.asked.user)
        self._quotes = Quotes(self._questions)
        self._prompts, self._chosen, self._asks = Overlap(), Overlap(), Overlap()
        self._waiting: list[tuple[int, Pair]] = []
        self._seen = 0

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self._seen += 1
        self._waiting.append((number, pair))
        if len(self._waiting) >= _AT_ONCE:
            self._look_up()

    def findings(self) -> list[Finding]:
        """What was found; a note with a count of 0 where nothing was."""
        self._look_up()
        findings = []
        if self._held_out.sources:
            findings.append(self._leaked_prompts())
            if self._chosen.rows:
                findings.append(self._leaked_answers())
        if self._benchmark.sources:
            findings.append(self._benchmark_prompts())
        return findings

    def _add_answer(self, answer: str, source: Source) -> None:
        if len(answer) >= MIN_ANSWER:
            self._answers.setdefault(text_key(answer), source)

    def _look_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        prompts = [asked(pair.prompt, pair.tools) for _, pair in waiting]
        if self._held_out.sources:
            matches = self._held_out.index.match(prompts)
            for (number, pair), found in zip(waiting, matches, strict=True):
                if found:
                    _note(self._prompts, self._held_out, number, pair, found)
                self._look_up_answers(number, pair)
        if self._benchmark.sources:
            self._look_up_questions(waiting, prompts)

    def _look_up_answers(self, number: int, pair: Pair) -> None:
        source = self._answers.get(text_key(normalised(pair.chosen)))
        if source is not None:
            both = self._answers.get(text_key(normalised(pair.rejected))) == source
            self._both += both
            detail = f"{'both answers stand' if both else 'the chosen answer stands'} there too"
            self._chosen.add(number, pair, 0, source, "same", detail)

    def _look_up_questions(self, waiting: Sequence[tuple[int, Pair]], prompts: Sequence[Asked]) -> None:
        index = self._benchmark.index
        whole = index.match([Asked(prompt.user) for prompt in prompts])
        last = index.match([Asked(_said_last(pair)) for _, pair in waiting])
        quoted = self._quotes.quoted([prompt.user for prompt in prompts])
        for (number, pair), by_whole, by_last, quote in zip(waiting, whole, last, quoted, strict=True):
            found = sorted([*by_whole, *by_last], key=lambda match: -match[1])
            if found:
                _note(self._asks, self._benchmark, number, pair, found)
            elif quote is not None:
                at, share = quote
                detail = f"holds {percent(share)} of a question, word for word"
                self._asks.add(number, pair, at, self._benchmark.sources[at], "quoted", detail)

    def _leaked_prompts(self) -> Finding:
        overlap, prompts = self._prompts, len(self._held_out.sources)
        share = len(overlap.hit) / prompts
        severity: Severity = "error" if share >= MANY_LEAKED else "warning" if overlap.hit else "note"
        title = (
            f"{part_of(len(overlap.hit), prompts, 'held-out prompts')} in the data, the same or nearly the same, in "
            f"{counted(len(overlap.rows), 'pairs')}."
            if overlap.hit
            else f"None of {prompts:,} held-out prompts is in the data, nor nearly."
        )
        action = (
            "Drop these pairs from the training data: what is measured on a prompt that was trained on is memory."
            if overlap.hit
            else "Nothing."
        )
        return self._finding("leaked_prompt", severity, title, action, overlap, self._held_out)

    def _leaked_answers(self) -> Finding:
        rows = np.array(self._chosen.rows, dtype=np.int64)
        return Finding(
            "leaked_answer",
            "warning" if self._both else "note",
            f"{part_of(len(rows), self._seen, 'pairs', 'have')} a chosen answer of "
            f"{MIN_ANSWER} characters or more that stands in the held-out files; in {self._both:,} the rejected one "
            "stands beside it.",
            "Where both answers stand there, the prompt is likely the same in other words: keep such pairs apart. "
            "A single answer may be a stock one.",
            len(rows),
            self._seen,
            examples=tuple(self._chosen.examples),
            rows=rows,
            figures={"both": self._both},
        )

    def _benchmark_prompts(self) -> Finding:
        overlap, prompts = self._asks, len(self._benchmark.sources)
        title = (
            f"{part_of(len(overlap.hit), prompts, 'benchmark questions')} in the prompts of "
            f"{counted(len(overlap.rows), 'pairs')}."
            if overlap.hit
            else f"None of {prompts:,} benchmark questions is in the prompts."
        )
        action = "Drop these pairs, or do not report that benchmark." if overlap.hit else "Nothing."
        severity: Severity = "warning" if overlap.hit else "note"
        return self._finding("benchmark_prompt", severity, title, action, overlap, self._benchmark)

    def _finding(
        self,
        kind: str,
        severity: Severity,
        title: str,
        action: str,
        overlap: Overlap,
        references: _References,
    ) -> Finding:
        prompts = len(references.sources)
        figures: dict[str, Any] = {
            "prompts": prompts,
            "leaked": wilson(len(overlap.hit), prompts).to_json(),
            "pairs": dict(overlap.how),
            "files": references.by_file(overlap.hit),
        }
        return Finding(
            kind,
            severity,
            title,
            action,
            len(overlap.rows),
            self._seen,
            examples=tuple(overlap.examples),
            rows=np.array(overlap.rows, dtype=np.int64),
            repair="drop" if overlap.rows else None,
            figures=figures,
        )


def _note(overlap: Overlap, references: _References, number: int, pair: Pair, found: Sequence[Match]) -> None:
    """Note what a prompt matches, the best match first."""
    at, alike = found[0]
    same = alike == 1.0
    detail = "the same prompt" if same else f"nearly the same prompt ({percent(alike)} alike)"
    overlap.add(number, pair, at, references.sources[at], "same" if same else "near", detail)
    overlap.hit.update(dict.fromkeys(number for number, _ in found))


def _said_last(pair: Pair) -> str:
    users = [turn.content for turn in pair.prompt if turn.role == "user"]
    return normalised(users[-1]) if users else ""
