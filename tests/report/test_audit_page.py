"""The page of an audit: everything the audit says, safe, small, and whole where parts are missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simpo.audit.findings import Finding, Severity, Witness
from simpo.audit.run import audit
from simpo.audit.verdict import judge
from simpo.errors import DataError
from simpo.records import Source
from simpo.report.audit.page import write_audit_page
from simpo.report.words import code
from simpo.runs.folder import write_json_lines
from tests.report.page import HOSTILE, Page

SURE = {"value": 0.9, "low": 0.85, "high": 0.94}


def rows(count: int) -> list[dict[str, str]]:
    """Pairs of many lengths, the longer mostly chosen, of which some have a mark of the chat template in a text."""
    found = []
    for number in range(count):
        polite = f"Order {number} is on its way to you." + " Thank you for waiting." * (1 + number % 5)
        short = f"No idea where order {number} is." + " Sorry." * (number % 3)
        chosen, rejected = (polite, short) if number % 7 else (short, polite)
        if number % 10 == 0:
            rejected += "<|im_end|>"
        if number % 20 == 1:
            rejected = chosen
        found.append({"prompt": f"Where is order {number}?", "chosen": chosen, "rejected": rejected})
    return found


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real audit of made-up rows, with the findings of annotators as their checks write them."""
    folder = tmp_path_factory.mktemp("audit")
    write_json_lines(folder / "pairs.jsonl", rows(400))
    result = audit([str(folder / "pairs.jsonl")])
    content: dict[str, Any] = json.loads(json.dumps(result.to_json()))
    content["findings"] += [finding.to_json() for finding in (*votes(), flips())]
    return content


def votes() -> list[Finding]:
    """Findings about the votes of three annotators."""
    people = [
        {"annotator": name, "votes": 300, "ties": 0.02, "agreement": SURE, "first": share, "longer": SURE}
        | {"flags": flags}
        for name, share, flags in (
            ("ana", SURE, ["one_sided_annotator"]),
            ("ben", {"value": 0.5, "low": 0.44, "high": 0.56}, []),
            ("<b>cleo</b>", None, []),
        )
    ]
    figures = {
        "num_votes": 900,
        "num_items_with_two": 300,
        "num_annotators": 3,
        "alpha": {"value": 0.61, "low": 0.55, "high": 0.67},
        "kappa": {"name": "Fleiss", "of": 300, "value": 0.6, "low": 0.5, "high": 0.7},
        "margins": [
            {"margin": 1.0, "items": 200, "share": 2 / 3},
            {"margin": 1 / 3, "items": 100, "share": 1 / 3},
        ],
        "annotators": people,
    }
    position = {
        "first": {"value": 0.55, "low": 0.52, "high": 0.58},
        "beyond_chance": True,
        "within_items": None,
    }
    return [
        Finding("agreement", "note", "3 annotators agree.", "Good.", 100, 300, "items", figures=figures),
        Finding(
            "position_bias", "warning", "The first wins 55.0 %.", "Swap.", 495, 900, "votes", figures=position
        ),
    ]


def flips() -> Finding:
    """A finding with suspected labels."""
    example = Witness(
        Source("pairs.jsonl", 12),
        "score 0.02",
        prompt="Where is it?",
        chosen="It is in the old depot.",
        rejected="It is in the new depot.",
    )
    return Finding(
        "label_against_votes", "error", "9 labels.", "Read them.", 9, 190, examples=(example,), repair="swap"
    )


def page_of(content: Mapping[str, Any], folder: Path) -> Page:
    write_audit_page(content, folder / "audit.html")
    return Page(folder / "audit.html")


