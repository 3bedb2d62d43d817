"""The result as one JSON object, and as tables for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.child import Measured, Setting
from benchmarks.figures import Alternation, RowFigures, Spread, row_figures
from benchmarks.rows import BenchRow
from benchmarks.same_job import TOLERANCE, SameJob

GIB = 2**30


@dataclass(frozen=True, slots=True)
class RowResult:
    """One measured row. others_cores: cores that other processes kept busy, the largest over the row's processes."""

    row: BenchRow
    source: str
    choices: dict[str, Setting]
    searched: tuple[Measured, ...]
    alternations: tuple[Alternation, ...]
    same: SameJob | None  # of SimPO's rows; DPO's begin at log 2
    others_cores: float | None

    @property
    def figures(self) -> RowFigures:
        """The row's medians and ratios."""
        return row_figures(self.alternations)

    def as_json(self) -> dict[str, Any]:
        """Everything measured, and the figures made of it."""
        return {
            "row": self.row.name,
            "pairs_from": self.source,
            "choices": {side: asdict(setting) for side, setting in self.choices.items()},
            "figures": asdict(self.figures),
            "same_job": None
            if self.same is None
            else {
                **asdict(self.same),
                "tolerance": TOLERANCE[self.row.precision],
                "simpo_first_loss": self.alternations[0][0].first_loss,
                "trl_first_loss": self.alternations[0][1].first_loss,
            },
            "others_cores": self.others_cores,
            "search": [asdict(measured) for measured in self.searched],
            "alternations": [
                {measured.side: asdict(measured) for measured in alternation}
                for alternation in self.alternations
            ],
        }


Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, columns, rows


def tables(results: Sequence[RowResult]) -> list[Table]:
    """Speed and memory; then what was computed, so that the first can be trusted."""
    return [
        (
            "Seconds per pair and peak resident memory: median (min to max); ratios are TRL / simpo",
            ("row", "simpo", "TRL", "time ratio", "simpo GiB", "TRL GiB", "memory ratio", "others' cores"),
            [_speed(result) for result in results],
        ),
        (
            "What was computed: tokens per pair, and the loss of the first step",
            ("row", "side", "cut", "scored", "forwarded", "loss", "loss on TRL's tokens"),
            [line for result in results for line in _work(result)],
        ),
    ]


def notes(results: Sequence[RowResult]) -> list[str]:
    """What a reader of the tables must know."""
    lines = sorted({f"{result.row.length} pairs: {result.source}" for result in results}, reverse=True)
    for extra in sorted({result.same.extra_tokens for result in results if result.same is not None}, key=str):
        if extra is None:
            lines.append("TRL's tokens differ from ours by more than what follows a completion.")
        elif extra:
            lines.append(f"TRL scores {len(extra)} tokens more per completion: {' '.join(map(repr, extra))}.")
        else:
            lines.append("Both sides score the very same tokens.")
    noisy = [result.row.name for result in results if (result.others_cores or 0) > 0.2]
    if noisy:
        lines.append(
            f"Other processes kept more than 0.2 cores busy during {', '.join(noisy)}: rough figures."
        )
    return lines


def file_name(created: str, machine: dict[str, Any]) -> str:
    """`<date>-<machine>.json`, the machine by its processor and cores."""
    cpu = re.sub(r"[^a-z0-9]+", "-", str(machine["cpu"]).lower()).strip("-")
    return f"{created[:10]}-{cpu}-{machine['cores']}-cores.json"


def _speed(result: RowResult) -> tuple[str, ...]:
    figures = result.figures
    return (
        result.row.name,
        _spread(figures.simpo.seconds_per_pair),
        _spread(figures.trl.seconds_per_pair),
        _spread(figures.time_ratio),
        _gib(figures.simpo.peak_rss_bytes),
        _gib(figures.trl.peak_rss_bytes),
        _spread(figures.memory_ratio),
        "unknown" if result.others_cores is None else f"{result.others_cores:.1f}",
    )


def _work(result: RowResult) -> list[tuple[str, ...]]:
    figures, (ours, theirs) = result.figures, result.alternations[0]
    sides = ((ours, figures.simpo, "simpo"), (theirs, figures.trl, "TRL"))
    return [
        (
            result.row.name,
            name,
            str(measured.setting),
            f"{side.tokens_scored:.1f}",
            f"{side.tokens_forwarded:.1f}",
            f"{measured.first_loss:.5f}",
            _on_their_tokens(result, measured.first_loss if name == "TRL" else None),
        )
        for measured, side, name in sides
    ]


def _on_their_tokens(result: RowResult, own: float | None) -> str:
    """The loss of TRL's tokens: its own, or what our scorer makes of them; nothing for DPO, where both are log 2."""
    if result.same is None:
        return "-"
    return f"{result.same.loss_trl_tokens if own is None else own:.5f}"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def _gib(spread: Spread) -> str:
    return f"{spread.median / GIB:.2f}"
