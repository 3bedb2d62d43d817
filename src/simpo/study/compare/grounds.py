"""What speaks for a method and what against it: sentences from a comparison's figures, each told by who is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from simpo.core.methods import METHODS
from simpo.study.compare.plan import BASE

Json = Mapping[str, Any]

# What counts as a difference worth a manager's sentence. Shares are in [0, 1], ratios are of the chosen to the other.
THRESHOLDS: Mapping[str, float] = MappingProxyType(
    {
        "stop_share_loss": 0.05,  # fewer replies that end by themselves than the starting model's
        "length_ratio": 1.25,  # median reply longer than the starting model's by this factor
        "repetitive_share": 0.05,  # replies of which more than half repeats
        "escalation_rise": 0.02,  # more escalations than the starting model's, where the interval excludes none
        "regression_loss": 0.02,  # on a regression set, where the interval excludes none
        "drift_nats": 0.5,  # mean divergence from the start per token: replies of another model
        "orders_agree": 0.7,  # of a judge asked in both orders
        "few_pairs": 200,
        "few_prompts": 100,
        "few_seeds": 3,
        "memory_ratio": 1.1,
        "time_ratio": 1.1,
        "seen_share": 0.01,  # of the held-out prompts that were trained on
    }
)


@dataclass(frozen=True, slots=True)
class Edge:
    """By how much one model is ahead of another (difference, or win rate less a half), and whether clearly."""

    value: float
    low: float | None
    high: float | None

    @property
    def clearly(self) -> int:
        """1 ahead, -1 behind, 0 where the interval holds none, or is missing."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


