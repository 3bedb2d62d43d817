"""What training would see of its data: the rows of a recipe rendered, counted and checked, no weight loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simpo.data.checks import Check, check_rendering
from simpo.data.render import Rendered, Renderer, render_rows, rendering_json
from simpo.errors import DataError
from simpo.model.load import load_tokenizer
from simpo.recipe import Recipe
from simpo.records import Dataset, TokenGroup
from simpo.train.prepare import load_data, tokenizer_renderer

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The data sets of a recipe as they were read and rendered, and the checks on all that was rendered."""

    renderer: Renderer
    datasets: dict[str, Dataset]
    rendered: dict[str, Rendered]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    def to_json(self, num_pairs: int) -> dict[str, Any]:
        """Everything as plain values; of the training rows the first `num_pairs` token by token."""
        groups = self.rendered["train"].groups
        stops = self.renderer.tokenizer.convert_ids_to_tokens(sorted(self.renderer.stop_ids))
        return {
            "template": self.renderer.template.name,
            "dated": self.renderer.template.dated,
            "stop_tokens": stops,
            "written_before_each_reply": self.renderer.frame.head if self.renderer.frame else "",
            "data": {name: self._data_json(name) for name in self.datasets},
            "checks": [
                {"name": check.name, "passed": check.passed, "detail": check.detail} for check in self.checks
            ],
            **rendering_json(groups[:num_pairs], self.renderer),
        }

    def _data_json(self, name: str) -> dict[str, Any]:
        dataset, rendered = self.datasets[name], self.rendered[name]
        counts: dict[str, int] = {}
        for row in (*dataset.dropped, *rendered.dropped):
            counts[row.reason] = counts.get(row.reason, 0) + 1
        return {
            "name": dataset.name,
            "format": dataset.format,
            "rows": len(dataset.rows) + len(dataset.dropped),
            "rendered": len(rendered.groups),
            "dropped": dict(sorted(counts.items())),
            "merged_boundaries": rendered.merged_boundaries,
            "trimmed_prompts": rendered.trimmed_prompts,
            "tokens": token_lengths(rendered.groups),
        }


def inspect_rendering(recipe: Recipe, progress: Progress | None = None) -> Inspection:
    """Render the training and validation rows of a recipe as a run would, and check what came out.

    Rows that cannot be rendered are listed, whatever `data.on_bad_row` says. Raises RecipeError and DataError as
    reading the data and loading the tokenizer do, and DataError where no training row is left.
    """
    datasets = load_data(recipe)
    tokenizer, stop_ids = load_tokenizer(recipe.model)
    renderer = tokenizer_renderer(tokenizer, stop_ids, recipe.data)
    rendered = {name: _render(dataset, renderer, progress) for name, dataset in datasets.items()}
    if not rendered["train"].groups:
        first = rendered["train"].dropped[0]
        raise DataError(f"no row can be rendered; the first: {first.detail}", where=str(first.source))
    everything = [group for part in rendered.values() for group in part.groups]
    return Inspection(renderer, datasets, rendered, tuple(check_rendering(everything, renderer)))


def token_lengths(groups: Sequence[TokenGroup]) -> dict[str, dict[str, float]]:
    """Median, 90th percentile and longest length in tokens of prompts and of each completion."""
    if not groups:
        return {}
    names = ("chosen", "rejected") if len(groups[0].completions) == 2 else ("completion",)
    lengths = {"prompt": [len(group.prompt) for group in groups]}
    for place, name in enumerate(names):
        lengths[name] = [len(group.completions[place]) for group in groups]
    return {
        name: {
            "median": float(np.median(values)),
            "p90": float(np.quantile(values, 0.9, method="higher")),
            "longest": max(values),
        }
        for name, values in lengths.items()
    }


def _render(dataset: Dataset, renderer: Renderer, progress: Progress | None) -> Rendered:
    report = None if progress is None else lambda done: progress("tokenising", done, len(dataset.rows))
    return render_rows(dataset.rows, renderer, report)


__all__ = ["Inspection", "inspect_rendering", "token_lengths"]