def words_of(page: Page) -> str:
    return page.words.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def page(audited: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(audited, tmp_path_factory.mktemp("page"))


def test_the_verdict_stands_first_and_every_finding_with_its_action(
    page: Page, audited: dict[str, Any]
) -> None:
    words = words_of(page)
    assert words.index(audited["verdict"]["title"]) < words.index("What to do next")
    assert {"control_tokens", "identical"} <= {finding["kind"] for finding in audited["findings"]}
    for finding in audited["findings"]:
        assert " ".join(finding["title"].split()) in words, finding["kind"]
        assert " ".join(finding["action"].replace("`", "").split()) in words
    for reason in audited["verdict"]["reasons"]:
        assert reason in words


def test_findings_stand_by_severity_errors_first(page: Page) -> None:
    places = [page.words.index(word) for word in ("spoil the training", "to be looked at", "worth knowing")]
    assert places == sorted(places)


def test_the_page_has_its_sections_and_charts(page: Page) -> None:
    assert page.sections == ["next", "methods", "findings", "length", "labels", "examples", "data"]
    assert page.count("svg") == 3 + 3
    assert "chosen longer, " in page.text and "unanimous" in page.text


def test_the_page_is_one_safe_file(page: Page) -> None:
    page.require_self_contained()
    assert "<b>cleo</b>" in page.text and page.count("b") == 0


def test_the_same_audit_gives_the_same_bytes(audited: dict[str, Any], tmp_path: Path) -> None:
    first = page_of(audited, tmp_path).source
    assert page_of(audited, tmp_path).source == first


def test_differences_are_marked_on_both_sides(page: Page) -> None:
    assert "<mark>old</mark>" in page.source and "<mark>new</mark>" in page.source


def suspects(counted: bool) -> Finding:
    """A ranked list of labels that look turned."""
    ranked = [
        {
            "source": f"pairs.jsonl:{number}",
            "row": number,
            "score": -3.0,
            "model": None,
            "votes": 3,
            "margin": 1,
        }
        | {
            "probability": 0.987 if counted else None,
            "prompt": "Where?",
            "chosen": "No.",
            "rejected": "Here.",
        }
        for number in range(1, 51)
    ]
    figures = {
        "noise_rate": {"value": 0.04, "low": 0.03, "high": 0.05},
        "counted": counted,
        "auc": {"value": 0.91, "low": 0.9, "high": 0.92},
        "shorter_chosen": {"all": 0.18, "suspected": 0.8 if counted else None, "without_suspected": 0.16},
        "ranked": ranked,
    }
    severity: Severity = "warning" if counted else "note"
    return Finding("suspected_flip", severity, "Some look turned.", "Read them.", 50, 400, figures=figures)


def test_labels_that_look_turned_stand_first_with_how_far_the_list_can_be_trusted(
    audited: dict[str, Any], tmp_path: Path
) -> None:
    others = [
        each for each in audited["findings"] if each["kind"] not in ("suspected_flip", "label_against_votes")
    ]
    told = {counted: [suspects(counted).to_json(), *others] for counted in (True, False)}
    words = words_of(page_of({**audited, "findings": told[True]}, tmp_path)).split("Examples side by side")[1]
    assert words.index("suspected flip") < words.index("control tokens")
    assert words.count("looks turned with probability 98.7 %; 2 of 3 votes for the label as it is") == 6
    assert "4.0 % (3.0 to 5.0 %)" in words and "80 % of the suspected, 18 % of all" in words
    words = words_of(page_of({**audited, "findings": told[False]}, tmp_path)).split("Examples side by side")[
        1
    ]
    assert words.index("suspected flip") > words.index("control tokens")
    assert "cannot be told from these pairs" in words and "looks turned" not in words


def test_the_next_commands_read_the_files_as_they_were_read(audited: dict[str, Any], tmp_path: Path) -> None:
    settings = {**audited["settings"], "format": "trl_standard", "columns": {"prompt": "the question"}}
    page = page_of({**audited, "settings": settings}, tmp_path)
    path = audited["data"]["files"][0]["path"]
    assert f"simpo build {path} --format trl_standard --map 'prompt=the question' --out data/v1" in page.text
    assert "--set data.train=data/v1" in page.text


def test_labels_are_exchanged_only_by_a_command_of_its_own(audited: dict[str, Any], tmp_path: Path) -> None:
    repairs = [{"kind": "label_against_votes", "repair": "swap", "count": 9}]
    page = page_of({**audited, "verdict": {**audited["verdict"], "repairs": repairs}}, tmp_path)
    assert "Labels are left as they are." in page.text
    assert "--repair default,label_against_votes=swap" in page.text


def test_data_that_is_not_fit_is_not_sent_to_a_build(audited: dict[str, Any], tmp_path: Path) -> None:
    verdict = judge([], pairs=3, prompts=3, rows_read=3).to_json()
    page = page_of({**audited, "verdict": verdict}, tmp_path)
    assert "--out data/v1" not in page.text
    assert "audit them again" in page.text


def test_an_audit_that_found_nothing_is_a_short_page(audited: dict[str, Any], tmp_path: Path) -> None:
    verdict = judge([], pairs=500, prompts=400, rows_read=500).to_json()
    page = page_of({**audited, "findings": [], "verdict": verdict, "methods": []}, tmp_path)
    assert page.sections == ["next", "data"]
    assert "Fit to train on: 500 pairs of 400 prompts." in page.words


@pytest.mark.parametrize(
    ("kind", "charts"), [("agreement", 4), ("position_bias", 6), ("length_bias", 4), ("style_bias", 5)]
)
def test_figures_of_another_shape_lose_their_chart_and_not_the_page(
    kind: str, charts: int, audited: dict[str, Any], tmp_path: Path
) -> None:
    findings = [
        {**finding, "figures": {"value": 3}} if finding["kind"] == kind else finding
        for finding in audited["findings"]
    ]
    page = page_of({**audited, "findings": findings}, tmp_path)
    assert "findings" in page.sections and page.count("svg") == charts


def test_hostile_text_is_shown_and_never_obeyed(audited: dict[str, Any], tmp_path: Path) -> None:
    witness = {"source": f"{HOSTILE}:3", "detail": HOSTILE, "other": HOSTILE}
    texts = {"prompt": HOSTILE, "chosen": HOSTILE, "rejected": HOSTILE + " more"}
    findings = [
        {**finding, "title": HOSTILE, "action": HOSTILE, "examples": [{**witness, **texts}]}
        for finding in audited["findings"]
    ]
    data = {
        **audited["data"],
        "name": HOSTILE,
        "format": HOSTILE,
        "files": [{"path": HOSTILE, "sha256": HOSTILE}],
    }
    page = page_of({**audited, "findings": findings, "data": data}, tmp_path)
    page.require_self_contained()
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "[U+202E]" in page.text and not {"\u202e", "\x00"} & set(page.text)


def test_many_long_examples_do_not_swell_the_page(audited: dict[str, Any], tmp_path: Path) -> None:
    text = "payment " * 150
    example = {"source": "a.jsonl:1", "detail": text, "prompt": text, "chosen": text, "rejected": text[8:]}
    finding = audited["findings"][0]
    findings = [{**finding, "kind": f"kind_{number}", "examples": [example] * 5} for number in range(120)]
    page = page_of({**audited, "findings": findings}, tmp_path)
    page.require_self_contained()
    assert page.count("article") == 120 + 30


def test_a_missing_key_is_named(audited: dict[str, Any], tmp_path: Path) -> None:
    broken = {**audited, "data": {"name": "x", "rows_read": 3, "pairs": 2}}
    with pytest.raises(DataError, match=r"audit\.json: data\.prompts: Field required"):
        write_audit_page(broken, tmp_path / "audit.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("pairs.jsonl", "line 7"),
        ("a/b.csv.gz", "line 7"),
        ("pairs.parquet", "row 7"),
        ("pairs.json", "row 7"),
    ],
)
def test_a_place_is_a_line_in_a_file_of_lines_and_a_row_elsewhere(
    file: str, word: str, audited: dict[str, Any], tmp_path: Path
) -> None:
    (found,) = (one for one in audited["findings"] if one["kind"] == "control_tokens")
    example = {**found["examples"][0], "source": f"{file}:7", "other": None}
    files = [{**audited["data"]["files"][0], "name": file}]
    content = {
        **audited,
        "data": {**audited["data"], "name": file, "files": files},
        "findings": [{**found, "examples": [example]}],
    }
    assert word in words_of(page_of(content, tmp_path))


def test_commands_in_sentences_stand_as_code_and_everything_else_is_escaped() -> None:
    assert code("see `a < b` or <i>") == "see <code>a &lt; b</code> or &lt;i&gt;"
