"""`write_audit_page`: an audit as one page that a labelling lead can read, print and work through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simpo.report.audit.length import length_section
from simpo.report.audit.next import data_facts, left_out, next_steps
from simpo.report.audit.sections import label_section
from simpo.report.audit.source import AuditFile
from simpo.report.audit.views import (
    STATES,
    SUITS,
    example_groups,
    findings_by_severity,
    spoken,
    tiles,
)
from simpo.report.pages import render, write_page
from simpo.report.source import parsed
from simpo.report.words import last_name, whole


def write_audit_page(audit_json: Mapping[str, Any], path: Path | str) -> None:
    """Write an audit (schema 1, as `simpo audit --json` prints it) as one HTML file that needs nothing else.

    The same audit gives the same bytes. Raises DataError where a key of the audit is missing or of another type, and
    RunFailed where the file cannot be written.
    """
    write_page(Path(path), render_audit_page(parsed(AuditFile, audit_json, "audit.json")))


def render_audit_page(audit: AuditFile) -> str:
    """The page as text."""
    state, state_words = STATES[audit.verdict.fit]
    names = [last_name(str(file.get("path", ""))) for file in audit.data.files] or [
        last_name(audit.data.name)
    ]
    return render(
        "audit.html",
        name=", ".join(names[:3]) + (f" and {whole(len(names) - 3)} more" if len(names) > 3 else ""),
        state=state,
        state_words=state_words,
        verdict=audit.verdict,
        repairs=[(spoken(each.kind), each.repair, whole(each.count)) for each in audit.verdict.repairs],
        data=audit.data,
        tiles=[(tile.label, tile.value, tile.note) for tile in tiles(audit)],
        steps=next_steps(audit),
        findings=findings_by_severity(audit),
        lengths=length_section(audit),
        labels=label_section(audit),
        methods=[(each.method, each.suits, SUITS[each.suits], each.reason) for each in audit.methods],
        examples=[(spoken(group.kind), group) for group in example_groups(audit)],
        left_out=left_out(audit),
        data_facts=data_facts(audit),
        created=audit.created,
        version=audit.simpo_version,
    )
