"""The ranking of turned labels against the truth: floors on a small Harbor, and how a ranking is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_truth import Ranking, harbor, main, noisy


def test_planted_flips_are_ranked_far_above_chance(tmp_path: Path) -> None:
    result = harbor(tmp_path, seed=1, num_pairs=3000)
    rankings = {one.name: one for one in result.rankings}
    assert rankings["the audit"].auc > 0.8
    assert rankings["the audit"].auc > rankings["length"].auc + 0.1
    assert rankings["the audit"].precision[25] >= 0.5
    low, high = result.rate["low"], result.rate["high"]
    assert low is not None and high is not None
    assert low <= 0.06 and high >= 0.04
    assert any("suspected" in line or "not counted" in line for line in result.lines())


def test_a_ranking_by_hand() -> None:
    turned = np.array([True, False, True, False])
    found = Ranking.of("x", np.array([4.0, 3.0, 2.0, 1.0]), turned)
    assert found.auc == 0.75
    assert found.precision[2] == 0.5
    # Hanley and McNeil: q1 = 0.75 / 1.25 = 0.6, q2 = 1.125 / 1.75 = 0.642857; (0.1875 + 0.0375 + 0.080357) / 4.
    assert found.low == pytest.approx(0.75 - 1.96 * 0.276295, abs=1e-4)


def test_the_label_noise_set_is_ranked_better_than_chance_and_not_counted(test_data: Path) -> None:
    result = noisy(test_data, None)
    assert (result.pairs, result.turned, result.counted) == (764, 152, False)
    assert result.rankings[0].low > 0.5


def test_results_can_be_had_as_json(test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "0", "--noisy", str(test_data), "--json"])
    (result,) = json.loads(capsys.readouterr().out)
    assert result["rankings"][0]["name"] == "the audit"
