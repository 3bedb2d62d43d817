"""What follows from an audit: the commands to type next, and what was read, to tell one audit from another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simpo.report.audit.source import AuditFile
from simpo.report.audit.views import Facts, spoken
from simpo.report.words import NOTHING, duration, last_name, whole

RECIPES = {"simpo": "simpo-lora", "dpo": "dpo", "dpo-norm": "dpo-norm"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do next, with the command that does it."""

    words: str
    command: str


def next_steps(audit: AuditFile) -> list[Step]:
    """What to type next, from the verdict and the files that were read."""
    files = " ".join(shlex.quote(str(file.get("path", ""))) for file in audit.data.files) or shlex.quote(
        audit.data.name
    )
    reading = _reading_options(audit.settings)
    again = Step("After the files were mended, audit them again.", f"simpo audit {files}{reading}")
    if audit.verdict.fit == "unfit":
        return [again]
    words = "Write a dataset version with these repairs made, grouped by prompt and split."
    if not audit.verdict.repairs:
        words = "Write a dataset version, grouped by prompt and split."
    build = f"simpo build {files}{reading} --out data/v1"
    swaps = [repair.kind for repair in audit.verdict.repairs if repair.repair == "swap"]
    steps = [Step(words, build)]
    if swaps:
        steps[0] = Step(f"{words} Labels are left as they are.", build)
        chosen = ",".join(["default", *(f"{kind}=swap" for kind in swaps)])
        words = "Or, once you have read the suspected pairs below and agree, with their two sides exchanged."
        steps.append(Step(words, f"{build} --repair {shlex.quote(chosen)}"))
    train = f"simpo train {_recipe(audit)} --set model.name=MODEL --set data.train=data/v1"
    steps.append(Step("Train on that version; MODEL is your SFT checkpoint.", train))
    return steps


def _recipe(audit: AuditFile) -> str:
    """The shipped recipe of the first method that suits."""
    suits = (method.method for method in audit.methods if method.suits and method.method in RECIPES)
    return RECIPES[next(suits, "simpo")]


def _reading_options(settings: Mapping[str, Any]) -> str:
    """The options of reading as they were given, so that the next command reads the same pairs."""
    words: list[str] = []
    if settings.get("format"):
        words += ["--format", str(settings["format"])]
    for name, column in dict(settings.get("columns") or {}).items():
        words += ["--map", f"{name}={column}"]
    if settings.get("pairing") not in (None, "best_worst"):
        words += ["--pairing", str(settings["pairing"])]
    if settings.get("min_margin"):
        words += ["--min-margin", f"{settings['min_margin']:g}"]
    return "".join(f" {shlex.quote(word)}" for word in words)


def data_facts(audit: AuditFile) -> Facts:
    """What was read, to tell one audit from another."""
    data = audit.data
    facts = [("name", data.name), ("format", data.format), ("content hash", data.hash)]
    facts += list(_files(audit))
    facts += [("read and checked in", duration(audit.seconds)), ("audited", audit.created)]
    return [(name, value) for name, value in facts if value and value != NOTHING]


def _files(audit: AuditFile) -> Iterator[tuple[str, str]]:
    for file in audit.data.files[:30]:
        rows = f"{whole(file['rows'])} rows, " if isinstance(file.get("rows"), int) else ""
        digest = file.get("sha256")
        yield (
            last_name(str(file.get("path", ""))),
            f"{rows}sha256 {digest}" if digest else f"{rows}no checksum",
        )


def left_out(audit: AuditFile) -> Facts:
    """Rows left out by reason, most first."""
    ordered = sorted(audit.data.dropped.items(), key=lambda each: (-each[1], each[0]))
    return [(spoken(reason), whole(number_of)) for reason, number_of in ordered]