class Figures:
    """A comparison's figures, asked for by what a sentence needs."""

    def __init__(self, comparison: Json) -> None:
        self.all = comparison
        self.preference: Json = comparison["preference"]
        self.generation: Json | None = comparison.get("generation")
        self.labels: dict[str, str] = {m["id"]: m["label"] for m in comparison["methods"]}
        self.ids: list[str] = [id_ for id_ in self.preference["models"] if id_ != BASE]
        rates = (self.generation or {}).get("win_rates") or []
        self.judged = bool(rates)
        self._rates = {(rate["first"], rate["second"]): rate for rate in rates}
        self._differences = {(d["first"], d["second"]): d for d in self.preference["differences"]}

    def label(self, id_: str) -> str:
        return "the starting model" if id_ == BASE else self.labels[id_]

    def candidate(self) -> str:
        """The method that leads, or one that is not clearly behind it and with which less got worse."""
        if self.judged:
            ahead = sorted(self.ids, key=lambda id_: -self.against(id_, BASE).value)
        else:
            ahead = sorted(self.ids, key=lambda id_: -float(self.preference["models"][id_]["own"]["value"]))
        level = [id_ for id_ in ahead if id_ == ahead[0] or self.against(ahead[0], id_).clearly <= 0]
        better = [id_ for id_ in level if self.against(id_, BASE).clearly > 0]
        return min(better or ahead[:1], key=lambda id_: len(self.harm(id_)))

    def against(self, first: str, second: str) -> Edge:
        """By the judge where there is one; else by accuracy.

        Of a method with a reference the starting model knows no reward (all pairs are ties): chance stands in for it.
        """
        if self.judged:
            return self.by_judge(first, second)
        if second == BASE and self._has_reference(first):
            own = self.preference["models"][first]["own"]
            return Edge(own["value"] - 0.5, _less(own["low"], 0.5), _less(own["high"], 0.5))
        return self.by_accuracy(first, second)

    def _has_reference(self, id_: str) -> bool:
        return METHODS[next(str(m["name"]) for m in self.all["methods"] if m["id"] == id_)].reference

    def by_judge(self, first: str, second: str, kind: str = "raw") -> Edge:
        turned = (first, second) not in self._rates
        rate = self._rates[(second, first) if turned else (first, second)][kind]
        return _turned(Edge(rate["value"] - 0.5, _less(rate["low"], 0.5), _less(rate["high"], 0.5)), turned)

    def by_accuracy(self, first: str, second: str) -> Edge:
        turned = (first, second) not in self._differences
        found = self._differences[(second, first) if turned else (first, second)]
        figure = found["own"] or found["common"]
        return _turned(Edge(figure["value"], figure["low"], figure["high"]), turned)

    def sides(self, best: str, other: str) -> tuple[list[str], list[str]]:
        """What compares `best` with another method: sentences for it, and sentences against it.

        Each figure is told from the side of whoever is ahead in it, so that none that is worse is listed as a reason.
        """
        found: tuple[list[str], list[str]] = ([], [])
        if self.judged:
            raw, equal = self.by_judge(best, other), self.by_judge(best, other, "length_controlled")
            if not _level(raw) and not _level(equal) and _ahead(raw) == _ahead(equal):
                more = f", {_share(_up(equal), 0.5)} at equal lengths"
                found[not _ahead(raw)].append(self._preferred(best, other, raw, more))
            else:
                found[not _ahead(raw)].append(self._preferred(best, other, raw))
                found[not _ahead(equal)].append(self._preferred(best, other, equal, ", at equal lengths"))
        edge = self.by_accuracy(best, other)
        found[not _ahead(edge)].append(self._ordered(best, other, edge))
        return found

    def contradicted(self, best: str, other: str) -> bool:
        """Whether a figure that did not choose says clearly that the other method is better."""
        figures = [self.by_accuracy(best, other)]
        if self.judged:
            figures.append(self.by_judge(best, other, "length_controlled"))
        return any(edge.clearly < 0 for edge in figures)

    def _preferred(self, best: str, other: str, edge: Edge, more: str = "") -> str:
        first, second = self._by_rank(best, other, edge)
        if _level(edge):
            return f"The judge preferred {first}'s reply to {second}'s as often as the other way round{more}."
        return (
            f"On {self._count('num_prompts')} prompts the judge preferred {first}'s reply to {second}'s in "
            f"{_share(_up(edge), 0.5)} of cases{more}{_doubt(edge)}."
        )

    def _ordered(self, best: str, other: str, edge: Edge) -> str:
        first, second = self._by_rank(best, other, edge)
        up = _up(edge)
        if _level(edge):
            return (
                f"Each by its own reward, {first} and {second} order as many of the held-out pairs rightly."
            )
        interval = "" if up.low is None or up.high is None else f" ({_points(up.low)} to {_points(up.high)})"
        return (
            f"Each by its own reward, {first} orders {up.value * 100:.1f} points more of "
            f"{self.all['data']['num_pairs']} held-out pairs rightly than {second}{interval}{_doubt(edge)}."
        )

    def _by_rank(self, best: str, other: str, edge: Edge) -> tuple[str, str]:
        names = self.label(best), self.label(other)
        return names if edge.value >= 0 else names[::-1]

    def start(self, best: str) -> str:
        """A method against the starting model."""
        name, edge = self.label(best), self.against(best, BASE)
        if self.judged:
            return f"Against the starting model {name} wins {_share(edge, 0.5)}."
        if self._has_reference(best):
            return f"{name} orders {_share(edge, 0.5)} of the pairs rightly; tossing a coin gives 50 %."
        more = "more" if edge.value >= 0 else "fewer"
        return f"{name} orders {abs(edge.value) * 100:.1f} points {more} of the pairs rightly than the starting model."

    def price(self, best: str, other: str) -> tuple[list[str], list[str]]:
        """Time and memory that training it took: less of them than the other method, and more.

        Time is told by the cost trials alone, where all steps of one took longer than all of the other: trials follow
        on each other and are made twice, while a run has met whatever else the machine did that hour.
        """
        trials, runs = self._costs(best, other, "trial"), self._costs(best, other, "run")
        found: tuple[list[str], list[str]] = ([], [])
        if trials is not None:
            ours, theirs = trials
            time = ours["seconds_per_pair"] / theirs["seconds_per_pair"]
            apart = (
                ours["seconds_per_pair_low"] > theirs["seconds_per_pair_high"]
                or theirs["seconds_per_pair_low"] > ours["seconds_per_pair_high"]
            )
            if apart and not 1 / THRESHOLDS["time_ratio"] < time < THRESHOLDS["time_ratio"]:
                scored = "precomputed" in (ours["reference"], theirs["reference"])
                ahead = " (with the reference scored ahead)" if scored else ""
                found[time > 1].append(f"{_compared(time, 'time a pair')}{ahead}")
        if trials or runs:
            ours, theirs = trials or runs or ({}, {})
            memory = _ratio(ours["peak_memory_bytes"], theirs["peak_memory_bytes"])
            if memory and not 1 / THRESHOLDS["memory_ratio"] < memory < THRESHOLDS["memory_ratio"]:
                found[memory > 1].append(_compared(memory, "memory"))
        less, more = (
            [f"Training {self.label(best)} took {' and '.join(words)} than training {self.label(other)}."]
            if words
            else []
            for words in found
        )
        return less, more

    def _costs(self, best: str, other: str, source: str) -> tuple[Json, Json] | None:
        """The cost of both, as they were trained, from the same kind of measurement; None where one lacks it."""
        ours, theirs = self._cost(best, source), self._cost(other, source)
        return None if ours is None or theirs is None else (ours, theirs)

    def _cost(self, id_: str, source: str) -> Json | None:
        rows = [row for row in self.all.get("cost") or [] if row["method"] == id_]
        mode = next(
            (row["reference"] for row in rows if row["from"] == "run"), rows[0]["reference"] if rows else None
        )
        return next((row for row in rows if row["from"] == source and row["reference"] == mode), None)

    def harm(self, best: str) -> list[str]:
        """What clearly got worse than in the starting model."""
        return [*self._reply_harm(best), *self._regression_harm(best), *self._drift_harm(best)]

    def _reply_harm(self, best: str) -> list[str]:
        if self.generation is None:
            return []
        ours, start = self.generation["models"][best], self.generation["models"][BASE]
        found = []
        lost = start["stopped"]["value"] - ours["stopped"]["value"]
        if lost > THRESHOLDS["stop_share_loss"]:
            found.append(
                f"Only {_percent(ours['stopped']['value'])} of its replies end by themselves, "
                f"{_percent(start['stopped']['value'])} of the starting model's."
            )
        ratio = _ratio(ours["chars"]["median"], start["chars"]["median"])
        if ratio is not None and ratio > THRESHOLDS["length_ratio"]:
            found.append(
                f"Its replies are {_times(ratio)} as long ({ours['chars']['median']:.0f} characters, "
                f"before {start['chars']['median']:.0f})."
            )
        if ours["repetitive"] - start["repetitive"] > THRESHOLDS["repetitive_share"]:
            found.append(f"{_percent(ours['repetitive'])} of its replies mostly repeat themselves.")
        rise = (ours["changes"] or {}).get("escalation")
        if (
            rise
            and rise["low"] is not None
            and rise["low"] > 0
            and rise["value"] > THRESHOLDS["escalation_rise"]
        ):
            found.append(
                f"Escalations rise from {_percent(start['escalation']['value'])} to "
                f"{_percent(ours['escalation']['value'])}."
            )
        return found

    def _regression_harm(self, best: str) -> list[str]:
        found = []
        for each in self.all.get("regression") or []:
            change = each["changes"].get(best)
            if change and change["high"] is not None and change["high"] < 0:
                if -change["value"] < THRESHOLDS["regression_loss"]:
                    continue
                found.append(
                    f"On {each['name']} it lost {-change['value'] * 100:.1f} points "
                    f"({-change['high'] * 100:.1f} to {-change['low'] * 100:.1f})."
                )
        return found

    def _drift_harm(self, best: str) -> list[str]:
        drift = (self.all.get("drift") or {"models": {}})["models"].get(best)
        if not drift or drift["chosen"]["value"] <= THRESHOLDS["drift_nats"]:
            return []
        return [
            f"It has moved {drift['chosen']['value']:.2f} nats per token from the starting model, which is far."
        ]

    def limits(self, best: str) -> list[str]:
        """What these figures cannot say."""
        found = []
        seeds = min(len([run for run in m["runs"] if run["status"] == "done"]) for m in self.all["methods"])
        if seeds < THRESHOLDS["few_seeds"]:
            found.append(
                f"Only {seeds} training seed{'s' if seeds != 1 else ''}: another may turn out otherwise."
            )
        pairs = self.all["data"]["num_pairs"]
        if pairs < THRESHOLDS["few_pairs"]:
            found.append(f"Only {pairs} held-out pairs.")
        if self.judged and self._count("num_prompts") < THRESHOLDS["few_prompts"]:
            found.append(f"Only {self._count('num_prompts')} prompts were judged.")
        found += self._judge_limits(best)
        seen = self.all["data"].get("seen_in_training") or 0
        if seen > THRESHOLDS["seen_share"] * self.all["data"]["num_prompts"]:
            found.append(f"{seen} of the held-out prompts were trained on.")
        if not self.judged:
            found.append("No judge read the replies: accuracy on pairs is not quality.")
        return found

    def _judge_limits(self, best: str) -> list[str]:
        found = []
        for (first, second), rate in self._rates.items():
            if best not in (first, second):
                continue
            agreement = rate["agreement_of_orders"]
            if agreement is not None and agreement < THRESHOLDS["orders_agree"]:
                found.append(
                    f"The judge changed its mind with the order in {_percent(1 - agreement)} of cases "
                    f"({self.label(first)} and {self.label(second)})."
                )
            if rate["length_controlled"]["extrapolated"]:
                found.append(
                    f"Nearly all replies of {self.label(first)} differ in length from those of {self.label(second)} "
                    "in one direction: the rate at equal lengths is a guess."
                )
        return found

    def _count(self, name: str) -> int:
        return int((self.generation or {})[name])


