"""What `simpo audit` finds of the defects that were planted into Harbor's preferences: recall and precision by kind.

    python -m benchmarks.audit_truth                          # full size, seed 0
    python -m benchmarks.audit_truth --seeds 3 --json
    python -m benchmarks.audit_truth --data DIR               # a folder that examples.harbor.generate wrote

A planted row is found where it, or the row that it was made from, is among the rows of a finding that is meant for its
kind. A flagged row is right where it was planted with that kind or is the row that one was made from; other rows may be
wrong too (annotators err), so precision is a lower bound. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simpo.audit.run import audit
from simpo.core.intervals import wilson
from simpo.data.read import iter_rows
from simpo.records import Dropped, Pair

PAIRS, TRUTH = "pairs_train.jsonl", "truth.jsonl"

# For each planted kind the findings that are meant for it; their kinds are those of audit.json.
MEANT: Mapping[str, tuple[str, ...]] = {
    "exact_duplicate": ("exact_duplicate",),
    "near_duplicate": ("near_duplicate", "normalised_duplicate"),
    "contradiction": ("contradiction",),
    "chosen_equals_rejected": ("identical",),
    # Mirrored rows that only the content gives away, suspected and never certain: benchmarks.label_truth says more.
    "flipped": ("suspected_flip",),
    # Replies as good as each other: `agreement` counts the items on which annotators split, and names none of them.
    "tie": (),
}


@dataclass(frozen=True, slots=True)
class Score:
    """How well one planted kind is found: `found` of `planted` rows, and `right` of `flagged` rows."""

    kind: str
    findings: tuple[str, ...]
    planted: int
    found: int
    flagged: int
    right: int

    def line(self) -> str:
        """One row of the table."""
        recall, precision = _share(self.found, self.planted), _share(self.right, self.flagged)
        return (
            f"{self.kind:<24}{self.planted:>8,}{self.found:>8,}  {recall:<22}"
            f"{self.flagged:>8,}{self.right:>8,}  {precision}"
        )


HEADING = f"{'planted':<24}{'rows':>8}{'found':>8}  {'recall':<22}{'flagged':>8}{'right':>8}  precision"


def _share(part: int, whole: int) -> str:
    if not whole:
        return "-"
    interval = wilson(part, whole)
    return f"{interval.value:6.1%} ({interval.low:.1%} to {interval.high:.1%})"


def measure(folder: Path) -> list[Score]:
    """Audit the training pairs of a Harbor folder and compare with its truth."""
    flagged = flagged_ids(folder / PAIRS)
    truth = [json.loads(line) for line in (folder / TRUTH).read_text(encoding="utf-8").splitlines()]
    return [score(kind, findings, truth, flagged) for kind, findings in MEANT.items()]


def flagged_ids(path: Path) -> dict[str, set[str]]:
    """By kind of finding, the ids of the rows that the audit flags, and of those that it left out for a reason."""
    ids: list[str] = []
    by_kind: dict[str, set[str]] = {}
    names = [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]
    for row in iter_rows(path):
        if isinstance(row, Dropped):
            by_kind.setdefault(row.reason, set()).add(names[row.source.line - 1])
        elif isinstance(row, Pair):
            ids.append(names[row.source.line - 1])
    for finding in audit(path).findings:
        if finding.unit == "pairs":
            by_kind[finding.kind] = {ids[number] for number in finding.rows.tolist()}
    return by_kind


def score(
    kind: str,
    findings: tuple[str, ...],
    truth: Iterable[Mapping[str, Any]],
    flagged: Mapping[str, set[str]],
) -> Score:
    """Recall and precision of one planted kind."""
    planted = [{name for name in (row["id"], row["of"]) if name} for row in truth if row["kind"] == kind]
    named = set().union(*(flagged.get(finding, set()) for finding in findings))
    concerned = set().union(*planted)
    found = sum(bool(names & named) for names in planted)
    return Score(kind, findings, len(planted), found, len(named), len(named & concerned))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="a folder of examples.harbor.generate; made anew without it"
    )
    parser.add_argument(
        "--pairs", type=int, default=12000, help="preference rows to generate (default 12000)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many data sets to generate, from seed 0 on")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    results = {}
    if options.data is not None:
        results[str(options.data)] = measure(options.data)
    else:
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                results[f"seed {seed}"] = measure(generated(Path(folder), seed, options.pairs))
    if options.json:
        print(
            json.dumps(
                {name: [asdict(score) for score in scores] for name, scores in results.items()}, indent=1
            )
        )
        return
    for name, scores in results.items():
        print(f"{name}\n{HEADING}")
        for line in scores:
            print(line.line())


def generated(folder: Path, seed: int, pairs: int) -> Path:
    """Harbor's preferences with their defects, written to `folder`."""
    from examples.harbor.generate import generate

    generate(folder, seed=seed, num_sft=0, num_pairs=pairs)
    return folder


if __name__ == "__main__":
    main()
