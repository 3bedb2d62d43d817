"""What a generated data set contains, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from . import overlap
from .annotators import agreement_alpha
from .judge import score

Rows = Sequence[Mapping[str, Any]]
PAIR_FILES = ("pairs_train.jsonl", "pairs_validation.jsonl", "pairs_test.jsonl")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Median lengths in characters."""

    sft: float
    chosen: float
    rejected: float
    chosen_where_shorter: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one data set; shares are of all preference rows unless the name says otherwise."""

    seed: int
    rows: dict[str, int]
    intents: dict[str, int]
    defects: dict[str, int]
    shorter_chosen: float
    shorter_chosen_test: float
    two_turn: float
    unanimous: float
    alpha: float
    first_shown_taken: float
    better_chosen_where_shorter: float  # by the rubric judge, of the shorter-chosen validation and test rows
    better_chosen_where_longer: float
    lengths: Lengths
    overlap: overlap.Overlap


def summarize(files: Mapping[str, Rows], seed: int) -> Summary:
    """Figures of the rows about to be written, by file name."""
    pairs = [row for name in PAIR_FILES for row in files[name]]
    held_out = [*files["pairs_validation.jsonl"], *files["pairs_test.jsonl"]]
    labels = [_labels(row) for row in pairs]
    return Summary(
        seed=seed,
        rows={name: len(rows) for name, rows in files.items()},
        intents=dict(sorted(Counter(str(row["intent"]) for row in pairs).items())),
        defects=dict(sorted(Counter(str(row["kind"]) for row in files["truth.jsonl"]).items())),
        shorter_chosen=_mean([_shorter(row) for row in pairs]),
        shorter_chosen_test=_mean([_shorter(row) for row in files["pairs_test.jsonl"]]),
        two_turn=_mean([len(row["prompt"]) > 2 for row in pairs]),
        unanimous=_mean([len(set(label)) == 1 for label in labels]),
        alpha=agreement_alpha(labels) if labels else 1.0,
        first_shown_taken=_mean([note["choice"] == "first" for row in pairs for note in row["annotations"]]),
        better_chosen_where_shorter=_mean([_better_chosen(row) for row in held_out if _shorter(row)]),
        better_chosen_where_longer=_mean([_better_chosen(row) for row in held_out if not _shorter(row)]),
        lengths=_lengths(files, pairs),
        overlap=overlap.measure(
            [row for name in overlap.TRAIN_FILES for row in files[name]],
            [row for name in overlap.HELD_OUT_FILES for row in files[name]],
        ),
    )


def _text(row: Mapping[str, Any], side: str) -> str:
    return str(row[side][-1]["content"])


def _shorter(row: Mapping[str, Any]) -> bool:
    return len(_text(row, "chosen")) < len(_text(row, "rejected"))


def _better_chosen(row: Mapping[str, Any]) -> bool:
    chosen, rejected = (
        score(row["prompt"], _text(row, side), row)["score"] for side in ("chosen", "rejected")
    )
    return bool(chosen > rejected)


def _labels(row: Mapping[str, Any]) -> list[int]:
    """Each annotator's pick as 0 or 1, named by the texts and not by the outcome."""
    swapped = _text(row, "chosen") > _text(row, "rejected")
    took_chosen = [(note["first"] == "chosen") == (note["choice"] == "first") for note in row["annotations"]]
    return [int(took != swapped) for took in took_chosen]


def _lengths(files: Mapping[str, Rows], pairs: Rows) -> Lengths:
    shorter = [row for row in pairs if _shorter(row)]
    return Lengths(
        sft=_median([len(row["messages"][-1]["content"]) for row in files["sft_train.jsonl"]]),
        chosen=_median([len(_text(row, "chosen")) for row in pairs]),
        rejected=_median([len(_text(row, "rejected")) for row in pairs]),
        chosen_where_shorter=_median([len(_text(row, "chosen")) for row in shorter]),
    )


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _median(values: Sequence[int]) -> float:
    return float(median(values)) if values else 0.0


def describe(summary: Summary) -> str:
    """The figures for a person."""
    s = summary
    lines = [f"Harbor Support, seed {s.seed}", "", "rows"]
    lines += [f"  {name:<30}{count:>7}" for name, count in s.rows.items()]
    lines += ["", "pairs by intent"]
    lines += [f"  {name:<30}{count:>7}" for name, count in s.intents.items()]
    lines += ["", "planted in pairs_train.jsonl"]
    lines += [f"  {name:<30}{count:>7}" for name, count in s.defects.items()]
    lines += [
        "",
        "preferences",
        f"  shorter reply chosen            {s.shorter_chosen:.1%} (test {s.shorter_chosen_test:.1%})",
        f"  two-turn tickets                {s.two_turn:.1%}",
        f"  annotators unanimous            {s.unanimous:.1%}, Krippendorff alpha {s.alpha:.2f}",
        f"  first shown taken               {s.first_shown_taken:.1%}",
        "  better reply chosen, by judge   "
        f"{s.better_chosen_where_shorter:.1%} of shorter-chosen, {s.better_chosen_where_longer:.1%} of "
        f"the other "
        "held-out rows",
        "",
        "median characters",
        f"  SFT {s.lengths.sft:.0f}, chosen {s.lengths.chosen:.0f}, rejected {s.lengths.rejected:.0f}, "
        f"chosen where shorter {s.lengths.chosen_where_shorter:.0f}",
        "",
        "held-out seen in training",
        *(f"  {line}" for line in overlap.describe(s.overlap)),
    ]
    return "\n".join(lines)
