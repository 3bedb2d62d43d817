"""Nearly equal texts: the exact index against sets written out, signatures and candidates against the exact index."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.copies.minhash import (
    BAND_ROWS,
    BANDS,
    NEAR,
    PERMUTATIONS,
    WINDOW,
    band_keys,
    candidates,
    jaccard,
    shingle_set,
    signatures,
    similar,
)
from simpo.audit.copies.prompts import text_key

WORDS = (
    "the",
    "order",
    "parcel",
    "arrived",
    "late",
    "broken",
    "refund",
    "please",
    "tracking",
    "number",
    "card",
    "twice",
)
FIRST_BYTES = [24, 168, 173, 98, 6, 142, 11, 153, 133, 104, 232, 8]


def written_out(text: str) -> set[str]:
    """The runs of five characters, with marks before and behind."""
    whole = f"\x02{text}\x03\x03\x03\x03"
    return {whole[at : at + 5] for at in range(len(whole) - 4)}


def index_of(one: str, other: str) -> float:
    a, b = written_out(one), written_out(other)
    return len(a & b) / len(a | b)


def sentences(count: int, words: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"{' '.join(rng.choices(WORDS, k=words))} {number}" for number in range(count)]


def made_up(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6))


def keys_of(texts: list[str]) -> list[np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    return [np.array([text_key(text) for text in texts], dtype=np.uint64)]


@given(
    st.text(st.characters(max_codepoint=0x7F), max_size=40),
    st.text(st.characters(max_codepoint=0x7F), max_size=40),
)
def test_the_exact_index_is_that_of_the_sets_written_out(one: str, other: str) -> None:
    assert jaccard(one, other) == pytest.approx(index_of(one, other), abs=1e-12)


@given(st.text(max_size=30))
def test_any_text_is_equal_to_itself_and_has_a_signature_of_its_own(text: str) -> None:
    assert jaccard(text, text) == 1.0
    alone, among = signatures([text]), signatures(["before", text, "behind"])[1:2]
    np.testing.assert_array_equal(alone, among)


def test_by_hand_one_letter_of_ten_changes_five_of_eleven_runs() -> None:
    # "abcdefghij" has 11 runs with its marks; a letter in the middle stands in five of them: 6 common of 16.
    assert jaccard("abcdefghij", "abcdeXghij") == pytest.approx(6 / 16)


def test_a_short_no_is_not_nearly_a_yes_and_an_empty_text_is_equal_to_an_empty_one_only() -> None:
    assert jaccard("yes", "no") == 0.0
    assert jaccard("", "") == 1.0
    assert jaccard("", "a") == 0.0


def test_a_character_of_a_dense_script_counts_as_two() -> None:
    assert len(shingle_set("請問我的訂單在哪裡")) == 19
    assert len(shingle_set("where is ")) == 10


def test_a_lone_surrogate_is_a_character_like_any() -> None:
    assert jaccard("a\ud800b", "a\ud800b") == 1.0
    assert jaccard("a\ud800b", "a\ud801b") < 1.0


def test_signatures_are_the_same_on_any_machine() -> None:
    # Written down once: another NumPy, another process, another machine must give these bytes.
    first = signatures(["Where is my parcel?"])[0]
    assert first[:12].tolist() == FIRST_BYTES
    assert int(band_keys(signatures(["Where is my parcel?"]), 0)[0]) == int.from_bytes(
        bytes(FIRST_BYTES[:6]), "big"
    )


def test_texts_signed_together_have_the_signatures_they_have_alone() -> None:
    texts = ["", "short", *sentences(300, 60)]  # more than one block
    together = signatures(texts)
    np.testing.assert_array_equal(together, np.concatenate([signatures([text]) for text in texts]))
    assert together.shape == (302, PERMUTATIONS)


def test_an_estimate_is_right_on_average_and_as_wide_as_chance_makes_it() -> None:
    rng = random.Random(3)
    one = [" ".join(made_up(rng) for _ in range(25)) for _ in range(800)]
    other = [
        " ".join(word if rng.random() < 0.85 else made_up(rng) for word in text.split()[1:]) for text in one
    ]
    exact = np.array([jaccard(*pair) for pair in zip(one, other, strict=True)])
    signed, signed_too = signatures(one), signatures(other)
    error = (similar(signed, signed_too) - exact) / np.sqrt(exact * (1 - exact) / PERMUTATIONS)
    assert abs(error.mean()) < 4 / np.sqrt(800)  # in standard errors of the mean: 4
    assert 0.9 < error.std() < 1.1
    shared = np.array([band_keys(signed, band) == band_keys(signed_too, band) for band in range(BANDS)])
    expected = (1 - (1 - exact**BAND_ROWS) ** BANDS).mean()
    assert shared.any(axis=0).mean() == pytest.approx(expected, abs=0.05)


def test_candidates_hold_the_near_pairs_and_few_others() -> None:
    rng = random.Random(1)
    texts = sentences(200, 25)
    for number in range(100):
        at = rng.randrange(len(texts[number]) - 1)
        texts.append(texts[number][:at] + "#" + texts[number][at + 1 :])
    signed = signatures(texts)
    found = {
        (min(a, b), max(a, b))
        for one, other in candidates(signed, keys_of(texts))
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    }
    sets = [written_out(text) for text in texts]
    near = {
        (a, b)
        for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= NEAR * len(sets[a] | sets[b])
    }
    assert len(near) >= 100
    assert len(near & found) >= 0.99 * len(near)
    assert len(found) < 1.5 * len(near)


def test_candidates_stay_within_their_groups() -> None:
    texts = ["where is my parcel", "where is my parcel!", "where is my parcel?", "where is my parcel."]
    groups = np.array([0, 1, 0, 1])
    found = {
        (int(a), int(b))
        for one, other in candidates(signatures(texts), keys_of(texts), within=groups)
        for a, b in zip(np.minimum(one, other), np.maximum(one, other), strict=True)
    }
    assert found == {(0, 2), (1, 3)}


def test_a_bucket_of_any_size_takes_time_linear_in_it() -> None:
    texts = [f"the same template with the number {number:05d}" for number in range(300)]
    pairs = sum(len(one) for one, _ in candidates(signatures(texts), keys_of(texts)))
    assert 0 < pairs <= BANDS * WINDOW * len(texts)


def test_candidates_do_not_depend_on_the_order_of_the_texts() -> None:
    texts = [f"the same template with the number {number:05d}" for number in range(200)]
    turned = texts[::-1]

    def found(texts: list[str]) -> set[tuple[str, str]]:
        return {
            (min(texts[a], texts[b]), max(texts[a], texts[b]))
            for one, other in candidates(signatures(texts), keys_of(texts))
            for a, b in zip(one.tolist(), other.tolist(), strict=True)
        }

    assert found(texts) == found(turned)


def test_a_signature_without_some_shingles_is_that_of_what_is_left() -> None:
    texts = ["where is my parcel", "my parcel", "", "where is", "is where my lamp?"]
    common = shingle_set("where is my parcel")
    signed = signatures(texts, without=common)
    left = [np.setdiff1d(shingle_set(text), common) for text in texts]
    for one, other in combinations(range(len(texts)), 2):
        both, either = np.intersect1d(left[one], left[other]), np.union1d(left[one], left[other])
        exact = len(both) / len(either) if len(either) else 1.0
        (estimate,) = similar(signed[one : one + 1], signed[other : other + 1])
        assert abs(estimate - exact) < 0.15
    assert len(left[0]) == 0
    np.testing.assert_array_equal(signatures(texts, without=np.empty(0, np.uint32)), signatures(texts))
