"""`audit` as a whole: what is read, what is found and in which order, and audit.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.findings import SEVERITIES, Finding, Witness
from simpo.audit.kinds import KINDS, percent
from simpo.audit.reading import Identity
from simpo.audit.result import plain
from simpo.audit.run import MAX_TEXT, audit, in_order
from simpo.audit.texts.check import TextChecks
from simpo.data.read import read_rows
from simpo.data.reasons import REASONS
from simpo.errors import DataError
from simpo.records import Message, Pair, Source
from tests.audit.made import plain_row, write_pairs

SPOILT = {
    3: {"rejected": "\u200b"},
    5: {"chosen": "It left Lyon.<|im_end|>"},
    7: {"rejected": ""},
    8: {"prompt": "Caf\u00c3\u00a9?"},
    9: {
        "chosen": "Order 9 is somewhere, and Lyon is far away. ",
        "rejected": "order 9 is somewhere, and Lyon is far away.",
    },
}


def test_planted_defects_are_found_where_they_are_and_nothing_else_is(tmp_path: Path) -> None:
    result = audit(write_pairs(tmp_path / "pairs.jsonl", 150, SPOILT))
    found = {finding.kind: finding for finding in result.findings if finding.severity != "note"}
    assert found.keys() == {
        "blank_completion",
        "control_tokens",
        "empty_rejected",
        "mojibake",
        "same_after_normalising",
    }
    # Line 7 gives no pair, so that line 8 is pair number 6, from 0.
    assert {
        kind: found[kind].rows.tolist() for kind in ("blank_completion", "control_tokens", "mojibake")
    } == {
        "blank_completion": [2],
        "control_tokens": [4],
        "mojibake": [6],
    }
    (example,) = found["empty_rejected"].examples
    assert str(example.source) == f"{tmp_path / 'pairs.jsonl'}:7"
    assert (found["empty_rejected"].unit, found["empty_rejected"].of) == ("rows", 150)
    assert result.verdict.fit == "repair"
    assert {kind for kind, _, _ in result.verdict.repairs} == found.keys()


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    one = write_pairs(tmp_path / "one.jsonl", 120, {4: {"rejected": ""}})
    two = tmp_path / "two.csv"
    two.write_text("prompt,chosen,rejected\nWhere?,Here.,There.\nWhere?,Here!,There!\n", encoding="utf-8")
    data = audit([one, two]).data
    assert (data.rows_read, data.pairs, data.prompts) == (122, 121, 120)
    assert data.dropped == {"empty_rejected": 1}
    assert [(file["path"], file["rows"]) for file in data.files] == [(str(one), 120), (str(two), 2)]
    assert all("trl_standard" in file["read_as"] and len(file["sha256"]) == 64 for file in data.files)
    assert data.hash == read_rows([one, two], on_bad_row="drop").hash


@given(st.permutations(range(6)), st.text(max_size=3))
def test_the_hash_is_that_of_a_dataset_whatever_the_order(order: list[int], text: str) -> None:
    pairs = [
        Pair((Message("user", f"{text}{number % 4}"),), "a", f"b{number}", Source("f", 1))
        for number in range(6)
    ]
    identity, other = Identity(), Identity()
    for number in order:
        identity.see(pairs[number])
        other.see(pairs[5 - number])
    assert identity.hash() == other.hash()
    assert identity.num_prompts() == 4


def test_a_limit_leaves_the_rest_unread_and_the_file_without_a_hash(tmp_path: Path) -> None:
    data = audit(write_pairs(tmp_path / "pairs.jsonl", 300), limit=110).data
    assert (data.pairs, data.rows_read) == (110, 110)
    assert data.files[0]["sha256"] is None


def test_a_file_of_broken_rows_is_audited_and_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n{"prompt"\n' * 60, encoding="utf-8")
    result = audit(path)
    assert (result.verdict.fit, result.data.pairs) == ("unfit", 0)
    assert result.data.dropped == {"bad_json": 60, "identical": 60}
    assert json.dumps(result.to_json(), allow_nan=False)


def test_a_file_without_rows_is_an_error_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        audit(path)


def test_findings_come_by_severity_then_share_and_their_texts_are_cut() -> None:
    long = "a" * 2000 + "end"
    example = Witness(Source("f", 1), "d", prompt=long, chosen="b", rejected=None)
    listed = [
        Finding("b", "note", "", "", 9, 10),
        Finding("c", "warning", "", "", 1, 10, examples=(example,)),
        Finding("d", "warning", "", "", 2, 10),
        Finding("a", "warning", "", "", 2, 10),
        Finding("e", "error", "", "", 1, 1000),
    ]
    ordered = in_order(listed)
    assert [finding.kind for finding in ordered] == ["e", "a", "d", "c", "b"]
    (cut,) = ordered[3].examples
    assert cut.prompt is not None
    assert cut.prompt.endswith("aend")
    assert (len(cut.prompt), cut.chosen, cut.rejected) == (MAX_TEXT + len("\n[...]\n"), "b", None)


def test_audit_json_is_plain_json_with_the_keys_of_its_schema(tmp_path: Path) -> None:
    result = audit(write_pairs(tmp_path / "pairs.jsonl", 150, SPOILT))
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(written) == [
        "schema",
        "created",
        "simpo_version",
        "data",
        "settings",
        "verdict",
        "methods",
        "findings",
        "seconds",
        "peak_memory_bytes",
    ]
    assert written["schema"] == 1
    assert written["peak_memory_bytes"] > 10_000_000
    for finding in written["findings"]:
        assert finding["severity"] in SEVERITIES
        assert 0 <= finding["count"] <= finding["of"] or finding["unit"] != "pairs"
        assert finding["title"].endswith(".")
        assert finding["action"].endswith(".")


def test_plain_values_hold_nothing_that_json_lacks() -> None:
    value = {
        1: np.int64(3),
        "a": (np.float64("nan"), np.array([1.5])),
        "b": Path("x"),
        "c": [True, None, math.inf],
    }
    assert plain(value) == {"1": 3, "a": [None, [1.5]], "b": "x", "c": [True, None, None]}


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.123, "12.3 %"), (0.0004, "0.04 %"), (0.00001, "below 0.01 %")],
)
def test_a_share_is_told_in_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_every_kind_of_the_table_has_its_sentence_and_none_is_a_reason_of_the_reader() -> None:
    assert not KINDS.keys() & REASONS.keys()
    for kind, about in KINDS.items():
        assert about.clause[0].islower() and not about.clause.endswith("."), kind
        assert about.how.endswith(".") and about.action.endswith("."), kind
        assert (
            about.repair is None
            or about.severity != "note"
            or kind in ("invisible_characters", "html_entities")
        ), kind


texts = st.text(st.characters(), min_size=1, max_size=80)


@given(texts, texts, texts)
def test_no_text_breaks_a_check_and_the_shares_stay_shares(prompt: str, chosen: str, rejected: str) -> None:
    if chosen == rejected:
        return
    checks = TextChecks()
    checks.see(0, Pair((Message("user", prompt),), chosen, rejected, Source("f", 1)))
    checks.see(
        1, Pair((Message("user", rejected), Message("tool", chosen)), chosen, rejected, Source("f", 2))
    )
    for finding in checks.findings():
        assert 0 <= finding.share <= 1
        assert all("\n" not in example.detail for example in finding.examples)


def test_progress_is_told_in_rows(tmp_path: Path) -> None:
    told: list[int] = []
    audit(write_pairs(tmp_path / "pairs.jsonl", 2500), progress=told.append)
    assert told == [1000, 2000]


def test_plain_rows_differ_from_each_other() -> None:
    assert len({plain_row(number)["chosen"] for number in range(300)}) == 300
