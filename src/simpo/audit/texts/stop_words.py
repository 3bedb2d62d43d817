# ruff: noqa: RUF001
"""Frequent words by language, and the letters of scripts: what tells languages apart without a model."""

from __future__ import annotations

from collections.abc import Mapping

# Words that make up a good part of any text in the language. One letter says too little, and what English has too
# (do, on, me, so, was, die ...) is taken out of the others below.
_FREQUENT = {
    "English": "the and of to in is you that it he was for on are as with his they at be this have from or one had "
    "by but not what all were we when your can said there use an each which she do how their if will up other about "
    "out many then them these so some her would make like him into has look two more go see no way could my than "
    "been who its now did get made may part i'm it's don't me a i also here should because please any such while "
    "where why does",
    "French": "le la les des une est et dans pour que qui sur avec sont pas vous nous cette ces mais ou au aux du "
    "leur plus être où c'est votre il elle un en par ne je ce sa son vos",
    "Spanish": "el la los las una es y para que con del por como está son pero más sus este esta al lo se su también "
    "puede muy cómo un en de si o hay cuando sobre mi me le",
    "Portuguese": "os as uma é e para que com do da dos das não em por mais como são você seu sua ao também está "
    "pode isso muito um de se ou na no quando sobre meu",
    "Italian": "il gli la le una è e per che con del della dei delle non sono più come anche questo questa nel alla "
    "si puoi essere di un in ha ma suo dal sul cosa",
    "German": "der die das und ist ein eine nicht mit für von zu auf den dem sich sie ich auch werden wird oder als "
    "bei sind können wie im es an einen einer haben kann aus dass wenn nach",
    "Dutch": "het een en van niet zijn voor met dat op te aan ook wordt deze naar bij kunnen uw jij heeft als maar "
    "om hoe de is in je er dit die wat",
    "Swedish": "och att det som är en ett för inte på med av till kan jag du har eller från den om de så man vi",
    "Danish or Norwegian": "og at det som er en et for ikke på med af av til kan jeg du har eller fra den om de så "
    "man vi",
    "Polish": "nie na jest się do to że jak oraz dla przez być czy ale może są od po co tym tego który która",
    "Czech": "je se na že to jako pro nebo který která jsou při může byl tak by ale jsem co ve po ze",
    "Romanian": "și este de la cu în pentru care mai nu din sunt sau prin poate ca să acest un pe au fost dar",
    "Turkish": "ve bir bu için ile olarak da de daha olan gibi çok ne var veya kadar nasıl mi en değil",
    "Indonesian or Malay": "yang dan di untuk dengan dari ini itu dalam adalah tidak pada anda atau dapat akan bisa "
    "juga ke saya kita oleh",
    "Vietnamese": "và của là có cho không một các được trong với để những người bạn này đã như về tôi",
    "Finnish": "ja on ei että se hän ovat mutta kun myös tai voi oli kuin joka mitä ole tämä niin sen",
    "Hungarian": "és az egy hogy nem is van meg ez csak de vagy mint volt még már ha ki lehet",
    "Russian": "и в не на что с как это для по или вы к из может но он она так его от все если бы",
    "Ukrainian": "і та в не на що з як це для або ви до є може але він вона так його від всі якщо й",
}
_ENGLISH_TOO = frozenset(_FREQUENT["English"].split()) | {
    "die",
    "den",
    "man",
    "war",
    "am",
    "fare",
    "data",
    "pro",
    "con",
}
STOP_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    if language == "English"
    else frozenset(word for word in words.split() if len(word) > 1 or word > "z") - _ENGLISH_TOO
    for language, words in _FREQUENT.items()
}

# Letters by script; Han alone is Chinese, with kana it is Japanese.
SCRIPTS: Mapping[str, str] = {
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Hebrew": "\u05d0-\u05f4",
    "Arabic": "\u0620-\u06ff\u0750-\u077f",
    "Devanagari": "\u0904-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e01-\u0e5b",
    "Khmer": "\u1780-\u17ff",
    "Georgian": "\u10a0-\u10ff",
    "Armenian": "\u0531-\u058f",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Kana": "\u3041-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
}
SCRIPT_LANGUAGES: Mapping[str, str] = {
    "Greek": "Greek",
    "Hebrew": "Hebrew",
    "Arabic": "Arabic script",
    "Devanagari": "Devanagari script",
    "Bengali": "Bengali",
    "Tamil": "Tamil",
    "Telugu": "Telugu",
    "Thai": "Thai",
    "Khmer": "Khmer",
    "Georgian": "Georgian",
    "Armenian": "Armenian",
    "Hangul": "Korean",
    "Han": "Chinese",
}

# A prompt that speaks of languages may well ask for another one than its own.
SPEAKS_OF_LANGUAGES = (
    r"translat|languag|\bbahasa\b|tradu[cizç]|übersetz|auf (?:deutsch|englisch)|vertaal|перев[её]|переклад|ترجم|"
    r"अनुवाद|翻訳|翻译|翻譯|译|번역|英文|中文|英語|英语|日本語|日语|"
    r"\b(?:english|french|fran[cç]ais|anglais|spanish|espa[nñ]ol|castellano|ingl[eé]s|portuguese|portugu[eê]s|"
    r"italian|italiano|german|deutsch|englisch|dutch|nederlands|engels|swedish|danish|norwegian|polish|polski|czech|"
    r"romanian|turkish|indonesian|malay|vietnamese|finnish|hungarian|russian|русск\w*|английск\w*|ukrainian|greek|"
    r"hebrew|arabic|persian|farsi|hindi|urdu|bengali|tamil|telugu|marathi|gujarati|punjabi|thai|khmer|korean|"
    r"japanese|chinese|mandarin|cantonese|latin|swahili|tagalog|filipino|catalan|gaelic|welsh|irish)\b"
)