def _turned(edge: Edge, turned: bool) -> Edge:
    if not turned:
        return edge
    low, high = (None if end is None else -end for end in (edge.high, edge.low))
    return Edge(-edge.value, low, high)


def _up(edge: Edge) -> Edge:
    """The same difference from the side of whoever is ahead."""
    return _turned(edge, edge.value < 0)


def _ahead(edge: Edge) -> bool:
    return edge.value > 0 and not _level(edge)


def _level(edge: Edge) -> bool:
    """Whether a difference is none at the decimals that are told."""
    return abs(edge.value) < 0.0005


def _doubt(edge: Edge) -> str:
    return "" if edge.clearly else ": this may be chance"


def _less(value: float | None, by: float) -> float | None:
    return None if value is None else value - by


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if not value or not other else value / other


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _points(difference: float) -> str:
    return f"{difference * 100:+.1f}"


def _share(edge: Edge, offset: float) -> str:
    value = _percent(edge.value + offset)
    if edge.low is None or edge.high is None:
        return value
    return f"{value} ({_percent(edge.low + offset)} to {_percent(edge.high + offset)})"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times"


def _compared(ratio: float, what: str) -> str:
    return f"{abs(ratio - 1) * 100:.0f} % {'more' if ratio > 1 else 'less'} {what}"
