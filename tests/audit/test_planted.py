"""Defects planted into Harbor's rows: each is found, and nothing that was not planted is flagged as that kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.harbor.generate import generate
from simpo.audit.texts.check import TextChecks
from simpo.data.read import read_rows
from simpo.records import Message, Pair, Source

Texts = tuple[str, str, str]
Plant = Callable[[Texts, random.Random], Texts]


def in_any(spoil: Callable[[str, random.Random], str]) -> Plant:
    """Spoils one of the three texts, drawn."""

    def plant(texts: Texts, draw: random.Random) -> Texts:
        place = draw.randrange(3)
        spoilt = [spoil(text, draw) if index == place else text for index, text in enumerate(texts)]
        return spoilt[0], spoilt[1], spoilt[2]

    return plant


def in_reply(spoil: Callable[[str, random.Random], str]) -> Plant:
    """Spoils one of the completions, drawn."""

    def plant(texts: Texts, draw: random.Random) -> Texts:
        prompt, chosen, rejected = texts
        return (
            (prompt, spoil(chosen, draw), rejected)
            if draw.random() < 0.5
            else (prompt, chosen, spoil(rejected, draw))
        )

    return plant


def between_words(mark: str) -> Callable[[str, random.Random], str]:
    """Puts a mark between two words, drawn."""

    def spoil(text: str, draw: random.Random) -> str:
        words = text.split(" ")
        words.insert(draw.randrange(len(words) + 1), mark)
        return " ".join(words)

    return spoil


def at_end(mark: str) -> Callable[[str, random.Random], str]:
    return lambda text, draw: text + mark


def instead(*texts: str) -> Callable[[str, random.Random], str]:
    return lambda text, draw: draw.choice(texts)


LONG = "I have waited for a week and nobody writes back to me. "

PLANTS: dict[str, Plant] = {
    "blank_completion": in_reply(instead("\u200b", "\ufeff", "\u2060 \u200b")),
    "stand_in_completion": in_reply(instead("null", "None", "N/A", "[deleted]", "nan")),
    "same_after_normalising": lambda texts, draw: (
        *texts[:2],
        draw.choice([texts[1].upper(), f" {texts[1]}\n"]),
    ),
    "echoed_prompt": lambda texts, draw: (LONG + texts[0], f"{LONG}{texts[0]}\n\n{texts[1]}", texts[2]),
    "control_tokens": in_any(at_end("<|im_end|>")),
    "leaked_turns": in_reply(at_end("\n\nHuman: And then?\n\nAssistant: Then it comes.")),
    "mojibake": in_any(between_words("d\u00c3\u00a9j\u00c3\u00a0")),
    "replacement_character": in_any(between_words("caf\ufffd")),
    "control_characters": in_any(between_words("a\x00b")),
    "invisible_characters": in_any(between_words("zero\u200bwidth")),
    "html_entities": in_any(between_words("salt &amp; pepper")),
    "escaped_newlines": in_reply(
        lambda text, draw: text.replace("\n", " ").replace(". ", ".\\n") + "\\nBest\\nHarbor"
    ),
    "placeholders": in_reply(between_words("[Your Name]")),
    "refusals": in_reply(lambda text, draw: f"As an AI language model, I cannot help with that. {text}"),
    "language_mismatch": lambda texts, draw: (
        LONG + texts[0],
        "Ich habe Ihre Bestellung gefunden und sie ist auf dem Weg. Sie wird morgen bei Ihnen sein, und wir sind "
        "f\u00fcr Sie da, wenn sie nicht kommt.",
        texts[2],
    ),
    "secret": in_any(between_words("AK" + "IA" + "QWERTYUIOPASDFGH")),
    "card_number": in_any(between_words("4532-0151-1283-0366")),
    "email_address": in_any(between_words("ada.lund@posteo.de")),
    "phone_number": in_any(between_words("+49 30 901820")),
}


@pytest.fixture(scope="module")
def texts_of_harbor(tmp_path_factory: pytest.TempPathFactory) -> list[Texts]:
    """The last turn and both replies of 800 rows without planted defects."""
    folder: Path = tmp_path_factory.mktemp("harbor")
    generate(folder, num_sft=0, num_pairs=3200)
    rows = [
        row
        for name in ("pairs_train", "pairs_validation", "pairs_test")
        for row in read_rows(folder / f"{name}.jsonl", on_bad_row="drop").rows
        if isinstance(row, Pair)
    ]
    return [(row.prompt[-1].content, row.chosen, row.rejected) for row in rows[:800]]


def flagged(texts: list[Texts]) -> dict[str, set[int]]:
    """The rows that each kind of finding names."""
    checks = TextChecks()
    for number, (prompt, chosen, rejected) in enumerate(texts):
        checks.see(number, Pair((Message("user", prompt),), chosen, rejected, Source("harbor", number)))
    return {finding.kind: set(finding.rows.tolist()) for finding in checks.findings()}


def test_every_planted_defect_is_found_and_no_row_is_named_for_a_defect_it_has_not(
    texts_of_harbor: list[Texts],
) -> None:
    draw = random.Random(0)
    numbers = draw.sample(range(len(texts_of_harbor)), 20 * len(PLANTS))
    texts, planted = list(texts_of_harbor), {}
    for index, (kind, plant) in enumerate(PLANTS.items()):
        planted[kind] = set(numbers[20 * index : 20 * index + 20])
        for number in planted[kind]:
            texts[number] = plant(texts[number], draw)
    before, after = flagged(texts_of_harbor), flagged(texts)
    for kind, rows in planted.items():
        # Harbor's own rows may hold a trait (an agent's signature): those were there before.
        assert after.get(kind, set()) >= rows, f"{kind}: missed {rows - after.get(kind, set())}"
        extra = after[kind] - rows - before.get(kind, set())
        # What cannot be seen, or is a text in capitals, is that as well.
        assert extra <= (planted["blank_completion"] if kind == "invisible_characters" else set()), kind


def test_rows_of_harbor_that_were_left_alone_are_not_flagged(texts_of_harbor: list[Texts]) -> None:
    assert {kind: rows for kind, rows in flagged(texts_of_harbor).items() if kind in PLANTS} == {}
