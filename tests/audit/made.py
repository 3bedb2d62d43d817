"""Pairs written for the tests of the audit: plain ones, in which nothing is to be found, and spoilt ones among them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simpo.audit.findings import Finding
from simpo.audit.view import TextCheck, view_of
from simpo.records import Message, Pair, Source

_THINGS = ("lamp", "kettle", "chair", "desk", "blanket", "mirror", "shelf", "clock", "carpet", "bench")
_PLACES = ("Lyon", "Porto", "Ghent", "Turin", "Malmo", "Graz", "Brno", "Cork", "Delft", "Vigo")


def plain_row(number: int) -> dict[str, Any]:
    """Row `number` of any: the three texts differ from those of every other row, and nothing is wrong with them."""
    thing, place = _THINGS[number % 10], _PLACES[number // 10 % 10]
    return {
        "prompt": f"Where is order {number} with the {thing}? I live in {place}.",
        "chosen": f"{thing.capitalize()} {number} has left {place} and should be with you on Friday.",
        "rejected": f"Order {number} is somewhere, and {place} is far away.",
    }


def write_pairs(path: Path, count: int, spoilt: Mapping[int, Mapping[str, Any]] | None = None) -> Path:
    """Write `count` rows; those at the lines (from 1) in `spoilt` with other columns."""
    rows = [{**plain_row(number), **(spoilt or {}).get(number, {})} for number in range(1, count + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(
    prompt: str | tuple[tuple[str, str], ...] = "Where is my order?",
    chosen: str = "It left Lyon this morning.",
    rejected: str = "Please be patient.",
    line: int = 1,
    **extra: Any,
) -> Pair:
    """One pair of these texts; a prompt of several turns is given as (role, content)."""
    turns = (("user", prompt),) if isinstance(prompt, str) else prompt
    messages = tuple(Message(role, content) for role, content in turns)
    return Pair(messages, chosen, rejected, Source("made.jsonl", line), None, extra)


def found_by(check: TextCheck, *pairs: Pair) -> dict[str, Finding]:
    """What a check finds in these pairs, by kind."""
    for number, one in enumerate(pairs):
        check.look(number, one, view_of(one))
    findings = check.findings(len(pairs))
    by_kind = {finding.kind: finding for finding in findings}
    assert len(by_kind) == len(findings), "two findings share a kind"
    return by_kind
