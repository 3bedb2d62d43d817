"""What is compared: the rows of the table, and the pairs that each is measured on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from statistics import quantiles

from simpo.data.batches import BatchOrder
from simpo.data.read import read_rows
from simpo.errors import DataError, RecipeError
from simpo.records import Message, Pair, Row, Source

LENGTHS, WEIGHTS, PRECISIONS = ("short", "long"), ("full", "lora"), ("float32", "autocast", "pure")
DPO_METHODS = ("dpo_live", "dpo_precomputed")
NUM_PAIRS = 16

# Characters, about four to a token: prompts of about 600 tokens, answers of about 150.
LONG_PROMPT, LONG_ANSWER = (1900, 2400), (400, 1000)


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One row of the table: length of the pairs, which weights are trained, in what precision, by which method."""

    length: str
    weights: str
    precision: str
    method: str = "simpo"

    @property
    def name(self) -> str:
        """As `--rows` takes it: `short/full/autocast`, `short/full/autocast/dpo_live`."""
        name = f"{self.length}/{self.weights}/{self.precision}"
        return name if self.method == "simpo" else f"{name}/{self.method}"


ROWS = (
    *(BenchRow(*parts) for parts in product(LENGTHS, WEIGHTS, PRECISIONS)),
    *(BenchRow(length, "full", "autocast", method) for length in LENGTHS for method in DPO_METHODS),
)
DEFAULT_ROWS = "short/full/autocast,short/lora/autocast"
QUICK_ROWS = "short/full/autocast"


def choose_rows(patterns: str) -> list[BenchRow]:
    """The rows that a comma-separated list of names or patterns (`long/*/pure`) names, in its order.

    Raises RecipeError for a pattern that matches none.
    """
    chosen: dict[str, BenchRow] = {}
    for pattern in patterns.split(","):
        found = {row.name: row for row in ROWS if fnmatch(row.name, pattern.strip())}
        if not found:
            raise RecipeError(
                f"--rows {pattern.strip()!r} names no row",
                fix=f"take of {', '.join(row.name for row in ROWS)}; * stands for any part",
            )
        chosen |= found
    return list(chosen.values())


@dataclass(frozen=True, slots=True)
class Picked:
    """The pairs of a row, and where they came from in words."""

    source: str
    pairs: tuple[Pair, ...]


def pick_pairs(length: str, data: Path | None, count: int = NUM_PAIRS) -> Picked:
    """The first `count` pairs of a length: real ones from the folder `data` where it has them, else Harbor's.

    Raises DataError where there are too few.
    """
    file = None if data is None else data / _FILES[length]
    if file is not None and file.is_file():
        name, rows = file.name, read_rows(str(file), kind="pairs", on_bad_row="drop").rows
    else:
        name, rows = "Harbor Support, seed 0", _harbor_rows()
    pairs = [row for row in rows if isinstance(row, Pair)]
    found = _typical(pairs) if length == "short" else _with_long_prompts(pairs, own=file is None)
    picked = tuple(pair for pair, _ in zip(found, range(count), strict=False))
    if len(picked) < count:
        raise DataError(f"only {len(picked)} {length} pairs of {count}", where=name)
    how = "lengths in the middle half" if length == "short" else "dialogues joined to about 600 tokens"
    return Picked(f"{name}: {count} pairs, {how}", picked)


_FILES = {"short": "preference_alpacaeval.jsonl.gz", "long": "hh_harmless_raw.jsonl.gz"}


def _harbor_rows() -> tuple[Row, ...]:
    from examples.harbor.generate import generate

    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), seed=0, num_sft=100, num_pairs=600)
        return read_rows(str(Path(folder) / "pairs_train.jsonl"), kind="pairs", on_bad_row="drop").rows


def _typical(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Pairs of which prompt, chosen and rejected each lie in the middle half of the file's lengths in characters.

    One pair a prompt, so that nothing is gained by chance where a file repeats its prompts.
    """
    seen: set[str] = set()
    lengths = [(_prompt_chars(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    bands = [quantiles(column, n=4) for column in zip(*lengths, strict=True)]
    for pair, sizes in zip(pairs, lengths, strict=True):
        typical = all(band[0] <= size <= band[2] for size, band in zip(sizes, bands, strict=True))
        if typical and pair.prompt_id not in seen:
            seen.add(pair.prompt_id)
            yield pair


def _with_long_prompts(pairs: Sequence[Pair], *, own: bool) -> Iterator[Pair]:
    """Pairs with long answers (Harbor's are short: any), each after whole other dialogues that fill the prompt."""
    earlier = iter(pairs)
    for pair in pairs:
        if not own and not all(LONG_ANSWER[0] <= len(text) <= LONG_ANSWER[1] for text in pair.completions):
            continue
        prompt = pair.prompt
        for other in earlier:
            longer = (*_dialogue(other), *(turn for turn in prompt if turn.role != "system"))
            if other is not pair and _prompt_chars(longer) <= LONG_PROMPT[1]:
                prompt = longer
            if _prompt_chars(prompt) >= LONG_PROMPT[0]:
                break
        if LONG_PROMPT[0] <= _prompt_chars(prompt) <= LONG_PROMPT[1]:
            yield Pair(prompt, pair.chosen, pair.rejected, Source(pair.source.file, pair.source.line))


def _dialogue(pair: Pair) -> tuple[Message, ...]:
    return (*pair.prompt, Message("assistant", pair.chosen))


def _prompt_chars(prompt: Sequence[Message]) -> int:
    return sum(len(message.content) for message in prompt)


def batches_of(pairs: Sequence[Pair], batch_size: int, steps: int) -> list[list[Pair]]:
    """The pairs of each step, taken round and round in their order."""
    return [
        [pairs[(step * batch_size + place) % len(pairs)] for place in range(batch_size)]
        for step in range(steps)
    ]


def write_in_step_order(batches: Sequence[Sequence[Pair]], path: Path) -> None:
    """Write the pairs for a trainer that takes its rows one after the other."""
    _write([pair for batch in batches for pair in batch], path)


def write_for_shuffle(batches: Sequence[Sequence[Pair]], path: Path, *, seed: int = 0) -> None:
    """Write the pairs so that our order of training, which shuffles, takes these very batches in this order."""
    size = len(batches[0])
    order = BatchOrder(size * len(batches), size, seed)
    placed = {
        index: pair
        for step, batch in enumerate(batches)
        for index, pair in zip(order.batch(step), batch, strict=True)
    }
    _write([placed[index] for index in range(len(placed))], path)


def _write(pairs: Sequence[Pair], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {
                "prompt": [message.as_dict() for message in pair.prompt],
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
