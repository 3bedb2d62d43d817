"""How long the pairs are in a model's tokens, and how many would not fit."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from simpo.audit.findings import MAX_EXAMPLES, Finding, Witness
from simpo.audit.tally import witness
from simpo.audit.words import part_of
from simpo.data.render import Renderer
from simpo.records import Pair, TokenGroup

LENGTHS = (512, 1024, 2048, 4096)  # tokens of prompt and completion
DEFAULT_LENGTH = 2048  # of data.max_length
MUCH = 0.01  # share of the pairs from which those that do not fit are worth a warning
NO_LIMIT = 1 << 30
_AT_ONCE = 1024
_LIMITS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")

Lengths = npt.NDArray[np.int32]


class TokenLengths:
    """Renders each pair as training would and keeps three lengths: of the prompt and of both completions.

    renderer: its `max_length` must be NO_LIMIT, for what is too long is measured too. max_length: what the pairs should
    fit in, prompt and longer completion together; own_limit: the most that the model was made for, None for unknown.
    """

    def __init__(
        self, renderer: Renderer, *, max_length: int = DEFAULT_LENGTH, own_limit: int | None = None
    ) -> None:
        if renderer.max_length < NO_LIMIT:
            raise ValueError(f"the renderer drops what is longer than {renderer.max_length} tokens")
        self._renderer = renderer
        self._fit = min(max_length, own_limit or max_length)
        self._own_limit = own_limit
        self._waiting: list[tuple[int, Pair]] = []
        self._numbers = array("q")
        self._lengths = {name: array("i") for name in ("prompt", "chosen", "rejected")}
        self._refused: Counter[str] = Counter()
        self._refused_rows = array("q")
        self._long: list[Witness] = []
        self._refused_examples: list[Witness] = []
        self._seen = 0

    @classmethod
    def of_model(cls, name: str, *, max_length: int = DEFAULT_LENGTH, template: str = "model") -> Self:
        """For a model folder, a run folder or a hub id; no weight is loaded. Raises RecipeError as loading does."""
        from simpo.model.load import load_tokenizer
        from simpo.recipe import ModelRecipe

        tokenizer, stop_ids = load_tokenizer(ModelRecipe(name=name))
        renderer = Renderer(tokenizer, stop_ids=stop_ids, template=template, max_length=NO_LIMIT)
        return cls(renderer, max_length=max_length, own_limit=context_length(name))

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self._seen += 1
        self._waiting.append((number, pair))
        if len(self._waiting) >= _AT_ONCE:
            self._render()

    def findings(self) -> list[Finding]:
        """The lengths, with what does not fit; and the pairs that the template cannot render, if any."""
        self._render()
        findings = []
        if self._refused_rows:
            findings.append(self._unrenderable())
        if self._numbers:
            findings.append(self._token_lengths())
        return findings

    def _render(self) -> None:
        waiting, self._waiting = self._waiting, []
        rendered = self._renderer.render_rows([pair for _, pair in waiting])
        groups = {id(group.row): group for group in rendered.groups}
        reasons = iter(rendered.dropped)
        for number, pair in waiting:
            group = groups.get(id(pair))
            if group is not None:
                self._measure(number, pair, group)
                continue
            dropped = next(reasons)
            self._refused[dropped.reason] += 1
            self._refused_rows.append(number)
            if len(self._refused_examples) < MAX_EXAMPLES:
                self._refused_examples.append(witness(pair, dropped.detail))

    def _measure(self, number: int, pair: Pair, group: TokenGroup) -> None:
        chosen, rejected = map(len, group.completions)
        self._numbers.append(number)
        for name, length in zip(self._lengths, (len(group.prompt), chosen, rejected), strict=True):
            self._lengths[name].append(length)
        if group.longest > self._fit and len(self._long) < MAX_EXAMPLES:
            detail = f"{len(group.prompt):,} tokens of prompt, {chosen:,} chosen, {rejected:,} rejected"
            self._long.append(witness(pair, detail))

    def _token_lengths(self) -> Finding:
        lengths = {name: np.array(values, dtype=np.int32) for name, values in self._lengths.items()}
        longest = lengths["prompt"] + np.maximum(lengths["chosen"], lengths["rejected"])
        over = longest > self._fit
        count, of = int(over.sum()), self._seen
        covers = int(np.quantile(longest, 0.99, method="higher"))
        title = (
            f"{part_of(count, of, 'pairs')} longer than {self._fit:,} tokens"
            if count
            else f"Every pair fits in {self._fit:,} tokens"
        )
        action = (
            f"With data.max_length {covers} 99 of 100 pairs fit; those that do not are left out of training."
            if count
            else f"Nothing. With data.max_length {int(longest.max())} all of them fit."
        )
        return Finding(
            "token_lengths",
            "warning" if count > MUCH * of else "note",
            f"{title}; the median is {np.median(longest):,.0f}, the longest {longest.max():,}.",
            action,
            count,
            of,
            examples=tuple(self._long),
            rows=np.array(self._numbers, dtype=np.int64)[over],
            figures=self._figures(lengths, longest, over),
        )

    def _figures(
        self, lengths: Mapping[str, Lengths], longest: Lengths, over: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        limits = sorted({*LENGTHS, self._fit, *([self._own_limit] if self._own_limit else [])})
        longer = lengths["chosen"][over] > lengths["rejected"][over]
        return {
            "fit": self._fit,
            "own_limit": self._own_limit,
            "over": {str(limit): int((longest > limit).sum()) for limit in limits},
            "over_with_longer_chosen": int(longer.sum()),
            "tokens": {name: _spread(values) for name, values in {**lengths, "whole": longest}.items()},
        }

    def _unrenderable(self) -> Finding:
        count, of = len(self._refused_rows), self._seen
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in self._refused.most_common())
        return Finding(
            "unrenderable",
            "error",
            f"{part_of(count, of, 'pairs')} not to be rendered for this model ({reasons}).",
            "Drop them, or mend the turns that the chat template refuses.",
            count,
            of,
            examples=tuple(self._refused_examples),
            rows=np.array(self._refused_rows, dtype=np.int64),
            repair="drop",
            figures={"reasons": dict(self._refused.most_common())},
        )


def _spread(values: Lengths) -> dict[str, float]:
    """Median, 90th and 99th percentile and longest, in tokens."""
    return {
        "median": float(np.median(values)),
        "p90": float(np.quantile(values, 0.9, method="higher")),
        "p99": float(np.quantile(values, 0.99, method="higher")),
        "longest": int(values.max()),
    }


def context_length(name: str) -> int | None:
    """The most tokens that a model was made for, as its configuration says; None where it says nothing."""
    from simpo.model.find import base_of, is_adapter_folder, resolve_model_folder
    from simpo.runs.folder import read_json

    folder, _ = resolve_model_folder(name, None, code=False)
    config = read_json((base_of(folder, False) if is_adapter_folder(folder) else folder) / "config.json")
    for section in (config, config.get("text_config")):
        for key in _LIMITS:
            if isinstance(section, dict) and isinstance(section.get(key), int) and section[key] > 0:
                return int(section[key])
    return None
