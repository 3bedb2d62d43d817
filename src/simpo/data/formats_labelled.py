"""Exports of labelling tools: what annotators chose among the answers, in Argilla and in Label Studio."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from simpo.data.formats_judged import FIRST, SECOND, TIE
from simpo.data.pairing import number
from simpo.data.reasons import BadRow, shown
from simpo.data.shapes import Answer, Format, Found, Opinion, Ranked, RawRow, are
from simpo.data.turns import Turns, column, objects, prompt_turns, with_system

# response-1, reply_2, answer1, generations-0, completion_a, chosen-like names of one of several answers.
_ANSWER = re.compile(
    r"(response|reply|answer|completion|generation|generations|output|text|candidate)[-_ ]?([0-9]{1,2}|[a-h])",
    re.IGNORECASE,
)
_PROMPTS = ("prompt", "instruction", "question", "query", "context", "chat", "messages", "input")
_TIES = ("tie", "equal", "same", "both", "none", "neither")
_PLACES = (("1", "left", "first", "a"), ("2", "right", "second", "b"))

# question -> what each annotator said: (who, value)
_Said = Mapping[str, Sequence[tuple[str, Any]]]


def _fields(fields: Mapping[str, Any]) -> tuple[Turns, tuple[Answer, ...]]:
    """The prompt and the answers among the fields of a task, by the names that such fields have."""
    key = next((key for key in _PROMPTS if fields.get(key)), None)
    if key is None:
        raise BadRow(
            "missing_key", f"none of the fields {shown(list(fields))} is a prompt ({', '.join(_PROMPTS)})"
        )
    answers = []
    for name, value in fields.items():
        if _ANSWER.fullmatch(name) and value is not None:
            if not isinstance(value, str):
                raise BadRow("wrong_type", f'the field "{name}" is {shown(value)}, not text')
            answers.append(Answer(value, name))
    return with_system(fields, prompt_turns(fields[key], key)), tuple(answers)


def _has_answers(fields: Mapping[str, Any]) -> bool:
    return sum(1 for name, value in fields.items() if _ANSWER.fullmatch(name) and isinstance(value, str)) > 1


def _compared(fields: Mapping[str, Any], said: _Said) -> list[Found]:
    prompt, answers = _fields(fields)
    names = [answer.where for answer in answers]
    opinions = tuple(
        Opinion(who, scores)
        for question, values in said.items()
        for who, value in values
        if (scores := _scores(value, names)) is not None and question not in names
    )
    return [Ranked(prompt, answers, opinions or _from_ratings(said, names))]


def _scores(value: object, names: Sequence[str]) -> tuple[float, ...] | None:
    """An annotator's order of the answers as scores: a ranking, the name of the better one, or a tie."""
    ranks = _ranks(value)
    if ranks is not None:
        return tuple(-ranks[name] for name in names) if set(names) <= set(ranks) else None
    if not isinstance(value, str) or len(names) != 2:
        return None
    if value.lower() in _TIES:
        return TIE
    for scores, name, places in zip((FIRST, SECOND), names, _PLACES, strict=True):
        if value == name or value.lower() in places:
            return scores
    return None


def _ranks(value: object) -> dict[str, float] | None:
    """name -> rank (1 is best), of the ways in which Argilla has written a ranking."""
    if isinstance(value, dict) and are(value, list, "rank", "value"):
        # datasets turns a list of objects into an object of lists.
        value = [
            {"rank": rank, "value": name} for rank, name in zip(value["rank"], value["value"], strict=False)
        ]
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(name, str) for name in value):
        return {name: float(place) for place, name in enumerate(value, 1)}
    if not all(isinstance(item, dict) and isinstance(item.get("value"), str) for item in value):
        return None
    ranks = [(item["value"], number(item.get("rank"))) for item in value]
    return {name: rank for name, rank in ranks if rank is not None}


def _from_ratings(said: _Said, names: Sequence[str]) -> tuple[Opinion, ...]:
    """Opinions of annotators who gave every answer a rating in a question of its own (`generations-0-rating`)."""
    by_annotator: dict[str, dict[str, float]] = {}
    for question, values in said.items():
        name = re.sub(r"[-_ ]?(rating|score)$|^(rating|score)[-_ ]?", "", question)
        for who, value in values:
            rating = number(value)
            if name in names and rating is not None:
                by_annotator.setdefault(who, {})[name] = rating
    return tuple(
        Opinion(who, tuple(ratings[name] for name in names))
        for who, ratings in by_annotator.items()
        if len(ratings) == len(names)
    )


