"""Cheap features of texts: counted by hand, the same in any process, unmoved by odd texts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.labels.features import MARKS, NUM_BUCKETS, TEXTURE, Hasher, PromptWords, marks, texture
from simpo.records import Message

texts = st.text(min_size=1, max_size=60)


def _marks(text: str) -> dict[str, float]:
    return {name: value for (name, _), value in zip(MARKS, marks(text), strict=True)}


def _texture(text: str, prompt: str) -> dict[str, float]:
    return dict(zip(TEXTURE, texture(text, PromptWords.of([Message("user", prompt)])), strict=True))


def test_marks_of_a_styled_reply_are_counted() -> None:
    text = "Hello Ann,\n\n# Plan\n- one\n* two\n3. three\n\n**Bold** and **more**! \U0001f600\n```py\nx\n```\nPlease?"
    assert _marks(text) == {
        "list_items": 3,
        "bold": 2,
        "headings": 1,
        "code_blocks": 1,
        "paragraphs": 2,
        "greeting": 1,
        "courtesy": 1,
        "refusal": 0,
        "exclamations": 1,
        "emoji": 1,
        "question_at_end": 1,
    }


@pytest.mark.parametrize(
    "text", ["I cannot do that.", "I'm not able to.", "I can\u2019t say.", "As an AI model, no."]
)
def test_refusals_are_seen(text: str) -> None:
    assert _marks(text)["refusal"] == 1


@pytest.mark.parametrize("text", ["highway robbery", "A hyphen - is no list", "2 * 3", "C# is a language"])
def test_what_only_looks_like_a_mark_is_none(text: str) -> None:
    assert sum(marks(text)) == 0


def test_words_and_numbers_are_compared_with_the_prompt() -> None:
    found = _texture("Parcel 4711 goes to Oslo or Bergen on 12.5.", "Where is parcel 4711 for Oslo?")
    assert found["numbers_of_prompt"] == pytest.approx(np.log1p(1))
    assert found["new_numbers"] == pytest.approx(np.log1p(1))
    assert found["names_of_prompt"] == pytest.approx(np.log1p(1))
    # Parcel begins the sentence and Bergen is new; Oslo alone stands in the prompt.
    assert found["new_names"] == pytest.approx(np.log1p(2))
    # Of where, parcel, 4711, oslo (the rest is common) three are used.
    assert found["words_of_prompt_used"] == pytest.approx(3 / 4)


def test_repetition_is_seen() -> None:
    assert _texture("good good good good", "x")["repeated_word_pairs"] == pytest.approx(2 / 3)


@given(texts, texts)
def test_any_text_has_finite_features(chosen: str, rejected: str) -> None:
    prompt = PromptWords.of([Message("user", rejected)])
    assert np.isfinite([*marks(chosen), *texture(chosen, prompt)]).all()
    buckets, values = Hasher().difference(chosen, rejected)
    assert ((buckets >= 0) & (buckets < NUM_BUCKETS)).all()
    assert np.isfinite(values).all()
    assert len(values) == 0 or np.linalg.norm(values) == pytest.approx(1, abs=1e-5)


@given(texts, texts)
def test_turning_a_pair_turns_the_sign(chosen: str, rejected: str) -> None:
    hasher = Hasher()
    (buckets, values), (turned, opposite) = (
        hasher.difference(chosen, rejected),
        hasher.difference(rejected, chosen),
    )
    assert buckets.tolist() == turned.tolist()
    assert values.tolist() == (-opposite).tolist()


def test_word_order_is_seen_by_pairs_of_words() -> None:
    buckets, _ = Hasher().difference("dog bites man", "man bites dog")
    assert len(buckets) == 4  # dog bites, bites man, man bites, bites dog


def test_hashes_are_the_same_in_another_process() -> None:
    code = (
        "from simpo.audit.labels.features import Hasher; print(Hasher().difference('a b c', 'd')[0].tolist())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    ).stdout
    assert output.strip() == str(Hasher().difference("a b c", "d")[0].tolist())
