"""docs/audit.md describes every kind of finding that an audit can make."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from examples.harbor.generate import generate
from simpo.audit.described import DESCRIBED, FAMILIES
from simpo.audit.kinds import KINDS
from simpo.audit.limits import LIMITS
from simpo.audit.run import audit
from simpo.data.reasons import REASONS
from tests.audit.made import write_pairs

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_the_audit_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("generate_audit", DOCS / "generate_audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (DOCS / "audit.md").read_text(encoding="utf-8")
    assert text == module.page(), "run `make docs`"
    assert [name for name in DESCRIBED if f"**`{name}`**" not in text] == []
    assert [limit.why for limit in LIMITS.values() if limit.why not in text] == []


def test_every_kind_stands_in_one_family_and_every_reason_of_the_reader_in_one() -> None:
    names = [name for family in FAMILIES.values() for name in family]
    assert len(names) == len(set(names))
    assert {*KINDS, *REASONS} <= set(names)


@pytest.mark.parametrize("name", ["pairs_train.jsonl", "pairs_test.jsonl"])
def test_what_is_found_in_harbor_is_described_with_its_repair(tmp_path: Path, name: str) -> None:
    generate(tmp_path, num_sft=10, num_pairs=600)
    result = audit(tmp_path / name, held_out=tmp_path / "pairs_validation.jsonl")
    for finding in result.findings:
        assert finding.kind in DESCRIBED, finding.kind
        assert finding.severity in DESCRIBED[finding.kind].severity, finding.kind
        assert finding.repair in (None, DESCRIBED[finding.kind].repair), finding.kind


def test_what_is_found_in_real_data_is_described_with_its_repair(test_data: Path) -> None:
    for name in (
        "multiannotator_pandalm.jsonl.gz",
        "preference_ultrafeedback.jsonl.gz",
        "support_taskmaster_pairs.jsonl",
    ):
        for finding in audit(test_data / name).findings:
            assert finding.kind in DESCRIBED, finding.kind
            assert finding.severity in DESCRIBED[finding.kind].severity, finding.kind
            assert finding.repair in (None, DESCRIBED[finding.kind].repair), finding.kind


def test_spoilt_rows_of_every_side_are_described(tmp_path: Path) -> None:
    path = write_pairs(
        tmp_path / "pairs.jsonl", 110, {3: {"chosen": "a\x00b"}, 4: {"rejected": ""}, 5: {"prompt": 1}}
    )
    kinds = {finding.kind for finding in audit(path).findings}
    assert {"control_characters", "empty_rejected", "wrong_type"} <= kinds <= set(DESCRIBED)
