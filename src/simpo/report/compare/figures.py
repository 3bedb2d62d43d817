"""The charts of a comparison: accuracy and its differences by kind of pair, win rates, reply lengths, prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator, NullLocator

from simpo.report.charts import panel
from simpo.report.compare.source import ComparedPreference, CompareFile, CostRow, PairOfModels
from simpo.report.compare.views import REFERENCES, models, rate_words, series_of
from simpo.report.estimates import OPEN, SERIES, GroupRow, group_chart
from simpo.report.figures import Chart
from simpo.report.svg import GRID, MUTED, PAPER, label, theme, to_svg
from simpo.report.words import count, memory, number, whole

CUTS = (
    ("longer", "By which is longer"),
    ("length_matched", "At matched lengths"),
    ("length_quartile", "By length of the pair"),
    ("category", "By category"),
)
MAX_ROWS = 10
WIDTH = 360


def key_of(comparison: CompareFile) -> tuple[tuple[str, str], ...]:
    """The colours of the models as (colour, name)."""
    colours, names = series_of(comparison), comparison.labels
    return tuple((colours[model], names[model]) for model in models(comparison))


def accuracy_charts(comparison: CompareFile) -> Iterator[Chart]:
    """Held-out accuracy of every model under both yardsticks, and under the common one by kind of pair."""
    preference = comparison.preference
    if preference is None:
        return
    rows = [_own_row(comparison, preference), _common_row(comparison, preference)]
    svg = group_chart(
        "accuracy",
        [row for row in rows if row.estimates],
        unit="pairwise accuracy, %",
        even=0.5,
        description="Held-out accuracy of each model under its own reward and under one yardstick",
    )
    yield Chart("All held-out pairs", svg)
    for by, title in CUTS:
        parts = _strata_rows(comparison, preference, by)
        if parts:
            svg = group_chart(
                f"accuracy-{by}",
                parts[:MAX_ROWS],
                unit=f"accuracy under {preference.common}, %",
                even=0.5,
                description=f"Accuracy of each model, {title.lower()}",
            )
            note = f"The first {MAX_ROWS} of {whole(len(parts))}." if len(parts) > MAX_ROWS else ""
            yield Chart(title, svg, (), note)


def _own_row(comparison: CompareFile, preference: ComparedPreference) -> GroupRow:
    colours, found = series_of(comparison), preference.models
    picked = [(colours[model], found[model].own) for model in models(comparison) if model in found]
    return GroupRow("own reward", tuple((series, each) for series, each in picked if each is not None))


def _common_row(comparison: CompareFile, preference: ComparedPreference) -> GroupRow:
    colours, found = series_of(comparison), preference.models
    picked = [(colours[model], found[model].common) for model in models(comparison) if model in found]
    return GroupRow(preference.common, tuple((series, each) for series, each in picked if each is not None))


def _strata_rows(comparison: CompareFile, preference: ComparedPreference, by: str) -> list[GroupRow]:
    """One row a part of the pairs, in the order of the first model that has it, with each model's accuracy there."""
    colours = series_of(comparison)
    sizes = {
        part.name: part.num_pairs
        for found in preference.models.values()
        for part in found.strata
        if part.by == by
    }
    rows = []
    for name, num_pairs in sizes.items():
        picked = [
            (colours[model], part.common)
            for model in models(comparison)
            if model in preference.models
            for part in preference.models[model].strata
            if (part.by, part.name) == (by, name)
        ]
        estimates = tuple((series, each) for series, each in picked if each is not None)
        if estimates:
            rows.append(GroupRow(name, estimates, count(num_pairs, "pair")))
    return rows


def difference_chart(comparison: CompareFile) -> Chart | None:
    """The first two methods pair by pair, over all pairs and by kind of pair, under the common yardstick."""
    preference = comparison.preference
    if preference is None or len(comparison.methods) < 2:
        return None
    first, second = comparison.methods[0].id, comparison.methods[1].id
    found = next(
        (each for each in preference.differences if (each.first, each.second) == (first, second)), None
    )
    if found is None or found.common is None:
        return None
    rows = [
        GroupRow("all pairs", ((series_of(comparison)[first], found.common),)),
        *_difference_rows(comparison, found),
    ]
    names = comparison.labels
    svg = group_chart(
        "differences",
        rows[: 2 * MAX_ROWS],
        unit="difference in accuracy, points",
        even=0.0,
        limits=(-100.0, 100.0),
        description=f"Accuracy of {names[first]} less that of {names[second]}, by kind of pair",
    )
    note = f"Right of the dashed line {names[first]} is better, left of it {names[second]}."
    return Chart(f"{names[first]} less {names[second]}", svg, (), note)


