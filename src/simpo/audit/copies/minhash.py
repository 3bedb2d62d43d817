"""Nearly equal texts without comparing all with all: MinHash signatures, bands, and the exact Jaccard of two texts.

Broder, "On the resemblance and containment of documents", 1997; banding: Leskovec, Rajaraman, Ullman, "Mining of
massive datasets", chapter 3. All of it is a function of the texts alone, the same on any machine and in any process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

SHINGLE = 5  # characters
BANDS, BAND_ROWS = 32, 6
PERMUTATIONS = BANDS * BAND_ROWS
WINDOW = 16  # neighbours that a text is compared with in a bucket; smaller buckets are compared in full
NEAR = 0.7  # Jaccard's index from which two texts count as nearly equal
LIKELY = 0.58  # an estimate below it is 3.6 standard deviations of the estimate below NEAR

_BLOCK = 1 << 16  # shingles signed at once: two arrays of them stay in a core's cache
_BEGIN, _END = "\x02", "\x03" * (SHINGLE - 1)
# A character of these scripts says about as much as two letters: it counts as two, or a word would be one shingle.
_DENSE = re.compile(
    "[\u1100-\u11ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f]"
)


def _splitmix(count: int) -> U64:
    """`count` well mixed 64-bit numbers from a fixed start (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


_DRAWN = _splitmix(PERMUTATIONS + 3)
_ODD = (_DRAWN[:PERMUTATIONS] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
_STEP, _MIX, _BAND = (number | np.uint64(1) for number in _DRAWN[PERMUTATIONS:])


def shingles(texts: Sequence[str]) -> tuple[U32, I64]:
    """Hashes of the runs of five characters of each text, one text after the other, and where each text begins.

    [S] hashes (a run that occurs twice is there twice) and [N] starts, N > 0. A text has marks before and behind it, so
    that the shortest, the empty one too, has a shingle, and beginnings and ends count.
    """
    dense = [text if text.isascii() else _DENSE.sub("\\g<0>\x04", text) for text in texts]
    lengths = np.fromiter((len(text) + 1 for text in dense), np.int64, len(dense))
    joined = "".join([f"{_BEGIN}{text}{_END}" for text in dense])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    runs = codes[: len(codes) - SHINGLE + 1].copy()
    for offset in range(1, SHINGLE):
        runs *= _STEP
        runs += codes[offset : len(codes) - SHINGLE + 1 + offset]
    runs ^= runs >> np.uint64(32)
    runs *= _MIX
    hashes = (runs >> np.uint64(32)).astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    # Behind each text, runs that reach into the next one are left out.
    inside = np.repeat(np.arange(len(dense)) * len(_END), lengths) + np.arange(int(lengths.sum()))
    return hashes[inside], starts


def shingle_set(text: str) -> U32:
    """The distinct shingles of a text, sorted."""
    return np.unique(shingles([text])[0])


def overlap(one: U32, other: U32) -> float:
    """Jaccard's index of two sorted sets: what they share, of what either has. 1.0 where they are equal."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    either = len(one) + len(other) - common
    return common / either if either else 1.0


def jaccard(one: str, other: str) -> float:
    """Jaccard's index of two texts over their runs of five characters (as hashes of 32 bits), in [0, 1]."""
    return overlap(shingle_set(one), shingle_set(other))


def signatures(texts: Sequence[str], without: U32 | None = None) -> U8:
    """[N, PERMUTATIONS]: of each text, the low byte of the smallest shingle under each permutation.

    Two bytes agree with probability J + (1 - J) / 256 where J is the texts' Jaccard index, of what is left `without`
    some shingles.
    """
    signed = np.empty((len(texts), PERMUTATIONS), np.uint8)
    start = 0
    while start < len(texts):
        end, size = start + 1, len(texts[start])
        while end < len(texts) and size + len(texts[end]) < _BLOCK:
            size += len(texts[end])
            end += 1
        hashes, starts = shingles(texts[start:end])
        signed[start:end] = _signed(*(hashes, starts) if without is None else _left(hashes, starts, without))
        start = end
    return signed


def _left(hashes: U32, starts: I64, without: U32) -> tuple[U32, I64]:
    """Shingles and starts as of `shingles`, without some; a text of which nothing is left keeps one that none has."""
    kept = ~np.isin(hashes, without)
    bare = starts[np.add.reduceat(kept, starts, dtype=np.int64) == 0]
    hashes[bare], kept[bare] = 0, True
    counts = np.add.reduceat(kept, starts, dtype=np.int64)
    return hashes[kept], np.concatenate([[0], np.cumsum(counts)[:-1]])


def _signed(hashes: U32, starts: I64) -> U8:
    least = np.empty((PERMUTATIONS, len(starts)), np.uint32)
    permuted = np.empty_like(hashes)
    for row, odd in enumerate(
        _ODD
    ):  # a product with an odd number is a permutation of the numbers of 32 bits
        np.multiply(hashes, odd, out=permuted)
        np.minimum.reduceat(permuted, starts, out=least[row])
    return np.asarray(least.T & np.uint32(255), dtype=np.uint8)


def similar(one: U8, other: U8) -> npt.NDArray[np.float64]:
    """[N] estimates of Jaccard's index from the signatures [N, PERMUTATIONS] of two lists of texts."""
    agree = np.count_nonzero(one == other, axis=1) / PERMUTATIONS
    return np.asarray((agree - 1 / 256) / (1 - 1 / 256), dtype=np.float64)


def band_keys(signed: U8, band: int) -> U64:
    """[N] numbers that are equal where two signatures agree in all places of a band (0 ... BANDS - 1)."""
    keys = np.zeros(len(signed), np.uint64)
    for column in range(band * BAND_ROWS, (band + 1) * BAND_ROWS):
        keys = (keys << np.uint64(8)) | signed[:, column]
    return keys


def candidates(
    signed: U8, tie_break: Sequence[U64], *, within: I64 | None = None
) -> Iterator[tuple[I64, I64]]:
    """Pairs of texts (i, j), as index arrays, that share a band and whose Jaccard index is estimated at LIKELY or more.

    tie_break: arrays [N], the last of them each text's own (a hash of it), so that the answer does not depend on the
    order of the texts. within: [N] groups; only texts of one group are compared. In a bucket of more than WINDOW + 1
    texts each meets its WINDOW next ones in the order of another band, then of tie_break, so that the time is linear in
    N whatever the texts are. A pair may come several times, but two texts with the same signature only for one band.
    """
    same_text = _whole_keys(signed)
    for band in range(BANDS):
        keys = band_keys(signed, band)
        if within is not None:
            keys = (keys * _BAND) ^ (within.astype(np.uint64) * _MIX)
        order = np.lexsort((*reversed(tie_break), band_keys(signed, (band + 1) % BANDS), keys))
        keys = keys[order]
        for distance in range(1, min(WINDOW, len(order) - 1) + 1):
            near = np.flatnonzero(keys[distance:] == keys[:-distance])
            if len(near) == 0:
                break
            one, other = order[near], order[near + distance]
            if within is not None:
                same = within[one] == within[other]
                one, other = one[same], other[same]
            if band:
                new = same_text[one] != same_text[other]
                one, other = one[new], other[new]
            close = likely(signed, one, other)
            yield one[close], other[close]


def _whole_keys(signed: U8) -> U64:
    """[N] numbers that are equal where two signatures are."""
    keys = np.zeros(len(signed), np.uint64)
    for band in range(BANDS):
        keys = (keys ^ band_keys(signed, band)) * _BAND
        keys ^= keys >> np.uint64(31)
    return keys


def likely(signed: U8, one: I64, other: I64) -> npt.NDArray[np.bool_]:
    """[N] whether the texts `one` and `other`, numbers in `signed`, are estimated to be LIKELY or more alike."""
    close = np.empty(len(one), np.bool_)
    for start in range(0, len(one), _BLOCK):
        part = slice(start, start + _BLOCK)
        close[part] = similar(signed[one[part]], signed[other[part]]) >= LIKELY
    return close
