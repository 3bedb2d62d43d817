"""How well `simpo audit` ranks turned labels, where it is known which ones were turned.

    python -m benchmarks.label_truth                          # Harbor's planted flips at full size, seed 0
    python -m benchmarks.label_truth --seeds 3 --json
    python -m benchmarks.label_truth --noisy DIR              # also label_noise_ultrafeedback.jsonl.gz in this folder,
                                                              # or in the one that SIMPO_TEST_DATA names
    python -m benchmarks.label_truth --noisy DIR --model M    # scored by a language model too (there alone)

In Harbor 5 % of the rows are mirrored, votes and all; others are wrong because annotators erred, which the rubric judge
tells. Precision is given against both: "turned" are the planted ones, "wrong" all rows whose rejected reply the judge
prefers. Rankings by length alone and by style stand beside the audit's. Precision and recall have Wilson's 95 %
interval, the AUC that of Hanley and McNeil 1982.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simpo.audit.labels.flips import suspicion
from simpo.audit.labels.judged import judge
from simpo.audit.labels.model_scores import model_scorer
from simpo.audit.labels.sample import PairSample
from simpo.core.intervals import Floats, wilson
from simpo.core.ranking import auc
from simpo.data.read import iter_rows
from simpo.records import Pair

NOISY, NOISY_TRUTH = "label_noise_ultrafeedback.jsonl.gz", "label_noise_ultrafeedback_truth.jsonl"
FIRST = (10, 25, 50, 100, 250)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well one order of the pairs puts the turned labels first: AUC, and precision among the first k."""

    name: str
    auc: float
    low: float
    high: float
    precision: dict[int, float]

    @classmethod
    def of(cls, name: str, suspected: Floats, turned: Mask) -> Ranking:
        """suspected: [N], higher is more suspected."""
        value = auc(suspected[turned], suspected[~turned])
        half = 1.96 * _auc_error(value, int(turned.sum()), int((~turned).sum()))
        order = np.argsort(-suspected, kind="stable")
        first = {k: float(turned[order[:k]].mean()) for k in sorted({*FIRST, int(turned.sum())})}
        return cls(name, value, max(0.0, value - half), min(1.0, value + half), first)

    def line(self) -> str:
        """One row of the table."""
        shares = "".join(f"{100 * share:9.0f} %" for share in self.precision.values())
        return f"{self.name:<26}{self.auc:6.3f} ({self.low:.3f} to {self.high:.3f}){shares}"


@dataclass(frozen=True, slots=True)
class Result:
    """One data set: how many labels were turned, the rankings, the rate that was estimated, and what was counted."""

    name: str
    pairs: int
    turned: int
    rankings: list[Ranking]
    rate: dict[str, float | None]
    counted: bool
    suspected: int
    precision: str
    recall: str
    wrong: str | None
    wrong_share: float | None

    def lines(self) -> list[str]:
        """The table."""
        first = self.rankings[0].precision
        heading = "".join(f"{f'first {k}':>11}" for k in first)
        rate = [100 * (self.rate[end] or 0.0) for end in ("value", "low", "high")]
        found = [
            f"{self.name}: {self.turned} of {self.pairs:,} labels turned ({100 * self.turned / self.pairs:.1f} %)",
            f"  {'ranking':<26}{'AUC':>6}{'':>17}{heading}",
            *(f"  {ranking.line()}" for ranking in self.rankings),
            f"  rate estimated {rate[0]:.1f} % ({rate[1]:.1f} to {rate[2]:.1f} %), "
            f"{'counted' if self.counted else 'not counted: the scores do not bound it'}",
        ]
        if self.suspected:
            found.append(f"  {self.suspected} suspected: precision {self.precision}, recall {self.recall}")
        if self.suspected and self.wrong is not None and self.wrong_share is not None:
            found.append(
                f"  by the rubric judge {100 * self.wrong_share:.1f} % of all are wrong, of those {self.wrong}"
            )
        return found