def _difference_rows(comparison: CompareFile, found: PairOfModels) -> Iterator[GroupRow]:
    colour = series_of(comparison)[found.first]
    for by, _ in CUTS:
        for part in found.strata:
            if part.by == by and part.common is not None:
                yield GroupRow(part.name, ((colour, part.common),), count(part.num_pairs, "pair"))


def win_chart(comparison: CompareFile) -> Chart | None:
    """Win rates of every two models, raw and at equal length."""
    generation = comparison.generation
    if generation is None or not generation.win_rates:
        return None
    rows = []
    for rate in generation.win_rates:
        name, note = rate_words(comparison, rate)
        controlled = [("m0", rate.length_controlled)] if rate.length_controlled is not None else []
        rows.append(GroupRow(name, (("base", rate.raw), *controlled), note))
    svg = group_chart(
        "wins", rows, unit="win rate, %", even=0.5, description="Win rates, raw and with length taken out"
    )
    extrapolated = any(
        rate.length_controlled is not None and rate.length_controlled.extrapolated
        for rate in generation.win_rates
    )
    note = "At equal length: a logistic model with a term for length, fitted here."
    if extrapolated:
        note += " In some no reply was as long as the other's: there it is extrapolated."
    return Chart("Who wins?", svg, (("base", "raw"), ("m0", "at equal length")), note)


def length_chart(comparison: CompareFile) -> Chart | None:
    """Reply lengths of every model: median, and 10th to 90th percentile."""
    generation = comparison.generation
    if generation is None:
        return None
    colours, names = series_of(comparison), comparison.labels
    shown = [model for model in models(comparison) if model in generation.models]
    with theme():
        figure, axes = panel(WIDTH, 40 * len(shown) + 44, left=8, top=8)
        axes.grid(visible=False)
        across = axes.get_yaxis_transform()
        for place, model in enumerate(shown):
            chars, series = generation.models[model].chars, colours[model]
            axes.axhline(place, color=GRID, linewidth=0.8, zorder=0)
            if chars.p10 is not None and chars.p90 is not None:
                axes.plot([chars.p10, chars.p90], [place, place], color=SERIES[series], linewidth=2)
            axes.plot(
                [chars.median],
                [place],
                color=SERIES[series],
                marker="o",
                markersize=8,
                markerfacecolor=PAPER if series in OPEN else SERIES[series],
                markeredgewidth=1.8,
            )
            axes.text(0, place - 0.26, label(names[model], 34), transform=across, ha="left", va="bottom")
            note = f"median {whole(chars.median)}"
            axes.text(1, place - 0.26, note, transform=across, ha="right", va="bottom", color=MUTED)
        axes.set_xlim(left=0)
        axes.set_ylim(len(shown) - 0.55, -0.8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(NullLocator())
        axes.set_xlabel("characters a reply", loc="right", labelpad=2)
        svg = to_svg(figure, "reply-lengths", "Reply lengths of each model")
    return Chart("How long are the replies?", svg, (), "Dot: median. Line: 10th to 90th percentile.")


def cost_charts(comparison: CompareFile) -> Iterator[Chart]:
    """Memory and time of each way of training, as bars."""
    rows = [row for row in comparison.cost if row.measured == "trial"] or list(comparison.cost)
    memories = [(row, row.peak_memory_bytes, memory(row.peak_memory_bytes)) for row in rows]
    times = [(row, row.seconds_per_pair, f"{number(row.seconds_per_pair, 3)} s") for row in rows]
    for name, title, bars in (("memory", "Peak memory", memories), ("time", "Seconds per pair", times)):
        known = [(row, value, text) for row, value, text in bars if value is not None]
        if len(known) > 1:
            yield Chart(title, _bars(comparison, name, title, known))


def _bars(
    comparison: CompareFile, name: str, title: str, bars: Sequence[tuple[CostRow, float, str]]
) -> Markup:
    colours, names = series_of(comparison), comparison.labels
    most = max(value for _, value, _ in bars) or 1.0
    with theme():
        figure, axes = panel(WIDTH, 46 * len(bars) + 20, left=8, top=4)
        axes.grid(visible=False)
        for place, (row, value, text) in enumerate(bars):
            axes.barh(
                place + 0.12,
                value / most,
                height=0.34,
                color=SERIES[colours.get(row.method, "m3")],
                alpha=0.8,
            )
            how = REFERENCES.get(row.reference or "", "")
            words = f"{names.get(row.method, row.method)}{f', {how}' if how else ''}"
            axes.text(0, place - 0.12, label(words, 40), ha="left", va="bottom")
            axes.text(value / most, place + 0.12, f"  {text}", ha="left", va="center", color=MUTED)
        axes.set_xlim(0, 1.28)
        axes.set_ylim(len(bars) - 0.5, -0.55)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure, f"cost-{name}", title)
