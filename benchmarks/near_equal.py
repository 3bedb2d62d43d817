"""Nearly equal texts: ours against comparing all with all, and against datasketch on the same shingles.

    python -m benchmarks.near_equal FILE ... [--most 4000] [--typing-errors 0.3]

Texts are the prompts and completions of files of pairs, each once; a share of them comes again with typing errors and
words left out, so that there is something to find at every degree. The truth is every pair of texts with a Jaccard
index of NEAR or more, by a sparse product over all. Recall is of those pairs; `refused` is how many candidates the
exact comparison took back: so many false pairs would stand in a report without it. Seconds are of the processor.

datasketch is no dependency: without it (pip install datasketch) its line is left out.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from simpo.audit.copies.minhash import (
    BAND_ROWS,
    BANDS,
    NEAR,
    PERMUTATIONS,
    U32,
    candidates,
    overlap,
    shingle_set,
    signatures,
)
from simpo.audit.copies.prompts import text_key
from simpo.audit.texts.structure import normalised
from simpo.data.read import iter_rows
from simpo.records import Pair

Links = set[tuple[int, int]]


def texts_of(files: Sequence[str], most: int, share: float, seed: int = 0) -> list[str]:
    """Distinct normalised texts of some files of pairs, and copies of a share of them with errors."""
    texts: dict[str, None] = {}
    for row in iter_rows(files):
        if isinstance(row, Pair):
            for text in (row.prompt[-1].content, row.chosen, row.rejected):
                texts[normalised(text)] = None
    rng = random.Random(seed)
    chosen = rng.sample(list(texts), min(most, len(texts)))
    return [*chosen, *(spoilt(text, rng) for text in chosen if rng.random() < share)]


def spoilt(text: str, rng: random.Random) -> str:
    """A text with some words mistyped or left out: from one in a hundred to one in ten."""
    rate = rng.uniform(0.01, 0.1)
    words = []
    for word in text.split():
        luck = rng.random()
        if luck < rate / 2:
            continue
        at = rng.randrange(len(word))
        words.append(word[:at] + rng.choice("aeiou") + word[at + 1 :] if luck < rate else word)
    return " ".join(words)


def all_with_all(sets: Sequence[U32]) -> dict[tuple[int, int], float]:
    """Every pair with an index of NEAR or more, and the index."""
    from scipy.sparse import csr_array

    sizes = np.array([len(one) for one in sets])
    columns, place = np.unique(np.concatenate(sets), return_inverse=True)
    rows = np.repeat(np.arange(len(sets)), sizes)
    table = csr_array((np.ones(len(place), np.int32), (rows, place)), shape=(len(sets), len(columns)))
    found = {}
    for start in range(0, len(sets), 256):
        common = (table[start : start + 256] @ table.T).toarray()
        index = common / (sizes[start : start + 256, None] + sizes[None] - common)
        for one, other in np.argwhere(index >= NEAR).tolist():
            if start + one < other:
                found[start + one, other] = float(index[one, other])
    return found


def ours(texts: Sequence[str], sets: Sequence[U32]) -> Links:
    """Candidates of our bands."""
    keys: npt.NDArray[np.uint64] = np.array([text_key(text) for text in texts], dtype=np.uint64)
    found: Links = set()
    for one, other in candidates(signatures(texts), [keys]):
        found.update(zip(np.minimum(one, other).tolist(), np.maximum(one, other).tolist(), strict=True))
    return found


def datasketch(texts: Sequence[str], sets: Sequence[U32]) -> Links:
    """Candidates of datasketch with as many permutations in the same bands, given our shingles."""
    library = import_module("datasketch")
    lsh = library.MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, BAND_ROWS))
    found: Links = set()
    for number, one in enumerate(sets):
        sketch = library.MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([int(shingle).to_bytes(4, "big") for shingle in one])
        found.update((other, number) for other in lsh.query(sketch))
        lsh.insert(number, sketch)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+")
    parser.add_argument("--most", type=int, default=4000, help="texts to take (default 4000)")
    parser.add_argument("--typing-errors", type=float, default=0.3, help="share that comes again, spoilt")
    options = parser.parse_args(argv)
    texts = texts_of(options.files, options.most, options.typing_errors)
    sets = [shingle_set(text) for text in texts]
    began = time.process_time()
    truth = all_with_all(sets)
    length = np.mean([len(text) for text in texts])
    print(f"{len(texts):,} texts of {length:,.0f} characters, {len(truth):,} nearly equal pairs")
    print(
        f"{'':<14}{'seconds':>8}{'found':>8}{'recall':>8}{'refused':>9}   recall at 0.70-0.75, 0.75-0.80, above"
    )
    print(f"{'all with all':<14}{time.process_time() - began:>8.2f}{len(truth):>8,}")
    methods: dict[str, Callable[[Sequence[str], Sequence[U32]], Links]] = {"ours": ours}
    if find_spec("datasketch"):
        methods["datasketch"] = datasketch
    for name, method in methods.items():
        began = time.process_time()
        found = method(texts, sets)
        verified = {pair for pair in found if overlap(sets[pair[0]], sets[pair[1]]) >= NEAR}
        seconds = time.process_time() - began
        assert verified <= truth.keys()
        parts = [
            recall({pair for pair, index in truth.items() if low <= index < high}, verified)
            for low, high in ((0.7, 0.75), (0.75, 0.8), (0.8, 1.1))
        ]
        print(
            f"{name:<14}{seconds:>8.2f}{len(verified):>8,}{recall(set(truth), verified):>8}"
            f"{len(found) - len(verified):>9,}   {', '.join(parts)}"
        )


def recall(truth: Links, found: Links) -> str:
    """The share found, as text."""
    return f"{len(truth & found) / len(truth):.1%}" if truth else "-"


if __name__ == "__main__":
    main()