def _auc_error(value: float, positive: int, negative: int) -> float:
    """Standard error of an AUC: Hanley and McNeil 1982."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (positive - 1) * (q1 - value**2) + (negative - 1) * (q2 - value**2)
    return math.sqrt(spread / (positive * negative))


def _share(part: int, whole: int) -> str:
    interval = wilson(part, whole)
    return f"{interval.value:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def measure(
    name: str, pairs: Sequence[Pair], turned: Mask, wrong: Mask | None = None, model: str | None = None
) -> Result:
    """Rank these pairs as the audit does, and compare with which labels were turned (and which are wrong)."""
    sample = PairSample()
    for number, pair in enumerate(pairs):
        sample.see(number, pair)
    judged = judge(sample, None if model is None else model_scorer(model, progress=_tell))
    found = suspicion(judged.scores, sample.kept, sample.prompts)
    # The score parts labels whose chance is the same.
    ranks = np.lexsort((-judged.scores, found.wrong)).argsort().astype(np.float64)
    by_words = suspicion(judged.by_words, sample.kept, sample.prompts).wrong
    rankings = [
        Ranking.of("the audit", ranks, turned),
        Ranking.of(
            "all words", np.lexsort((-judged.by_words, by_words)).argsort().astype(np.float64), turned
        ),
        Ranking.of("length and style", -judged.by_marks, turned),
        Ranking.of("length", -judged.features.log_ratio * np.sign(judged.features.log_ratio.mean()), turned),
    ]
    if judged.model is not None:
        rankings.append(Ranking.of("the model alone", -np.nan_to_num(judged.model, nan=0.0), turned))
    likely = (found.wrong >= 0.5) & found.counted
    hits, count = int(turned[likely].sum()), int(likely.sum())
    return Result(
        name=name,
        pairs=len(pairs),
        turned=int(turned.sum()),
        rankings=rankings if model is not None else [rankings[0], *rankings[2:]],
        rate=found.noise.rate.to_json(),
        counted=found.counted,
        suspected=count,
        precision=_share(hits, count) if count else "-",
        recall=_share(hits, int(turned.sum())),
        wrong=None if wrong is None or not count else _share(int(wrong[likely].sum()), count),
        wrong_share=None if wrong is None else float(wrong.mean()),
    )


def _tell(done: int, total: int) -> None:
    end = "\n" if done == total else "\r"
    print(f"scored by the model: {done} of {total} pairs", end=end, file=sys.stderr, flush=True)


def _pairs(path: Path) -> list[Pair]:
    return [row for row in iter_rows(path) if isinstance(row, Pair)]


def harbor(folder: Path, seed: int, num_pairs: int) -> Result:
    """Harbor's training pairs with their defects, written to `folder`."""
    from examples.harbor.generate import generate
    from examples.harbor.judge import score

    generate(folder, seed=seed, num_sft=0, num_pairs=num_pairs)
    pairs = _pairs(folder / "pairs_train.jsonl")
    truth = _truth(folder / "truth.jsonl")
    turned = np.array([truth.get(pair.extra["id"], {}).get("kind") == "flipped" for pair in pairs])

    def lead(pair: Pair) -> float:
        prompt = [turn.as_dict() for turn in pair.prompt]
        better, worse = (score(prompt, reply, pair.extra)["score"] for reply in pair.completions)
        return float(better - worse)

    wrong = np.array([lead(pair) < 0 for pair in pairs])
    return measure(f"Harbor, seed {seed}", pairs, turned, wrong)


def noisy(folder: Path, model: str | None) -> Result:
    """The label-noise set."""
    pairs, truth = _pairs(folder / NOISY), _truth(folder / NOISY_TRUTH)
    turned = np.array([bool(truth[pair.extra["id"]]["flipped"]) for pair in pairs])
    return measure("UltraFeedback with turned labels", pairs, turned, model=model)


def _truth(path: Path) -> dict[str, dict[str, Any]]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row for row in rows}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12000, help="preference rows of Harbor (default 12000)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="how many Harbor sets, from seed 0 on (0 for none)"
    )
    parser.add_argument(
        "--noisy", type=Path, default=os.environ.get("SIMPO_TEST_DATA"), help=f"folder with {NOISY}"
    )
    parser.add_argument("--model", help="a language model that scores the label-noise set too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    results = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(harbor(Path(folder), seed, options.pairs))
    if options.noisy is not None:
        results.append(noisy(Path(options.noisy), options.model))
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    for result in results:
        print("\n".join(result.lines()))


if __name__ == "__main__":
    main()
