"""Held-out pairs in figures: each method under its own reward and one yardstick, by part, and method by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from simpo.core.crossed import crossed_difference, crossed_mean
from simpo.core.intervals import Floats, Interval, Ints
from simpo.core.matching import length_matched
from simpo.core.mcnemar import mcnemar
from simpo.core.metrics import pair_wins, strata
from simpo.core.power import pairs_needed
from simpo.evaluate.files import Evaluation
from simpo.study.compare.plan import BASE

COMMON = "mean log-probability"  # nats per token: needs no reference and is every model's own


@dataclass(frozen=True, slots=True, eq=False)
class PairTable:
    """Outcomes of N held-out pairs for each model's K seeds: 1 where chosen scores higher, 0.5 for a tie.

    own: by id, [K, N] under the method's reward; common: by id and for the base, under mean log-probability. chosen,
    rejected: by id, [K, N] mean log-probabilities. prompts: [N] clusters. parts: (by, name, places).
    """

    prompts: list[str]
    own: Mapping[str, Floats]
    common: Mapping[str, Floats]
    chosen: Mapping[str, Floats]
    rejected: Mapping[str, Floats]
    margins: Mapping[str, Floats]
    parts: list[tuple[str, str, Ints]]

    def accuracy(self, table: Mapping[str, Floats], id_: str, at: Ints | None = None) -> Interval:
        """A model's accuracy over the pairs at these places."""
        values, prompts = self._part(table[id_], at)
        return crossed_mean(values, prompts)

    def difference(
        self, table: Mapping[str, Floats], first: str, second: str, at: Ints | None = None
    ) -> Interval:
        """The first model's accuracy minus the second's, pair by pair."""
        a, prompts = self._part(table[first], at)
        b, _ = self._part(table[second], at)
        return crossed_difference(a, b, prompts)

    def _part(self, values: Floats, at: Ints | None) -> tuple[Floats, list[str]]:
        if at is None:
            return values, self.prompts
        return values[:, at], [self.prompts[place] for place in at]


def pair_table(evaluations: Mapping[str, Sequence[Evaluation]]) -> PairTable:
    """The pairs that all evaluations scored, side by side. evaluations: by id (the base among them), one a seed.

    Raises ValueError where they have no pair in common.
    """
    keyed = {
        id_: [_by_key(evaluation.pairs) for evaluation in several] for id_, several in evaluations.items()
    }
    first = keyed[BASE][0]
    keys = [key for key in first if all(key in one for several in keyed.values() for one in several)]
    if not keys:
        raise ValueError("the evaluations have no pair in common")
    rows = [first[key] for key in keys]

    def matrix(id_: str, name: str) -> Floats:
        return np.asarray([[one[key][name] for key in keys] for one in keyed[id_]], dtype=np.float64)

    def means(side: str) -> dict[str, Floats]:
        return {id_: matrix(id_, f"{side}_total") / matrix(id_, f"{side}_tokens") for id_ in keyed}

    chosen, rejected = means("chosen"), means("rejected")
    rewards = {
        id_: (matrix(id_, "chosen_reward"), matrix(id_, "rejected_reward")) for id_ in keyed if id_ != BASE
    }
    return PairTable(
        prompts=[str(row["prompt_id"]) for row in rows],
        own={id_: _wins(*both) for id_, both in rewards.items()},
        common={id_: _wins(chosen[id_], rejected[id_]) for id_ in keyed},
        chosen=chosen,
        rejected=rejected,
        margins={id_: a - b for id_, (a, b) in rewards.items()},
        parts=_parts(rows),
    )


def preference_json(table: PairTable) -> dict[str, Any]:
    """The `preference` section: every model alone, every two methods, and every method against the base."""
    ids = [id_ for id_ in table.common if id_ != BASE]
    couples = [*combinations(ids, 2), *((id_, BASE) for id_ in ids)]
    return {
        "common": COMMON,
        "models": {id_: _model_json(table, id_) for id_ in table.common},
        "differences": [_difference_json(table, first, second) for first, second in couples],
    }


def _model_json(table: PairTable, id_: str) -> dict[str, Any]:
    own = table.own.get(id_)
    return {
        "own": None if own is None else table.accuracy(table.own, id_).to_json(),
        "common": table.accuracy(table.common, id_).to_json(),
        "per_seed": {
            "own": None if own is None else own.mean(axis=1).tolist(),
            "common": table.common[id_].mean(axis=1).tolist(),
        },
        "chosen_logps": float(table.chosen[id_].mean()),
        "rejected_logps": float(table.rejected[id_].mean()),
        "margin": None if own is None else float(table.margins[id_].mean()),
        "strata": [
            {
                "by": by,
                "name": name,
                "num_pairs": len(at),
                "own": None if own is None else table.accuracy(table.own, id_, at).to_json(),
                "common": table.accuracy(table.common, id_, at).to_json(),
            }
            for by, name, at in table.parts
        ],
    }


def _difference_json(table: PairTable, first: str, second: str) -> dict[str, Any]:
    with_own = first in table.own and second in table.own
    return {
        "first": first,
        "second": second,
        "own": _tested(table, table.own, first, second) if with_own else None,
        "common": _tested(table, table.common, first, second),
        "strata": [
            {
                "by": by,
                "name": name,
                "num_pairs": len(at),
                "own": table.difference(table.own, first, second, at).to_json() if with_own else None,
                "common": table.difference(table.common, first, second, at).to_json(),
            }
            for by, name, at in table.parts
        ],
    }


def _tested(table: PairTable, outcomes: Mapping[str, Floats], first: str, second: str) -> dict[str, Any]:
    a, b = outcomes[first], outcomes[second]
    seeds = max(len(a), len(b)) if min(len(a), len(b)) == 1 else min(len(a), len(b))
    a_rows, b_rows = (np.broadcast_to(x, (seeds, x.shape[1])) if len(x) == 1 else x[:seeds] for x in (a, b))
    test = mcnemar(a_rows.ravel(), b_rows.ravel(), table.prompts * seeds)
    return {
        **table.difference(outcomes, first, second).to_json(),
        "mcnemar": test.to_json(),
        "needed": pairs_needed(a.mean(axis=0), b.mean(axis=0), table.prompts).to_json(),
    }


def _wins(chosen: Floats, rejected: Floats) -> Floats:
    return np.stack([pair_wins(a, b) for a, b in zip(chosen, rejected, strict=True)])


def _by_key(pairs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Pairs by content and, for pairs that stand there twice, by how often it came before."""
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    seen: dict[str, int] = {}
    for pair in pairs:
        id_ = str(pair["id"])
        found[id_, seen.get(id_, 0)] = pair
        seen[id_] = seen.get(id_, 0) + 1
    return found


def _parts(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Ints]]:
    chosen, rejected = [row["chosen_chars"] for row in rows], [row["rejected_chars"] for row in rows]
    cut = strata(chosen, rejected, [row["category"] for row in rows])
    matched = length_matched(chosen, rejected)
    parts: list[tuple[str, str, Ints]] = [(part.by, part.name, part.members) for part in cut]
    if len(matched):
        parts.append(("length_matched", "as many longer as shorter chosen", matched))
    return parts
