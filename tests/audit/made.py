"""Pairs written for the tests of the audit: plain ones, in which nothing is to be found, and spoilt ones among them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simpo.audit.findings import Finding
from simpo.audit.texts.view import TextCheck, view_of
from simpo.records import Message, Pair, Source

_WORDS = """
lamp kettle chair desk blanket mirror shelf clock carpet bench parcel carrier invoice voucher refund address order
store week month day morning evening city street door box label note price plan account page answer question left
came went sent paid asked found lost kept broke closed opened called wrote read saw green small large early late
heavy light empty full open near far again never always twice once
""".split()  # noqa: SIM905


def plain_row(number: int) -> dict[str, Any]:
    """Row `number` of any: its three texts have little in common with those of any other, and nothing is wrong."""
    draw = random.Random(number)
    prompt, chosen, rejected = (" ".join(draw.choices(_WORDS, k=14)).capitalize() for _ in range(3))
    return {"prompt": f"{prompt}?", "chosen": f"{chosen}.", "rejected": f"{rejected}."}


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
