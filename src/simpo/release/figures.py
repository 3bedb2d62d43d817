"""The part of a card that says what was measured, before and after training, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simpo.release.lineage import data_name
from simpo.release.markdown import plain, table
from simpo.runs.folder import RunFolder, read_json

Figures = Mapping[str, Any]
Row = tuple[str, str, str]


def evaluation_section(run: RunFolder, events: Sequence[Figures]) -> str:
    """The evaluations `before` and `after` side by side, else what validation said, else that nothing was measured."""
    before, after = (_read(run, label) for label in ("before", "after"))
    newest = after or before
    if newest is None:
        return "## Evaluation\n\n" + _validation(events)
    rows = [
        row
        for row in (*_accuracy_rows(before, after), *_reply_rows(before, after), *_win_rows(after))
        if row[1] or row[2]
    ]
    preference = newest.get("preference") or {}
    about = (
        f"\n{plain(preference.get('num_pairs', 0))} pairs with {plain(preference.get('num_prompts', 0))} prompts of "
        f"{plain(data_name(newest.get('data') or {}))}. In brackets: 95 % bootstrap intervals over prompts. Pairwise "
        "accuracy is the share of pairs in which the chosen reply scores higher, ties half.\n"
    )
    hashes = {side["data"].get("hash") for side in (before, after) if side and side.get("data")}
    if len(hashes) > 1:
        about += "\nBefore and after were measured on different data: the columns cannot be compared.\n"
    return "## Evaluation\n\n" + table(("measure", "before training", "after training"), rows) + about


def _read(run: RunFolder, label: str) -> Figures | None:
    path = run.evaluation_path(label)
    return read_json(path) if path.is_file() else None


def _validation(events: Sequence[Figures]) -> str:
    measured = [event for event in events if event["event"] == "evaluate" and event.get("loss") is not None]
    if not measured:
        return "No evaluation was made: there are no figures to go by.\n"
    first, best = measured[0], min(measured, key=lambda event: float(event["loss"]))
    rows = [
        (name, _number(first.get(key)), _number(best.get(key)))
        for name, key in (("validation loss", "loss"), ("validation pairwise accuracy", "accuracy"))
        if best.get(key) is not None
    ]
    columns = ("measure", f"step {first['step']}", f"step {best['step']}")
    return (
        table(columns, rows)
        + "\nMeasured while training, on the data that chose the checkpoint; no intervals.\n"
    )


def _accuracy_rows(before: Figures | None, after: Figures | None) -> list[Row]:
    rows = [
        _row(name, before, after, ("preference", "accuracy", key), _share)
        for name, key in (
            ("pairwise accuracy, by the method's reward", "reward"),
            ("pairwise accuracy, by mean log-probability", "mean_logps"),
            ("pairwise accuracy, by total log-probability", "total_logps"),
        )
    ]
    strata = [
        {
            stratum["name"]: stratum["accuracy"]
            for stratum in ((side or {}).get("preference") or {}).get("strata") or []
            if stratum.get("by") == "longer"
        }
        for side in (before, after)
    ]
    rows += [
        (f"accuracy, {name}", _share(strata[0].get(name)), _share(strata[1].get(name)))
        for name in dict.fromkeys([*strata[1], *strata[0]])
    ]
    return rows


def _reply_rows(before: Figures | None, after: Figures | None) -> list[Row]:
    measures: list[tuple[str, tuple[str, ...], Callable[[Any], str]]] = [
        ("median reply length, characters", ("chars", "median"), _number),
        ("replies that stop by themselves", ("stopped",), _share),
        ("repeated 4-grams", ("repeated_4gram",), _share),
        ("judge's mean score", ("judge", "mean"), _number),
        ("replies that escalate", ("judge", "escalation_rate"), _share),
    ]
    return [_row(name, before, after, ("generation", *path), form) for name, path, form in measures]


def _win_rows(after: Figures | None) -> list[Row]:
    win = (after or {}).get("win_rate")
    if not win:
        return []
    counts = f"{win.get('wins')} won, {win.get('ties')} tied, {win.get('losses')} lost"
    return [(f"win rate against {win.get('against')} ({counts})", "", _share(win))]


def _row(
    name: str,
    before: Figures | None,
    after: Figures | None,
    path: tuple[str, ...],
    form: Callable[[Any], str],
) -> Row:
    return name, form(_at(before, path)), form(_at(after, path))


def _at(figures: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        figures = figures.get(key) if isinstance(figures, Mapping) else None
    return figures


def _share(value: Any) -> str:
    """A share in [0, 1], or an estimate of one with its interval, as a percentage; empty where there is none."""
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        interval = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
        return _share(value.get("value")) + interval if value.get("value") is not None else ""
    return "" if value is None else f"{100 * float(value):.1f} %"


def _number(value: Any) -> str:
    """A figure, or an estimate with its interval; empty where there is none."""
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        interval = f" ({low:.4g} to {high:.4g})" if low is not None and high is not None else ""
        return _number(value.get("value")) + interval if value.get("value") is not None else ""
    return "" if value is None else f"{float(value):.4g}"
