"""Numbers in sentences."""

from __future__ import annotations

from simpo.audit.kinds import percent


def part_of(count: int, of: int, unit: str, verb: str = "are") -> str:
    """`12 of 300 pairs (4.0 %) are`, `1 of 300 pairs (0.3 %) is`: a count as the subject of a sentence."""
    singular = {"are": "is", "have": "has", "rank": "ranks", "follow": "follows"}
    return (
        f"{count:,} of {counted(of, unit)} ({percent(count / of)}) {singular[verb] if count == 1 else verb}"
    )


def counted(count: int, unit: str) -> str:
    """`3 pairs`, `1 pair`; `unit` is the plural."""
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"
