"""Wrong encodings, control and invisible characters, escapes: found, not imagined, and mended to what they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.mend import mend
from simpo.audit.texts.encoding import (
    Encoding,
    mended_mojibake,
    mojibake_in,
    needs_line_breaks,
    outside_markup,
)
from tests.audit.made import found_by, pair


def garbled(text: str, codec: str = "cp1252") -> str:
    """The text in UTF-8, read as another encoding."""
    return text.encode("utf-8").decode(codec)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2\u00c2\u00b0C", "2\u00b0C"),
        (garbled("caf\u00e9"), "caf\u00e9"),
        (garbled("don\u2019t"), "don\u2019t"),
        (garbled("M\u00fcnchen, 5 \u20ac"), "M\u00fcnchen, 5 \u20ac"),
        (garbled("na\u00efve", "latin-1"), "na\u00efve"),
        (garbled("\U0001f600", "latin-1"), "\U0001f600"),
    ],
)
def test_utf8_that_was_read_as_another_encoding_is_found_and_turned_back(text: str, meant: str) -> None:
    found = found_by(Encoding(), *[pair()] * 9, pair(chosen=text))
    assert found["mojibake"].rows.tolist() == [9]
    assert mended_mojibake(text) == meant
    assert mend("mojibake", pair(chosen=text)).chosen == meant


@pytest.mark.parametrize(
    "text",
    [
        "caf\u00e9, na\u00efve, M\u00fcnchen, \u00c5ngstr\u00f6m, S\u00e3o Paulo, \u00c3O",
        "\u00abQu'est-ce que c'est\u00bb? \u2014 \u201cRien\u201d\u2026",
        "A\u00c7\u00c3O\u00bb e CORA\u00c7\u00c3O\u2122",
        "\u0413\u0434\u0435 \u043f\u043e\u0441\u044b\u043b\u043a\u0430?",
        "\u8377\u7269\u306f\u3069\u3053\u3067\u3059\u304b\u3002",
    ],
)
def test_words_with_accents_and_quotes_are_no_mojibake(text: str) -> None:
    assert mojibake_in(text) == []
    assert found_by(Encoding(), pair(chosen=text)) == {}


@given(
    st.text(st.characters(min_codepoint=0xA0, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"])),
    st.sampled_from(["latin-1", "cp1252"]),
)
def test_what_was_garbled_inside_of_words_comes_back_whole(text: str, codec: str) -> None:
    for char in text:
        # cp1252 has no character for some bytes, and a quote or a dash after a letter can be meant.
        if codec == "latin-1" or not set(char.encode()) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}:
            word = f"a{garbled(char, codec)}b"
            if any("\x80" <= one <= "\xbf" and one not in "\u00a0\u00ab\u00b7\u00bb" for one in word):
                assert mended_mojibake(word) == f"a{char}b"


# Two are left out: the micro sign, a symbol that Latin-1 counts among its letters, and y with dots, whose capital
# Windows-1252 has where UTF-8 has second bytes; no word has it behind another letter with an accent.
@given(st.text(st.characters(codec="latin-1", exclude_characters="\u00b5\u00ff"), max_size=3))
def test_the_letters_of_western_languages_in_quotes_are_no_mojibake(text: str) -> None:
    small = "".join(char for char in text.lower() if char != char.upper())
    for word in (small, small.upper()):
        for quoted in (
            f"\u201c{word}\u201d\u2026",
            f"\u2018{word}\u2019\u2014",
            f"\u00ab{word}\u00bb",
            f"\u00ab\u00a0{word}\u00a0\u00bb",
        ):
            assert mojibake_in(quoted) == []


@pytest.mark.parametrize(
    ("char", "kind"),
    [
        ("\x00", "control_characters"),
        ("\x1b", "control_characters"),
        ("\x92", "control_characters"),
        ("\ufffd", "replacement_character"),
        ("\ud800", "lone_surrogate"),
        ("\u200b", "invisible_characters"),
        ("\ufeff", "invisible_characters"),
        ("\u202e", "invisible_characters"),
    ],
)
def test_a_character_that_should_not_be_there_is_found_on_any_side(char: str, kind: str) -> None:
    text = f"It left{char} Lyon."
    for side, one in {
        "prompt": pair(text),
        "chosen": pair(chosen=text),
        "rejected": pair(rejected=text),
    }.items():
        found = found_by(Encoding(), one)
        assert found.keys() == {kind}
        assert found[kind].examples[0].detail.startswith(f"{side} has {char!a} in ")


def test_joiners_and_separators_of_a_script_and_of_emoji_are_no_invisible_characters() -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    khmer = "\u1797\u17b6\u200b\u1793\u17c3"
    assert found_by(Encoding(), pair(persian, chosen=family, rejected=khmer)) == {}
    assert found_by(Encoding(), pair(chosen="a\u200db")).keys() == {"invisible_characters"}


def test_entities_are_a_mistake_in_prose_and_none_in_markup_or_where_they_are_spoken_of() -> None:
    found = found_by(Encoding(), pair("Terms &amp; conditions"), pair("<b>Terms</b> &amp; conditions"))
    assert found["html_entities"].rows.tolist() == [0]
    assert not outside_markup("Which HTML entity is &amp;?")
    assert not outside_markup("```\n&lt;\n```")
    assert mend("html_entities", pair("R&amp;D isn&#39;t here")).prompt[0].content == "R&D isn't here"
    assert found_by(Encoding(), pair("AT&T; R&D & co")) == {}


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Dear customer,\\nit left Lyon.\\nRegards", True),
        ("Dear customer,\nit left Lyon.\\n\\n", False),
        ("print('a\\n') and `b\\n`", False),
        ("C:\\new\\nothing", False),
        ("\\nu and \\nabla", False),
        ("one \\n only", False),
    ],
)
def test_line_breaks_written_as_backslash_and_n_are_found_where_they_cannot_be_meant(
    text: str, escaped: bool
) -> None:
    assert needs_line_breaks(text) == escaped
    assert ("escaped_newlines" in found_by(Encoding(), pair(chosen=text))) == escaped
    assert ("\n" in mend("escaped_newlines", pair(chosen=text)).chosen) == (escaped or "\n" in text)


@given(st.text(max_size=60).filter(str.strip))
def test_what_was_mended_is_not_found_again(text: str) -> None:
    one = pair(f"a{text}b", chosen=f"c{text}d", rejected=f"e{text}f")
    for kind in ("mojibake", "control_characters", "invisible_characters", "escaped_newlines"):
        if kind in found_by(Encoding(), one):
            again = found_by(Encoding(), mend(kind, one))
            assert kind not in again
