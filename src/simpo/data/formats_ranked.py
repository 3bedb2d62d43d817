"""Formats whose rows hold several answers to one prompt, ranked or scored: UltraFeedback, NeMo, Nectar, OASST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simpo.data.pairing import number
from simpo.data.reasons import BadRow, kind_of, shown
from simpo.data.shapes import Answer, Format, Found, Ranked, RawRow, are
from simpo.data.turns import (
    Turns,
    column,
    hh_turns,
    is_hh,
    messages,
    objects,
    one_reply,
    prompt_turns,
    text,
)
from simpo.records import Message

# What HelpSteer puts between the turns of a prompt of several.
_EXTRA_ID = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")


def _known(item: Mapping[str, Any], **keys: str) -> dict[str, Any]:
    """What an answer says of itself, under our names, where it says it."""
    return {ours: item[theirs] for ours, theirs in keys.items() if item.get(theirs) is not None}


def _ranked(prompt: Turns, answers: Sequence[Answer]) -> list[Found]:
    return [Ranked(prompt, tuple(answers))]


def _ultrafeedback(row: RawRow) -> list[Found]:
    """The score is the mean of the annotated ratings: the `overall_score` of a critique is known to be off at times."""
    answers = []
    for index, item in enumerate(objects(row, "completions")):
        where = f"completions[{index}]"
        score = _mean_rating(item.get("annotations"))
        if score is None:
            score = number(item.get("overall_score"))
        if score is None:
            raise BadRow("missing_key", f"{where} has neither ratings nor an overall_score")
        extra = {"score": score, **_known(item, model="model", overall_score="overall_score")}
        answers.append(Answer(_said(item, "response", where), where, score, extra))
    return _ranked((Message("user", text(row, "instruction")),), answers)


def _mean_rating(annotations: object) -> float | None:
    """The mean rating over the aspects that have one ("N/A" stands where none was given)."""
    if not isinstance(annotations, dict):
        return None
    given = [aspect.get("Rating") for aspect in annotations.values() if isinstance(aspect, dict)]
    ratings = [rating for rating in map(number, given) if rating is not None]
    return sum(ratings) / len(ratings) if ratings else None


def _said(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise BadRow("wrong_type", f'"{key}" of {where} is {kind_of(value)}, not text: {shown(value)}')
    return value


def _rank(item: Mapping[str, Any], where: str) -> float:
    rank = number(item.get("rank"))
    if rank is None:
        raise BadRow("wrong_type", f'"rank" of {where} is {shown(item.get("rank"))}, not a number')
    return rank


def _nemo(row: RawRow) -> list[Found]:
    answers = []
    for index, item in enumerate(objects(row, "completions")):
        where = f"completions[{index}]"
        rank = _rank(item, where)
        said = one_reply(item.get("completion"), f"{where}.completion")
        answers.append(Answer(said, where, -rank, {"rank": item["rank"]}))
    return _ranked(prompt_turns(column(row, "context"), "context"), answers)


def _nectar(row: RawRow) -> list[Found]:
    answers = []
    for index, item in enumerate(objects(row, "answers")):
        where = f"answers[{index}]"
        rank = _rank(item, where)
        extra = {"rank": item["rank"], **_known(item, model="model")}
        answers.append(Answer(_said(item, "answer", where), where, -rank, extra))
    prompt: Turns = (Message("user", text(row, "prompt")),)
    if is_hh(row["prompt"]):
        prompt = hh_turns(row, "prompt")
        if prompt[-1] == Message("assistant", ""):
            prompt = prompt[:-1]
    return _ranked(prompt, answers)


def _oasst(row: RawRow) -> Iterator[Found]:
    """Every question of the tree with two or more ranked replies, after all that was said above it."""
    root = column(row, "prompt")
    if not isinstance(root, dict):
        raise BadRow("wrong_type", f'"prompt" is {kind_of(root)}, not a tree: {shown(root)}')
    pending: list[tuple[Mapping[str, Any], Turns]] = [(root, ())]
    ranked = False
    while pending:
        node, above = pending.pop()
        path = (*above, Message(_oasst_role(node), _said(node, "text", "a message")))
        replies = [reply for reply in _replies(node) if not reply.get("deleted")]
        answers = [answer for answer in map(_oasst_answer, replies) if answer is not None]
        if path[-1].role == "user" and len(answers) > 1:
            ranked = True
            yield Ranked(path, tuple(answers))
        pending.extend((reply, path) for reply in reversed(replies))
    if not ranked:
        raise BadRow("unranked", "no message of the tree has two ranked replies")


def _oasst_answer(node: Mapping[str, Any]) -> Answer | None:
    rank = number(node.get("rank"))
    if rank is None or _oasst_role(node) != "assistant":
        return None
    extra = {"rank": node["rank"], **_known(node, model="model_name")}
    return Answer(
        _said(node, "text", "a reply"), f"the reply {shown(node.get('message_id'), 40)}", -rank, extra
    )


def _oasst_role(node: Mapping[str, Any]) -> str:
    role = node.get("role")
    if role not in ("prompter", "assistant"):
        raise BadRow("wrong_role", f"a message has role {shown(role)}, not prompter or assistant")
    return "user" if role == "prompter" else "assistant"


def _replies(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise BadRow("wrong_type", f'"replies" is not a list of messages: {shown(replies)}')
    return replies


def helpsteer_prompt(row: RawRow) -> Turns:
    """The prompt of a HelpSteer row: a conversation in `context`, or text in `prompt`, whose turns are marked."""
    if isinstance(row.get("context"), list):
        return messages(row["context"], "context")
    first, *parts = _EXTRA_ID.split(text(row, "prompt"))
    roles = [{"User": "user", "Assistant": "assistant"}[marker] for marker in parts[::2]]
    turns = (Message(role, said) for role, said in zip(roles, parts[1::2], strict=True))
    prompt = (Message("user", first), *turns)
    # Some end in the marker of the reply.
    return prompt[:-1] if len(prompt) > 1 and prompt[-1] == Message("assistant", "") else prompt


def _helpsteer_ratings(row: RawRow) -> list[Found]:
    score = number(row.get("helpfulness"))
    if score is None:
        raise BadRow("wrong_type", f'"helpfulness" is {shown(row.get("helpfulness"))}, not a number')
    prompt = helpsteer_prompt(row)
    answer = Answer(text(row, "response"), '"response"', score, {"score": score})
    return [Ranked(prompt, (answer,), key=prompt)]


def _items_have(key: str, *keys: str) -> Callable[[RawRow], bool]:
    """Whether a column holds a list whose first object has these keys."""

    def look(row: RawRow) -> bool:
        items = row.get(key)
        first = items[0] if isinstance(items, list) and items else None
        return isinstance(first, dict) and all(one in first for one in keys)

    return look


_has_responses = _items_have("completions", "response")
_has_ranks = _items_have("completions", "rank", "completion")
_has_answers = _items_have("answers", "answer", "rank")

RANKED: tuple[Format, ...] = (
    Format(
        "ultrafeedback",
        "instruction, completions (response, annotations with Rating, overall_score)",
        frozenset({"instruction", "completions"}),
        lambda row: are(row, str, "instruction") and _has_responses(row),
        _ultrafeedback,
        also=("ultrafeedback_raw",),
    ),
    Format(
        "nemo_ranked",
        "context (messages), completions (rank, 0 is best; completion)",
        frozenset({"context", "completions"}),
        lambda row: are(row, (str, list), "context") and _has_ranks(row),
        _nemo,
        also=("nemo_rl",),
    ),
    Format(
        "nectar",
        "prompt, answers (answer, rank, 1 is best)",
        frozenset({"prompt", "answers"}),
        lambda row: are(row, str, "prompt") and _has_answers(row),
        _nectar,
    ),
    Format(
        "oasst_tree",
        "prompt (a tree: text, role, replies with rank, 0 is best)",
        frozenset({"prompt"}),
        lambda row: are(row, dict, "prompt") and "replies" in row["prompt"],
        _oasst,
        also=("oasst",),
    ),
    Format(
        "helpsteer_ratings",
        "prompt, response, helpfulness (a number); rows of one prompt are compared",
        frozenset({"prompt", "response"}),
        lambda row: are(row, str, "prompt", "response") and number(row.get("helpfulness")) is not None,
        _helpsteer_ratings,
    ),
)
