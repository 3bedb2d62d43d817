"""Replies in figures: lengths, stops and scores of every model, and who wins against whom, raw and at equal lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from simpo.core.crossed import crossed_difference, crossed_mean
from simpo.core.intervals import Floats
from simpo.core.length_control import length_controlled_rate
from simpo.core.metrics import Summary, pair_wins
from simpo.evaluate.files import Evaluation
from simpo.evaluate.judge import Judge
from simpo.evaluate.pair_judge import PairJudge, compares_replies
from simpo.records import Row
from simpo.study.compare.plan import BASE

NUM_SAMPLES = 12  # prompts whose replies are shown side by side

Reply = Mapping[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReplyTable:
    """Replies of every model's K seeds to the same P prompts: by id (the base among them), K lists of P lines."""

    prompts: list[str]
    replies: Mapping[str, list[list[Reply]]]

    def numbers(self, id_: str, value: Callable[[Reply], float]) -> Floats:
        """[K, P] of a figure of each reply."""
        return np.asarray([[value(reply) for reply in seed] for seed in self.replies[id_]], dtype=np.float64)


def reply_table(evaluations: Mapping[str, Sequence[Evaluation]]) -> ReplyTable | None:
    """The prompts that all models replied to; None where there is none."""
    keyed = {
        id_: [{str(line["prompt_id"]): line for line in evaluation.replies} for evaluation in several]
        for id_, several in evaluations.items()
    }
    prompts = [
        prompt for prompt in keyed[BASE][0] if all(prompt in one for each in keyed.values() for one in each)
    ]
    if not prompts:
        return None
    replies: dict[str, list[list[Reply]]] = {
        id_: [[one[prompt] for prompt in prompts] for one in each] for id_, each in keyed.items()
    }
    return ReplyTable(prompts, replies)