def _answers_of(
    values: Iterable[object], users: object = None, states: object = None
) -> Iterator[tuple[str, Any]]:
    """Who said what, of responses that were submitted."""
    for index, one in enumerate(values):
        who, state = _at(users, index), _at(states, index)
        value = one
        if isinstance(one, dict) and "rank" not in one:
            who, state, value = one.get("user_id", who), one.get("status", state), one.get("value")
        if value is not None and state in (None, "submitted"):
            yield str(who if who is not None else f"annotator {index + 1}"), value


def _at(values: object, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _argilla(row: RawRow) -> list[Found]:
    """A record of `dataset.records.to_json`: fields, and responses by question."""
    fields, responses = column(row, "fields"), column(row, "responses")
    if not isinstance(fields, dict) or not isinstance(responses, dict):
        raise BadRow("wrong_type", f'"fields" or "responses" is not an object: {shown(responses)}')
    said = {
        question: list(_answers_of(values))
        for question, values in responses.items()
        if isinstance(values, list)
    }
    return _compared(fields, said)


def _argilla_columns(row: RawRow) -> list[Found]:
    """A row of a data set that Argilla exported: `Q.responses`, `Q.responses.users` (2), or lists with user_id (1)."""
    said = {}
    for key, values in row.items():
        if isinstance(values, list) and key.endswith(".responses"):
            users, states = row.get(f"{key}.users"), row.get(f"{key}.status")
            said[key.removesuffix(".responses")] = list(_answers_of(values, users, states))
        elif _is_responses(values):
            said[key] = list(_answers_of(values))
    return _compared(row, said)


def _is_responses(values: object) -> bool:
    return isinstance(values, list) and any(
        isinstance(one, dict) and "user_id" in one and "value" in one for one in values
    )


def _label_studio(row: RawRow) -> list[Found]:
    """A task of the JSON export; the left and the right answer are the first and the second of its data."""
    data = column(row, "data")
    if not isinstance(data, dict):
        raise BadRow("wrong_type", f'"data" is not an object: {shown(data)}')
    said = []
    for index, annotation in enumerate(objects(row, "annotations")):
        if annotation.get("was_cancelled"):
            continue
        who = annotation.get("completed_by", index + 1)
        name = str(who.get("email", who.get("id")) if isinstance(who, dict) else who)
        verdicts = (_verdict(result) for result in objects(annotation, "result"))
        verdict = next((one for one in verdicts if one is not None), None)
        if verdict is not None:
            said.append((name, verdict))
    return _compared(data, {"annotations": said})


def _verdict(result: Mapping[str, Any]) -> Any:
    """What one result says: `pairwise` selects a side (none is a tie), `choices` names one, `ranker` orders them."""
    value = result.get("value")
    if not isinstance(value, dict):
        return None
    if result.get("type") == "pairwise":
        return value.get("selected") or "tie"
    if isinstance(value.get("choices"), list) and len(value["choices"]) == 1:
        return value["choices"][0]
    ranker = value.get("ranker")
    if isinstance(ranker, dict):
        ranker = next((order for order in ranker.values() if isinstance(order, list)), None)
    return ranker if isinstance(ranker, list) else None


LABELLED: tuple[Format, ...] = (
    Format(
        "label_studio",
        "data (prompt, answer1, answer2), annotations (result: pairwise, choices or ranker)",
        frozenset({"data", "annotations"}),
        lambda row: are(row, dict, "data") and are(row, list, "annotations"),
        _label_studio,
    ),
    Format(
        "argilla",
        "fields (prompt, response1, response2), responses (by question: value, user_id)",
        frozenset({"fields", "responses"}),
        lambda row: are(row, dict, "fields", "responses"),
        _argilla,
    ),
    Format(
        "argilla_columns",
        "prompt, response1, response2, and QUESTION.responses or a list of user_id, value",
        frozenset({*_PROMPTS, "system"}),
        lambda row: (
            _has_answers(row)
            and any(key.endswith(".responses") or _is_responses(value) for key, value in row.items())
        ),
        _argilla_columns,
        also=("argilla_dataset",),
    ),
)
