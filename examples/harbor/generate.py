"""Writes the Harbor Support data set: SFT resolutions, preferences, paraphrases and the truth about "
"defects."""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .defects import DefectRates, added_rows, plant
from .pairs import PairRow, draw_pairs
from .replies import STYLES, draw_reply
from .summary import Summary, describe, summarize
from .tickets import Ticket, draw_ticket, paraphrase

MIN_HELD_OUT = 64  # a smaller test set could not tell 60 % from 75 % accuracy


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows per file, derived from the totals asked for."""

    sft_train: int
    sft_validation: int
    pairs_train: int
    pairs_validation: int
    pairs_test: int

    @classmethod
    def of(cls, num_sft: int, num_pairs: int) -> Sizes:
        """One twentieth held out, but at least 64 pairs where that leaves half of the pairs for training."""
        if num_sft < 0 or num_pairs < 0:
            raise ValueError(f"sizes must not be negative, got num_sft={num_sft}, num_pairs={num_pairs}")
        held_out = max(num_pairs // 20, min(MIN_HELD_OUT, num_pairs // 4))
        sft_held_out = num_sft // 20
        return cls(num_sft - sft_held_out, sft_held_out, num_pairs - 2 * held_out, held_out, held_out)


def generate(
    out: Path,
    *,
    seed: int = 0,
    num_sft: int = 8000,
    num_pairs: int = 12000,
    defects: DefectRates | None = None,
    paraphrased_share: float = 0.5,
) -> Summary:
    """Write all files of the data set to `out` and summarize them; the same arguments give the same bytes.

    `num_pairs` counts every preference row, planted ones included; `paraphrased_share` is the share of the
    test tickets that come a second time in other words.
    """
    if not 0.0 <= paraphrased_share <= 1.0:
        raise ValueError(f"paraphrased_share must lie in 0..1, got {paraphrased_share}")
    sizes = Sizes.of(num_sft, num_pairs)
    counts = (defects or DefectRates()).counts(sizes.pairs_train)
    base = list(draw_pairs(seed, "train", sizes.pairs_train - added_rows(counts), held_out=False))
    train, truth = plant(base, counts, seed)
    validation = [row for _, row in draw_pairs(seed, "validation", sizes.pairs_validation, held_out=True)]
    test = list(draw_pairs(seed, "test", sizes.pairs_test, held_out=True))
    test_rows, paraphrased = _paraphrases(test, seed, paraphrased_share)
    files: dict[str, Sequence[Mapping[str, Any]]] = {
        "sft_train.jsonl": list(_sft_rows(seed, "sft", sizes.sft_train, held_out=False)),
        "sft_validation.jsonl": list(_sft_rows(seed, "sftval", sizes.sft_validation, held_out=True)),
        "pairs_train.jsonl": [row.record() for row in train],
        "pairs_validation.jsonl": [row.record() for row in validation],
        "pairs_test.jsonl": [row.record() for row in test_rows],
        "pairs_test_paraphrased.jsonl": [row.record() for row in paraphrased],
        "truth.jsonl": [planted.record() for planted in truth],
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        _write(out / name, rows)
    return summarize(files, seed)


def _sft_rows(seed: int, stream: str, count: int, *, held_out: bool) -> Iterable[dict[str, Any]]:
    """Resolutions as agents wrote them."""
    for index in range(count):
        ticket = draw_ticket(seed, stream, index, held_out)
        reply = draw_reply(ticket, STYLES["agent"], random.Random(f"{seed}/{stream}/{index}/reply"))
        yield {
            "id": f"hs-{ticket.id}",
            "messages": [*ticket.prompt, {"role": "assistant", "content": reply.text}],
            "category": ticket.intent.category,
            "intent": ticket.intent.name,
            "ticket": ticket.record(),
        }


def _paraphrases(
    test: Sequence[tuple[Ticket, PairRow]], seed: int, share: float
) -> tuple[list[PairRow], list[PairRow]]:
    """The test rows, each with its paraphrase group, and the paraphrased rows of some of the tickets."""
    groups = sorted({ticket.id for ticket, _ in test})
    picked = set(random.Random(f"{seed}/paraphrases").sample(groups, round(share * len(groups))))
    rows = [replace(row, paraphrase_group=ticket.id) for ticket, row in test]
    again = [
        replace(row, id=f"{row.id}-p", prompt=paraphrase(ticket, seed).prompt, paraphrase_group=ticket.id)
        for ticket, row in test
        if ticket.id in picked
    ]
    return rows, again


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(temporary, path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the Harbor Support preference data set.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sft", type=int, default=8000, help="number of SFT resolutions")
    parser.add_argument(
        "--pairs", type=int, default=12000, help="number of preference rows, planted ones included"
    )
    parser.add_argument(
        "--paraphrased-share", type=float, default=0.5, help="share of test tickets said again"
    )
    for name in DefectRates.__slots__:
        default = getattr(DefectRates(), name)
        flag = "--rate-" + name.replace("_", "-")
        parser.add_argument(
            flag, type=float, default=default, help=f"share of training rows (default {default})"
        )
    options = parser.parse_args()
    rates = DefectRates(**{name: getattr(options, f"rate_{name}") for name in DefectRates.__slots__})
    summary = generate(
        options.out,
        seed=options.seed,
        num_sft=options.sft,
        num_pairs=options.pairs,
        defects=rates,
        paraphrased_share=options.paraphrased_share,
    )
    print(describe(summary))


if __name__ == "__main__":
    main()