def generation_json(
    table: ReplyTable,
    evaluations: Mapping[str, Sequence[Evaluation]],
    judge: Judge | None,
    pair_judge: PairJudge | None,
    rows: Mapping[str, Row],
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The `generation` section. judge: scores are in the replies already; pair_judge: is asked here, about `rows`.

    Raises RunFailed where the judge fails.
    """
    ids = [id_ for id_ in table.replies if id_ != BASE]
    couples = [*((id_, BASE) for id_ in ids), *combinations(ids, 2)]
    return {
        "num_prompts": len(table.prompts),
        "settings": evaluations[BASE][0].report["generation"]["settings"],
        "judge": _judge_json(judge),
        "models": {
            id_: _model_json(table, id_, [each.report["generation"] for each in evaluations[id_]])
            for id_ in table.replies
        },
        "win_rates": _win_rates(table, couples, judge, pair_judge, rows, progress),
        "samples": _samples(table),
    }


def _judge_json(judge: Judge | None) -> dict[str, Any] | None:
    if judge is None:
        return None
    pairs = compares_replies(judge)
    kind = "pair" if pairs else "score"
    return {"name": judge.name, "hash": judge.hash, "kind": kind, "both_orders": pairs}


def _model_json(table: ReplyTable, id_: str, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines = [reply for seed in table.replies[id_] for reply in seed]
    chars = Summary.of([reply["chars"] for reply in lines])
    scored = all(reply["score"] is not None for reply in lines)
    escalates = all(reply["escalates"] is not None for reply in lines)
    stopped = table.numbers(id_, lambda reply: float(reply["stopped"]))
    per_seed = table.numbers(id_, lambda reply: float(reply["chars"]))
    scores = table.numbers(id_, lambda reply: float(reply["score"])) if scored else None
    return {
        "chars": chars.to_json(),
        "stopped": crossed_mean(stopped, table.prompts).to_json(),
        "repeated_4gram": float(np.mean([report["repeated_4gram"] for report in reports])),
        "repetitive": float(np.mean([report["repetitive"] for report in reports])),
        "distinct_2": float(np.mean([report["distinct_2"] for report in reports])),
        "score": None if scores is None else crossed_mean(scores, table.prompts, bounds=None).to_json(),
        "parts": _parts(lines),
        "escalation": _escalation(table, id_) if escalates else None,
        "changes": None if id_ == BASE else _changes(table, id_, with_escalation=escalates),
        "per_seed": {
            "median_chars": np.median(per_seed, axis=1).tolist(),
            "stopped": stopped.mean(axis=1).tolist(),
            "score": None if scores is None else scores.mean(axis=1).tolist(),
        },
    }


def _escalation(table: ReplyTable, id_: str) -> dict[str, float | None]:
    escalates = table.numbers(id_, lambda reply: float(reply["escalates"]))
    return crossed_mean(escalates, table.prompts).to_json()


def _changes(table: ReplyTable, id_: str, *, with_escalation: bool) -> dict[str, Any]:
    """Stops and escalations against the starting model's, prompt by prompt."""

    def change(value: Callable[[Reply], float]) -> dict[str, float | None]:
        ours, theirs = table.numbers(id_, value), table.numbers(BASE, value)
        return crossed_difference(ours, theirs, table.prompts).to_json()

    known = with_escalation and all(reply["escalates"] is not None for reply in table.replies[BASE][0])
    return {
        "stopped": change(lambda reply: float(reply["stopped"])),
        "escalation": change(lambda reply: float(reply["escalates"])) if known else None,
    }


def _parts(lines: Sequence[Reply]) -> dict[str, float]:
    names = dict.fromkeys(name for line in lines for name in line["parts"] or {})
    return {
        name: float(np.mean([line["parts"][name] for line in lines if name in (line["parts"] or {})]))
        for name in names
    }


def _win_rates(
    table: ReplyTable,
    couples: Sequence[tuple[str, str]],
    judge: Judge | None,
    pair_judge: PairJudge | None,
    rows: Mapping[str, Row],
    progress: Progress | None,
) -> list[dict[str, Any]]:
    if judge is None:
        return []
    found = []
    for number, (first, second) in enumerate(couples):
        seeds = _side_by_side(table, first, second)
        agreement: float | None = None
        if pair_judge is None:
            outcomes = np.stack(
                [
                    pair_wins([r["score"] for r in ours], [r["score"] for r in theirs])
                    for ours, theirs in seeds
                ]
            )
        else:
            outcomes, agreement = _asked(table, seeds, pair_judge, rows)
        found.append(_win_rate(table, first, second, seeds, outcomes, agreement))
        if progress is not None:
            progress(number + 1, len(couples))
    return found


def _side_by_side(table: ReplyTable, first: str, second: str) -> list[tuple[list[Reply], list[Reply]]]:
    """The replies of seed k of one beside those of seed k of the other; a single one stands beside all."""
    ours, theirs = table.replies[first], table.replies[second]
    count = max(len(ours), len(theirs)) if min(len(ours), len(theirs)) == 1 else min(len(ours), len(theirs))
    return [(ours[k % len(ours)], theirs[k % len(theirs)]) for k in range(count)]


def _asked(
    table: ReplyTable,
    seeds: Sequence[tuple[list[Reply], list[Reply]]],
    judge: PairJudge,
    rows: Mapping[str, Row],
) -> tuple[Floats, float]:
    verdicts = [
        [
            judge(rows[prompt], str(a["reply"]), str(b["reply"]))
            for prompt, a, b in zip(table.prompts, ours, theirs, strict=True)
        ]
        for ours, theirs in seeds
    ]
    outcomes = np.asarray([[verdict.outcome for verdict in seed] for seed in verdicts])
    return outcomes, float(np.mean([verdict.agrees for seed in verdicts for verdict in seed]))


def _win_rate(
    table: ReplyTable,
    first: str,
    second: str,
    seeds: Sequence[tuple[list[Reply], list[Reply]]],
    outcomes: Floats,
    agreement: float | None,
) -> dict[str, Any]:
    lengths, other = ([float(reply["chars"]) for both in seeds for reply in both[side]] for side in (0, 1))
    controlled = length_controlled_rate(outcomes.ravel(), lengths, other, table.prompts * len(seeds))
    counts = {
        "wins": int((outcomes > 0.5).sum()),
        "ties": int((outcomes == 0.5).sum()),
        "losses": int((outcomes < 0.5).sum()),
    }
    return {
        "first": first,
        "second": second,
        "raw": {**crossed_mean(outcomes, table.prompts).to_json(), **counts},
        "length_controlled": controlled.to_json(),
        "agreement_of_orders": agreement,
    }


def _samples(table: ReplyTable) -> list[dict[str, Any]]:
    samples = []
    for place in range(min(NUM_SAMPLES, len(table.prompts))):
        shown = {id_: seeds[0][place] for id_, seeds in table.replies.items()}
        asked = shown[BASE]
        samples.append(
            {
                "prompt": asked["prompt"],
                "chosen": asked["chosen"],
                "rejected": asked["rejected"],
                "category": asked["category"],
                "replies": {
                    id_: {
                        "text": reply["reply"],
                        "chars": reply["chars"],
                        "stopped": reply["stopped"],
                        "score": reply["score"],
                        "escalates": reply["escalates"],
                    }
                    for id_, reply in shown.items()
                },
            }
        )
    return samples
