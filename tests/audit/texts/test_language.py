"""Languages by script and stop words: clear ones are told, unclear ones are not guessed."""

from __future__ import annotations

# ruff: noqa: RUF001
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.texts.language import Language, asks_in, language_of
from simpo.audit.texts.stop_words import SCRIPT_LANGUAGES, SCRIPTS, STOP_WORDS
from tests.audit.made import found_by, pair

SENTENCES = {
    "English": "Hi, where is my parcel and why has it not come? It was for the birthday of my daughter.",
    "French": "Bonjour, je voudrais savoir où est mon colis et pourquoi il n'est pas encore arrivé chez nous.",
    "Spanish": "Hola, quiero saber dónde está mi paquete y por qué no ha llegado. Es para el cumpleaños de mi hija.",
    "Portuguese": "Gostaria de saber onde está a minha encomenda e por que não chegou, você pode ver isso?",
    "Italian": "Vorrei sapere dove si trova il mio pacco e perché non è arrivato. È per il compleanno di mia figlia.",
    "German": "Ich möchte wissen, wo mein Paket ist und warum es noch nicht da ist. Es ist für den Geburtstag.",
    "Dutch": "Ik wil graag weten waar mijn pakket is en waarom het nog niet is aangekomen voor de verjaardag.",
    "Swedish": "Jag vill veta var mitt paket är och varför det inte har kommit än. Det är till min dotter.",
    "Danish or Norwegian": "Jeg vil gerne vide, hvor min pakke er, og hvorfor den ikke er kommet.",
    "Polish": "Chcę wiedzieć, gdzie jest moja paczka i dlaczego jeszcze nie dotarła. To może się nie udać.",
    "Romanian": "Aș vrea să știu unde este coletul meu și de ce nu a ajuns. Este pentru ziua fiicei și nu mai pot.",
    "Turkish": "Paketimin nerede olduğunu bilmek istiyorum. Bu kızımın doğum günü için bir hediye ve çok önemli.",
    "Indonesian or Malay": "Saya ingin tahu di mana paket saya. Ini untuk anak saya dan tidak bisa menunggu.",
    "Vietnamese": "Tôi muốn biết gói hàng của tôi ở đâu. Đây là món quà cho con gái tôi và tôi không thể đợi được.",
    "Finnish": "Haluaisin tietää, missä pakettini on ja miksi se ei ole tullut. Se on lahja, mutta nyt on myöhä.",
    "Hungarian": "Szeretném tudni, hogy hol van a csomagom és miért nem érkezett meg. Ez egy ajándék volt.",
    "Russian": "Я хочу знать, где моя посылка и почему она еще не пришла. Это подарок на день рождения для дочери.",
    "Ukrainian": "Я хочу знати, де моя посилка і чому вона ще не прийшла. Це подарунок на день народження для доньки.",
    "Chinese": "您好，我想知道我的包裹在哪里，为什么还没有到。",
    "Japanese": "こんにちは、荷物がどこにあるか知りたいです。なぜまだ届かないのですか。",
    "Korean": "안녕하세요, 제 소포가 어디에 있는지 알고 싶습니다.",
    "Greek": "Καλημέρα, θέλω να μάθω πού είναι το δέμα μου.",
    "Arabic script": "مرحبا، أريد أن أعرف أين طردي ولماذا لم يصل بعد.",
    "Hebrew": "שלום, אני רוצה לדעת איפה החבילה שלי.",
    "Thai": "สวัสดีครับ ผมอยากทราบว่าพัสดุของผมอยู่ที่ไหน",
}


@pytest.mark.parametrize(("language", "text"), SENTENCES.items())
def test_a_plain_sentence_is_told(language: str, text: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "OK",
        "Lyon",
        "def f(x): return x + 1",
        "naïve café",
        "12 + 30 = 42",
        "I do",
        "a i o e",
        "日本 Lyon Graz Porto",
    ],
)
def test_what_is_short_or_no_prose_is_not_guessed(text: str) -> None:
    assert language_of(text) is None


def test_short_english_and_english_full_of_numbers_is_never_another_language() -> None:
    for text in (
        "How do I connect to my neighbour's wifi? I do not want to pay.",
        "Why is it a bad idea to give a mouse a cookie?",
        "So he had 10 + 21 = 31 on the 1st, and so he sold 3 to me.",
        "A seller who buys a tomato for 2 sells a kilo for 4 a day.",
    ):
        assert language_of(text) in (None, "English"), text


def test_no_frequent_word_of_another_language_is_an_english_one() -> None:
    assert [
        language
        for language in STOP_WORDS
        if language != "English" and STOP_WORDS[language] & STOP_WORDS["English"]
    ] == []
    assert set(SCRIPT_LANGUAGES) <= set(SCRIPTS)


def test_an_answer_in_another_language_is_found_unless_the_prompt_speaks_of_languages() -> None:
    english, german = SENTENCES["English"], SENTENCES["German"]
    wrong, asked = pair(english, chosen=german), pair(f"Translate into German: {english}", chosen=german)
    right, worse = pair(german, chosen=german), pair(english, chosen=english, rejected=german)
    found = found_by(Language(), wrong, asked, right, worse)
    finding = found["language_mismatch"]
    assert finding.rows.tolist() == [0]
    assert finding.figures["from_to"] == {"English to German": 1}
    assert (finding.figures["only_chosen"], finding.figures["only_rejected"]) == (1, 1)


def test_the_languages_of_the_prompts_are_counted_with_the_first_of_each() -> None:
    pairs = [pair(SENTENCES["English"])] * 3 + [pair(SENTENCES["Dutch"], line=9), pair("42")]
    finding = found_by(Language(), *pairs)["mixed_languages"]
    assert finding.figures["languages"] == {"English": 3, "Dutch": 1}
    assert (finding.count, finding.of, finding.unit) == (1, 4, "prompts")
    assert [str(example.source) for example in finding.examples] == ["made.jsonl:9"]
    assert "mixed_languages" not in found_by(Language(), *pairs[:3])


def test_what_decides_is_the_last_thing_the_user_said_not_the_result_of_a_tool() -> None:
    turns = (("user", SENTENCES["French"]), ("assistant", "Un instant."), ("tool", SENTENCES["English"]))
    assert asks_in(pair(turns)) == SENTENCES["French"]
    assert asks_in(pair((("system", "Be brief."), ("tool", "{}")))) == "{}"


@given(st.text(max_size=200))
def test_any_text_has_a_language_of_the_list_or_none(text: str) -> None:
    known = {*STOP_WORDS, *SCRIPT_LANGUAGES.values(), "Japanese", "Cyrillic script", None}
    assert language_of(text) in known
