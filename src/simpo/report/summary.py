"""The closing table of a run: the same figures on the screen and in the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simpo.report.comparison import accuracy_change
from simpo.report.source import Estimate, Evaluation, Generation, Preference, RunSource, Stratum, read_source
from simpo.report.words import (
    count,
    duration,
    memory,
    number,
    number_range,
    percent,
    percent_range,
    points,
    whole,
)

STRATA = ("length_quartile", "longer")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One line: what it is, the figure before and after training as text (empty where there is none), a remark.

    `before_range` and `after_range` are the 95 % intervals, without brackets. `part` marks a row that splits up the
    one above it, `key` the few that stand at the top of a report.
    """

    label: str
    before: str = ""
    after: str = ""
    before_range: str = ""
    after_range: str = ""
    note: str = ""
    part: bool = False
    key: bool = True

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Label, before, after, note, each interval in brackets behind its figure: a line of a printed table."""
        return (
            "  " * self.part + self.label,
            _with(self.before, self.before_range),
            _with(self.after, self.after_range),
            self.note,
        )


def summary_table(run: Path) -> list[SummaryRow]:
    """The closing table of a run folder; rows without a figure are left out.

    Raises `RecipeError` where the folder is no run, `DataError` where a file in it cannot be read.
    """
    return summary_rows(read_source(run))


def summary_rows(source: RunSource) -> list[SummaryRow]:
    """The closing table of a run that is read already."""
    return [
        *_validation(source),
        *_accuracy(source),
        *_strata(source),
        *_replies(source),
        *_win_rate(source),
        *_cost(source),
    ]


def _with(figure: str, interval: str) -> str:
    return f"{figure} ({interval})" if figure and interval else figure


def _preference(evaluation: Evaluation | None) -> Preference | None:
    return evaluation.preference if evaluation else None


def _generation(evaluation: Evaluation | None) -> Generation | None:
    return evaluation.generation if evaluation else None


def _validation(source: RunSource) -> list[SummaryRow]:
    """Only for a run that was not evaluated before and after: what validation said while it trained."""
    if source.before or source.after:
        return []
    measured = [event for event in source.all("evaluate") if event.get("loss") is not None]
    if not measured:
        return []
    first, best = measured[0], min(measured, key=lambda event: float(event["loss"]))
    when = f"step {whole(first['step'])} to step {whole(best['step'])}, where the loss is lowest"
    unit = "mean over the pairs" if source.row_word == "pairs" else "nats per token"
    rows = [
        SummaryRow(
            "Validation loss", number(first["loss"], 3), number(best["loss"], 3), note=f"{unit}; {when}"
        )
    ]
    if best.get("accuracy") is not None:
        rows.append(
            SummaryRow(
                "Validation accuracy", percent(first.get("accuracy")), percent(best["accuracy"]), note=when
            )
        )
    return rows


def _accuracy(source: RunSource) -> list[SummaryRow]:
    before, after = _preference(source.before), _preference(source.after)
    either = after or before
    if either is None:
        return []
    note = f"{count(either.num_pairs, 'pair')}, {count(either.num_prompts, 'prompt')}"
    change = accuracy_change(source)
    if change is not None:
        note += f"; change {points(change.value)} points ({points(change.low)} to {points(change.high)})"
    return [
        _shares(
            "Held-out pairwise accuracy",
            before.accuracy.reward if before else None,
            after.accuracy.reward if after else None,
            note,
        )
    ]


def _strata(source: RunSource) -> list[SummaryRow]:
    return [
        _shares(
            part.name,
            part.before.accuracy if part.before else None,
            part.after.accuracy if part.after else None,
            count(part.num_pairs, "pair"),
            part=True,
        )
        for by in STRATA
        for part in matched_strata(source, by)
    ]


@dataclass(frozen=True, slots=True)
class MatchedStratum:
    """One part of the held-out pairs as it was before and after training; at least one of the two is there."""

    name: str
    before: Stratum | None
    after: Stratum | None

    @property
    def num_pairs(self) -> int:
        """Pairs in it, by the newer of the two."""
        newest = self.after or self.before
        return newest.num_pairs if newest else 0


def matched_strata(source: RunSource, by: str) -> list[MatchedStratum]:
    """The strata of one cut, in the order of the evaluation after training."""
    before, after = (
        {part.name: part for part in preference.strata if part.by == by} if preference else {}
        for preference in (_preference(source.before), _preference(source.after))
    )
    return [
        MatchedStratum(name, before.get(name), after.get(name)) for name in dict.fromkeys([*after, *before])
    ]


def _shares(
    label: str, before: Estimate | None, after: Estimate | None, note: str, part: bool = False
) -> SummaryRow:
    return SummaryRow(
        label,
        percent(before.value) if before else "",
        percent(after.value) if after else "",
        percent_range(before.low, before.high) if before else "",
        percent_range(after.low, after.high) if after else "",
        note,
        part,
        not part,
    )


def _replies(source: RunSource) -> list[SummaryRow]:
    before, after = _generation(source.before), _generation(source.after)
    sides = [side for side in (before, after) if side is not None]
    if not sides:
        return []
    replies = sides[-1].num_prompts
    note = f"{whole(replies)} {'reply' if replies == 1 else 'replies'}"
    spread = number_range(sides[-1].chars.p10, sides[-1].chars.p90, 0)
    rows = [
        SummaryRow(
            "Median reply length, characters",
            whole(before.chars.median) if before else "",
            whole(after.chars.median) if after else "",
            note=f"{note}; 10th to 90th percentile {spread}" if spread else note,
        ),
        SummaryRow(
            "Replies that stop",
            percent(before.stopped) if before else "",
            percent(after.stopped) if after else "",
            note=f"within {sides[-1].settings.get('max_new_tokens', 'the allowed')} tokens",
        ),
    ]
    if any(side.repeated_4gram is not None for side in sides):
        rows.append(
            SummaryRow(
                "Repetition",
                percent(before.repeated_4gram) if before else "",
                percent(after.repeated_4gram) if after else "",
                note="share of 4-grams that repeat an earlier one of their reply",
            )
        )
    return rows + _judge(before, after)


def _judge(before: Generation | None, after: Generation | None) -> list[SummaryRow]:
    old, new = before.judge if before else None, after.judge if after else None
    named = new or old
    if named is None:
        return []
    rows = [
        SummaryRow(
            "Rubric score",
            number(old.mean.value) if old else "",
            number(new.mean.value) if new else "",
            number_range(old.mean.low, old.mean.high) if old else "",
            number_range(new.mean.low, new.mean.high) if new else "",
            f"mean over the replies; judge {named.name}",
            key=False,
        )
    ]
    if any(judge and judge.escalation_rate is not None for judge in (old, new)):
        rows.append(
            SummaryRow(
                "Escalations",
                percent(old.escalation_rate) if old else "",
                percent(new.escalation_rate) if new else "",
                note="share of replies after which, says the judge, the customer escalates",
                key=False,
            )
        )
    return rows


def _win_rate(source: RunSource) -> list[SummaryRow]:
    win_rate = source.after.win_rate if source.after else None
    if win_rate is None:
        return []
    counts = f"{whole(win_rate.wins)} won, {whole(win_rate.ties)} tied, {whole(win_rate.losses)} lost"
    return [
        SummaryRow(
            "Rubric win rate",
            after=percent(win_rate.value),
            after_range=percent_range(win_rate.low, win_rate.high),
            note=f"against {win_rate.against}; {counts}; 50 % is a draw",
        )
    ]


def _cost(source: RunSource) -> list[SummaryRow]:
    stop = source.last("stop")
    if stop is None:
        return []
    rate = stop.get("pairs_per_second")
    rows = [
        SummaryRow(
            "Training time",
            after=duration(stop.get("seconds")),
            note=f"{number(rate)} {source.row_word} per second" if rate else "",
        )
    ]
    if stop.get("peak_memory_bytes"):
        rows.append(SummaryRow("Peak memory", after=memory(stop["peak_memory_bytes"]), note="while training"))
    return rows


@dataclass(frozen=True, slots=True)
class OtherRow:
    """An evaluation under a label of the user's own, which stands beside before and after."""

    label: str
    note: str
    accuracy: str
    accuracy_range: str
    length: str
    stopped: str


def other_rows(source: RunSource) -> list[OtherRow]:
    """The evaluations that are neither `before` nor `after`, by label."""
    others = [item for item in sorted(source.evaluations.items()) if item[0] not in ("before", "after")]
    return [_other_row(label, evaluation) for label, evaluation in others]


def _other_row(label: str, evaluation: Evaluation) -> OtherRow:
    accuracy = evaluation.preference.accuracy.reward if evaluation.preference else None
    replies = evaluation.generation
    pairs = f"{count(evaluation.preference.num_pairs, 'pair')} of " if evaluation.preference else ""
    return OtherRow(
        label,
        f"{pairs}{evaluation.data.get('name', '')}",
        percent(accuracy.value) if accuracy else "",
        percent_range(accuracy.low, accuracy.high) if accuracy else "",
        f"{whole(replies.chars.median)} characters" if replies else "",
        percent(replies.stopped) if replies else "",
    )
