"""Instructions that a program can verify in a reply: the kinds of IFEval, written here from their descriptions.

Source of the kinds and of the names of their arguments: Zhou et al. 2023, arXiv:2311.07911. Each function takes the
reply and the instruction's arguments and says whether it was followed. A kind that is not in `CHECKS` is not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Check = Callable[[str, Mapping[str, Any]], bool]

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")
_TITLE_ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Jr|Sr)\.")


def follows(kind: str, reply: str, arguments: Mapping[str, Any]) -> bool | None:
    """Whether a reply follows an instruction; None for a kind, or arguments, that are not known here.

    An empty reply follows none.
    """
    check = CHECKS.get(kind)
    if check is None:
        return None
    try:
        return bool(reply.strip()) and check(reply, arguments)
    except (KeyError, TypeError, ValueError):  # arguments of another shape than the kind's
        return None


def _compare(count: int, relation: str, bound: int) -> bool:
    if relation not in ("at least", "less than"):
        raise ValueError(relation)
    return count >= bound if relation == "at least" else count < bound


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _count_inside(text: str, phrase: str) -> int:
    return text.casefold().count(
        phrase.casefold()
    )  # inside longer words too, as IFEval counts what must be there


def _count_words(text: str, phrase: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)", text.casefold()))


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def _no_comma(reply: str, _: Mapping[str, Any]) -> bool:
    return "," not in reply


def _quotation(reply: str, _: Mapping[str, Any]) -> bool:
    text = reply.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


def _end_phrase(reply: str, arguments: Mapping[str, Any]) -> bool:
    text = reply.strip().strip('"').casefold()
    return text.endswith(str(arguments["end_phrase"]).strip().casefold())


def _number_words(reply: str, arguments: Mapping[str, Any]) -> bool:
    return _compare(len(_words(reply)), arguments["relation"], int(arguments["num_words"]))


def _number_sentences(reply: str, arguments: Mapping[str, Any]) -> bool:
    text = _TITLE_ABBREVIATIONS.sub(lambda found: found.group().replace(".", ""), reply)
    parts = [part for part in _SENTENCE_END.split(text) if _WORD.search(part)]
    return _compare(len(parts), arguments["relation"], int(arguments["num_sentences"]))


def _number_paragraphs(reply: str, arguments: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in re.split(r"\s*\*\*\*\s*", reply.strip())]
    inner = parts[1:-1] if len(parts) > 1 else []
    filled = [part for part in parts if part]
    return len(filled) == int(arguments["num_paragraphs"]) and all(inner)


def _first_word_of_paragraph(reply: str, arguments: Mapping[str, Any]) -> bool:
    parts = _paragraphs(reply)
    place = int(arguments["nth_paragraph"])
    if len(parts) != int(arguments["num_paragraphs"]) or not 1 <= place <= len(parts):
        return False
    words = _words(parts[place - 1])
    return bool(words) and words[0].casefold() == str(arguments["first_word"]).casefold()


def _keywords(reply: str, arguments: Mapping[str, Any]) -> bool:
    return all(_count_inside(reply, str(word)) for word in arguments["keywords"])


def _forbidden(reply: str, arguments: Mapping[str, Any]) -> bool:
    return not any(_count_words(reply, str(word)) for word in arguments["forbidden_words"])


def _keyword_frequency(reply: str, arguments: Mapping[str, Any]) -> bool:
    count = _count_inside(reply, str(arguments["keyword"]))
    return _compare(count, arguments["relation"], int(arguments["frequency"]))


def _letter_frequency(reply: str, arguments: Mapping[str, Any]) -> bool:
    count = reply.casefold().count(str(arguments["letter"]).casefold())
    return _compare(count, arguments["let_relation"], int(arguments["let_frequency"]))


def _lowercase(reply: str, _: Mapping[str, Any]) -> bool:
    return any(char.isalpha() for char in reply) and reply == reply.lower()


def _capitals(reply: str, _: Mapping[str, Any]) -> bool:
    return any(char.isalpha() for char in reply) and reply == reply.upper()


def _capital_words(reply: str, arguments: Mapping[str, Any]) -> bool:
    count = sum(word.isupper() for word in _words(reply))
    return _compare(count, arguments["capital_relation"], int(arguments["capital_frequency"]))


def _highlights(reply: str, arguments: Mapping[str, Any]) -> bool:
    found = re.findall(r"\*\*[^*\n]+\*\*|(?<!\*)\*[^*\n]+\*(?!\*)", reply)
    filled = [part for part in found if part.strip("*").strip()]
    return len(filled) >= int(arguments["num_highlights"])


def _bullets(reply: str, arguments: Mapping[str, Any]) -> bool:
    found = re.findall(r"^\s*(?:\*(?!\*)|-)\s*\S", reply, re.MULTILINE)
    return len(found) == int(arguments["num_bullets"])


def _sections(reply: str, arguments: Mapping[str, Any]) -> bool:
    marker = re.escape(str(arguments["section_spliter"]))
    return len(re.findall(rf"\b{marker}\s+\w", reply)) >= int(arguments["num_sections"])


def _placeholders(reply: str, arguments: Mapping[str, Any]) -> bool:
    return len(re.findall(r"\[[^\[\]]+\]", reply)) >= int(arguments["num_placeholders"])


def _postscript(reply: str, arguments: Mapping[str, Any]) -> bool:
    marker = str(arguments["postscript_marker"]).replace(" ", "").casefold()
    letters = [re.escape(letter) + (r"\.?" if letter.isalpha() else "") for letter in marker if letter != "."]
    return re.search(r"^\s*" + r"\s?".join(letters), reply.casefold(), re.MULTILINE) is not None


def _title(reply: str, _: Mapping[str, Any]) -> bool:
    return any(found.strip(" <>") for found in re.findall(r"<<([^\n]+?)>>", reply))


def _json_only(reply: str, _: Mapping[str, Any]) -> bool:
    text = reply.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL | re.IGNORECASE)
    try:
        json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return False
    return True


def _constrained(reply: str, _: Mapping[str, Any]) -> bool:
    return any(answer in reply for answer in ("My answer is yes.", "My answer is no.", "My answer is maybe."))


def _repeat_prompt(reply: str, arguments: Mapping[str, Any]) -> bool:
    return reply.strip().casefold().startswith(str(arguments["prompt_to_repeat"]).strip().casefold())


def _two_responses(reply: str, _: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in reply.split("******")]
    filled = [part for part in parts if part]
    return len(filled) == 2 and filled[0] != filled[1] and all(parts[1:-1])


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "punctuation:no_comma": _no_comma,
        "startend:quotation": _quotation,
        "startend:end_checker": _end_phrase,
        "length_constraints:number_words": _number_words,
        "length_constraints:number_sentences": _number_sentences,
        "length_constraints:number_paragraphs": _number_paragraphs,
        "length_constraints:nth_paragraph_first_word": _first_word_of_paragraph,
        "keywords:existence": _keywords,
        "keywords:forbidden_words": _forbidden,
        "keywords:frequency": _keyword_frequency,
        "keywords:letter_frequency": _letter_frequency,
        "change_case:english_lowercase": _lowercase,
        "change_case:english_capital": _capitals,
        "change_case:capital_word_frequency": _capital_words,
        "detectable_format:number_highlighted_sections": _highlights,
        "detectable_format:number_bullet_lists": _bullets,
        "detectable_format:multiple_sections": _sections,
        "detectable_format:title": _title,
        "detectable_format:json_format": _json_only,
        "detectable_format:constrained_response": _constrained,
        "detectable_content:number_placeholders": _placeholders,
        "detectable_content:postscript": _postscript,
        "combination:repeat_prompt": _repeat_prompt,
        "combination:two_responses": _two_responses,
    }
)
