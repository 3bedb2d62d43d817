"""Agreement in findings: hand-worked tables, ties included, annotators that stand out found and others left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simpo.audit.findings import Finding
from simpo.audit.voting.agreement import agreement_findings
from simpo.audit.voting.annotators import annotator_figures
from simpo.audit.voting.votes import Votes, VoteTable
from simpo.data.read import iter_rows
from simpo.records import Dropped
from tests.audit.voting.voted import note, simulated, table_of, tie, voted_pair


def _findings(table: VoteTable) -> dict[str, Finding]:
    return {finding.kind: finding for finding in agreement_findings(table, annotator_figures(table))}


def _votes(choices: str) -> list[dict[str, str]]:
    """One annotation for each letter: c for the chosen reply, r for the rejected one, t for a tie."""
    words = {"c": "first", "r": "second", "t": "tie"}
    return [note(f"annotator-{at}", "chosen", words[choice]) for at, choice in enumerate(choices)]


def test_no_votes_make_no_finding() -> None:
    assert _findings(table_of([voted_pair(0, [])])) == {}


def test_agreement_by_hand() -> None:
    # First and second, as shown: ff, ff, sf, ss. Unequal pairs 2 of 8; expected (64 - 25 - 9) / (8 * 7) = 0.5357.
    rows = [
        voted_pair(0, [note("x", "chosen", "first"), note("y", "chosen", "first")]),
        voted_pair(1, [note("x", "chosen", "first"), note("y", "chosen", "first")]),
        voted_pair(2, [note("x", "chosen", "second"), note("y", "chosen", "first")]),
        voted_pair(3, [note("x", "rejected", "second"), note("y", "rejected", "second")]),
    ]
    found = _findings(table_of(rows))["agreement"]
    assert found.figures["alpha"]["value"] == pytest.approx(1 - 0.25 / 0.535714, abs=1e-5)
    assert (found.count, found.of, found.unit) == (1, 4, "items")
    # Cohen: equal 0.75, chance 0.5 * 0.75 + 0.5 * 0.25 = 0.5.
    assert found.figures["kappa"]["name"] == "Cohen"
    assert found.figures["kappa"]["value"] == pytest.approx(0.5)
    assert found.figures["margins"] == [
        {"margin": 1.0, "items": 3, "share": 0.75},
        {"margin": 0.0, "items": 1, "share": 0.25},
    ]


def test_a_label_does_not_make_agreement() -> None:
    # All chosen by a majority of 2 to 1, whoever is in it: no better than coins, whatever the labels say.
    rng = np.random.default_rng(0)
    found = _findings(table_of(simulated(rng, 600, accuracy=[0.5, 0.5, 0.5])))["agreement"]
    assert found.figures["alpha"]["low"] <= 0 <= found.figures["alpha"]["high"]
    assert found.severity == "warning"


def test_votes_of_ties_that_were_left_out_count() -> None:
    rows = [voted_pair(number, _votes("ccc")) for number in range(4)]
    split = [
        tie(
            9,
            [
                {"annotator": f"annotator-{at}", "choice": c}
                for at, c in enumerate(("first", "second", "tie"))
            ],
        )
    ]
    found = _findings(table_of(rows, split))["agreement"]
    assert (found.count, found.of) == (1, 5)
    assert found.figures["num_ties_left_out"] == 1


def test_each_annotator_is_compared_with_the_majority_of_the_others() -> None:
    rows = [voted_pair(0, _votes("ccr")), voted_pair(1, _votes("ccc")), voted_pair(2, _votes("crt"))]
    table = {one.name: one.agreement for one in annotator_figures(table_of(rows))}
    # annotator-2 stands against two on the first item and with two on the second; on the third the others are split.
    third = table["annotator-2"]
    assert third is not None
    assert (third.successes, third.of) == (1, 2)
    # annotator-0: the others are split on the first and the third item.
    first = table["annotator-0"]
    assert first is not None
    assert (first.successes, first.of) == (1, 1)


def test_one_vote_an_item_is_said_to_show_no_agreement() -> None:
    found = _findings(table_of([voted_pair(number, _votes("c")) for number in range(30)]))["agreement"]
    assert found.figures["alpha"] is None
    assert "cannot be measured" in found.title


def test_a_careless_annotator_is_found() -> None:
    rng = np.random.default_rng(1)
    found = _findings(table_of(simulated(rng, 300, accuracy=[0.9, 0.9, 0.6])))
    assert found["weak_annotator"].figures["annotators"] == ["annotator-2"]
    flags = {row["annotator"]: row["flags"] for row in found["agreement"].figures["annotators"]}
    assert flags == {"annotator-0": [], "annotator-1": [], "annotator-2": ["weak_annotator"]}


def test_annotators_of_one_quality_are_left_alone() -> None:
    # Any of 200 sets may flag somebody by chance: 5 % at most by design; 20 would come once in 1,000 times.
    rng = np.random.default_rng(2)
    named = 0
    for _ in range(200):
        table = table_of(simulated(rng, 60, accuracy=[0.8] * 5, votes_each=3))
        named += "weak_annotator" in _findings(table)
    assert named < 20


def test_an_annotator_who_takes_the_first_reply_always_is_found() -> None:
    rng = np.random.default_rng(3)
    found = _findings(table_of(simulated(rng, 60, accuracy=[0.9, 0.9, 0.9], first_bias=[0, 0, 1.0])))
    assert found["one_sided_annotator"].figures["annotators"] == ["annotator-2"]


def test_an_annotator_who_takes_the_longer_reply_always_is_found_unless_all_do() -> None:
    def row(number: int, others: str) -> Any:
        short, long = "good", "a poor reply, much longer"
        votes = [note("bound", "chosen", "second"), note("x", "chosen", others), note("y", "chosen", others)]
        return voted_pair(number, votes, chosen=short, rejected=long)

    apart = _findings(table_of([row(number, "first") for number in range(40)]))
    together = _findings(table_of([row(number, "second") for number in range(40)]))
    assert set(apart["length_bound_annotator"].figures["annotators"]) == {"bound", "x", "y"}
    assert "length_bound_annotator" not in together


def test_few_votes_are_said_and_not_judged() -> None:
    rows = [voted_pair(number, _votes("cc")) for number in range(30)]
    rows += [
        voted_pair(30 + number, [note("guest", "chosen", "second"), *_votes("cc")]) for number in range(5)
    ]
    found = _findings(table_of(rows))
    assert found["few_votes"].figures["annotators"] == ["guest"]
    assert "weak_annotator" not in found


def _real_table(path: Path) -> VoteTable:
    votes = Votes()
    for number, row in enumerate(iter_rows(path)):
        if isinstance(row, Dropped):
            votes.see_dropped(row)
        else:
            votes.see(number, row)  # type: ignore[arg-type]
    return votes.table()


def test_agreement_on_real_votes_is_that_of_the_krippendorff_package(test_data: Path) -> None:
    package = pytest.importorskip("krippendorff")
    for name, items in (
        ("raw_formats/pandalm_testset_raw.json", 506),
        ("multijudge_alpacaeval.jsonl.gz", 398),
    ):
        table = _real_table(test_data / name)
        found = _findings(table)["agreement"]
        assert found.of == items
        expected = package.alpha(value_counts=table.counts(), level_of_measurement="nominal")
        assert found.figures["alpha"]["value"] == pytest.approx(expected)


def test_kappas_on_real_votes_are_those_of_other_libraries(test_data: Path) -> None:
    # scikit-learn 1.9.1's cohen_kappa_score and statsmodels 0.15's fleiss_kappa on the columns annotator1 to 3 of the
    # 506 rows whose replies are both text.
    figures = _findings(_real_table(test_data / "raw_formats/pandalm_testset_raw.json"))["agreement"].figures
    assert figures["kappa"]["value"] == pytest.approx(0.8299008238)
    assert [row["value"] for row in figures["pairwise"]] == pytest.approx(
        [0.8153336, 0.8587864, 0.8161539], abs=1e-6
    )
