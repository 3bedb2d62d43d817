"""Formats whose rows compare two answers, or rate one of them good or bad: judges' verdicts and annotators' votes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simpo.data.formats_examples import is_rating
from simpo.data.formats_ranked import helpsteer_prompt
from simpo.data.pairing import number
from simpo.data.reasons import BadRow, shown
from simpo.data.shapes import Answer, Format, Found, Opinion, Ranked, RawRow, are
from simpo.data.turns import (
    Turns,
    column,
    history,
    instruction,
    messages,
    objects,
    prompt_turns,
    reply,
    said,
    sharegpt,
    text,
    with_system,
)
from simpo.records import Message

FIRST, SECOND, TIE = (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)
_LABELS = {"first": FIRST, "second": SECOND, "tie": TIE}


def _two(row: RawRow, keys: tuple[str, str], models: tuple[str, str] = ("", "")) -> tuple[Answer, Answer]:
    first, second = (
        Answer(text(row, key), f'"{key}"', extra={"model": row[model]} if row.get(model) else {})
        for key, model in zip(keys, models, strict=True)
    )
    return first, second


def _scored(answers: tuple[Answer, Answer], lead: float) -> tuple[Answer, Answer]:
    """The two answers with scores, `lead` points in favour of the second."""
    first, second = answers
    return (
        Answer(first.text, first.where, -lead, first.extra),
        Answer(second.text, second.where, 0.0, second.extra),
    )


def _by_sign(lead: float) -> tuple[float, float]:
    return SECOND if lead > 0 else FIRST if lead < 0 else TIE


def _figure(row: Mapping[str, Any], key: str, low: float, high: float, where: str = "") -> float:
    value = number(row.get(key))
    if value is None:
        raise BadRow("missing_key", f'{where}"{key}" is {shown(row.get(key))}, not a number')
    if not low <= value <= high:
        raise BadRow("wrong_type", f'{where}"{key}" is {value:g}, not from {low:g} to {high:g}')
    return value


def _helpsteer_keys(row: RawRow) -> tuple[tuple[str, str], str] | None:
    texts = next(
        (keys for keys in (("response1", "response2"), ("response_1", "response_2")) if are(row, str, *keys)),
        None,
    )
    verdict = next(
        (
            key
            for key in ("overall_preference", "preference_strength", "preference")
            if number(row.get(key)) is not None
        ),
        None,
    )
    return (texts, verdict) if texts and verdict else None


def _helpsteer(row: RawRow) -> list[Found]:
    keys = _helpsteer_keys(row)
    if keys is None:
        raise BadRow("missing_key", "there are no two responses with a preference between them")
    lead = _figure(row, keys[1], -3, 3)
    opinions = []
    single = row.get("individual_preference")
    for index, one in enumerate(single if isinstance(single, list) else []):
        score = number(one.get("score")) if isinstance(one, dict) else None
        if score is not None:
            opinions.append(Opinion(f"individual_preference[{index}]", _by_sign(score)))
    return [Ranked(helpsteer_prompt(row), _scored(_two(row, keys[0]), lead), tuple(opinions))]


def _alpaca_eval(row: RawRow) -> list[Found]:
    # Older files write 0 for a tie; 1 is the first output, 2 the second, 1.5 between them.
    verdict = _figure(row, "preference", 0, 2)
    lead = 2 * verdict - 3 if verdict else 0.0
    if abs(lead) > 1:
        raise BadRow("wrong_type", f'"preference" is {verdict:g}, not from 1 to 2 (or 0)')
    answers = _scored(_two(row, ("output_1", "output_2"), ("generator_1", "generator_2")), lead)
    judge = row.get("annotator")
    opinions = (Opinion(judge, _by_sign(lead), ordered=False),) if isinstance(judge, str) and judge else ()
    return [Ranked((Message("user", instruction(row)),), answers, opinions)]


def _annotators(row: RawRow) -> list[str]:
    return sorted(key for key in row if key.startswith("annotator") and key[9:].isdigit())


def _pandalm(row: RawRow) -> list[Found]:
    votes = {0: TIE, 1: FIRST, 2: SECOND}
    opinions = []
    for annotator in _annotators(row):
        vote = number(row[annotator])
        if vote not in votes:
            raise BadRow("wrong_type", f'"{annotator}" is {shown(row[annotator])}, not 0, 1 or 2')
        opinions.append(Opinion(annotator, votes[int(vote)]))
    prompt = (Message("user", instruction(row, between="\n\n")),)
    return [Ranked(prompt, _two(row, ("response1", "response2")), tuple(opinions))]


def _responses(row: RawRow) -> tuple[Turns, tuple[Answer, Answer]]:
    answers = _two(row, ("response_first", "response_second"), ("model_first", "model_second"))
    return prompt_turns(column(row, "prompt")), answers


def _annotator_labels(row: RawRow) -> list[Found]:
    prompt, answers = _responses(row)
    label = text(row, "label")
    if label not in _LABELS:
        raise BadRow("wrong_type", f'"label" is {shown(label)}, not first, second or tie')
    opinion = Opinion(str(column(row, "annotator_id")), _LABELS[label])
    key = (repr(row.get("item_id")), prompt, answers[0].text, answers[1].text)
    return [Ranked(prompt, answers, (opinion,), key=key)]


def _judgments(row: RawRow) -> list[Found]:
    prompt, answers = _responses(row)
    opinions = []
    for index, one in enumerate(objects(row, "judgments")):
        second = _figure(one, "p_second_better", 0, 1, f"judgments[{index}]: ")
        opinions.append(Opinion(str(one.get("judge", index)), _by_sign(second - 0.5), ordered=False))
    return [Ranked(prompt, answers, tuple(opinions))]


def _rating(row: RawRow) -> float:
    label = row.get("label", row.get("kto_tag"))
    if isinstance(label, str):
        label = {"true": 1, "false": 0}.get(label.lower())
    if label not in (0, 1):
        raise BadRow(
            "wrong_type", f'"label" is {shown(row.get("label", row.get("kto_tag")))}, not true or false'
        )
    return float(label)


def _rated(row: RawRow, prompt: Turns, completion: str, where: str) -> list[Found]:
    return [Ranked(prompt, (Answer(completion, where, _rating(row)),), key=prompt, rated=True)]


def _unpaired(row: RawRow) -> list[Found]:
    prompt = prompt_turns(column(row, "prompt"))
    return _rated(row, prompt, reply(column(row, "completion"), "completion", prompt), '"completion"')


def _unpaired_messages(row: RawRow) -> list[Found]:
    key, read = ("messages", messages) if are(row, list, "messages") else ("conversations", sharegpt)
    turns = read(column(row, key), key)
    if not turns or turns[-1].role != "assistant":
        raise BadRow("no_reply", f'"{key}" does not end in the assistant turn that is rated')
    where = f'the last turn of "{key}"'
    return _rated(row, with_system(row, turns[:-1]), said(turns[-1], where), where)


def _unpaired_alpaca(row: RawRow) -> list[Found]:
    prompt = (*history(row), Message("user", instruction(row)))
    return _rated(row, with_system(row, prompt), text(row, "output"), '"output"')


_RESPONSES = frozenset({"prompt", "response_first", "response_second"})

JUDGED: tuple[Format, ...] = (
    Format(
        "pandalm",
        "instruction, response1, response2, annotator1 ... (0 tie, 1, 2), also input",
        frozenset({"instruction", "input", "response1", "response2"}),
        lambda row: are(row, str, "instruction") and "response1" in row and bool(_annotators(row)),
        _pandalm,
    ),
    Format(
        "helpsteer",
        "prompt or context, response1, response2, overall_preference or preference_strength (-3 first ... 3 second)",
        frozenset({"prompt", "context", "response1", "response2", "response_1", "response_2"}),
        lambda row: _helpsteer_keys(row) is not None,
        _helpsteer,
        also=("helpsteer2", "helpsteer3"),
    ),
    Format(
        "alpaca_eval",
        "instruction, output_1, output_2, preference (1 first ... 2 second)",
        frozenset({"instruction", "input", "output_1", "output_2"}),
        lambda row: are(row, str, "instruction", "output_1", "output_2") and "preference" in row,
        _alpaca_eval,
    ),
    Format(
        "judgments",
        "prompt, response_first, response_second, judgments (judge, p_second_better)",
        _RESPONSES | {"judgments"},
        lambda row: are(row, str, "response_first", "response_second") and are(row, list, "judgments"),
        _judgments,
    ),
    Format(
        "annotator_labels",
        "prompt, response_first, response_second, annotator_id, label (first, second, tie); a row for each annotator",
        _RESPONSES | {"annotator_id", "label"},
        lambda row: are(row, str, "response_first", "response_second", "label") and "annotator_id" in row,
        _annotator_labels,
    ),
)

UNPAIRED: tuple[Format, ...] = (
    Format(
        "trl_unpaired",
        "prompt, completion, label (true, false); rows of one prompt are compared",
        frozenset({"prompt", "completion", "label"}),
        lambda row: are(row, (str, list), "prompt", "completion") and is_rating(row),
        _unpaired,
        also=("kto",),
    ),
    Format(
        "unpaired_messages",
        "messages or conversations (ending in the rated reply), label or kto_tag; rows of one prompt are compared",
        frozenset({"messages", "conversations", "label", "kto_tag", "system"}),
        lambda row: (are(row, list, "messages") or are(row, list, "conversations")) and is_rating(row),
        _unpaired_messages,
        also=("llamafactory_kto", "swift_kto"),
    ),
    Format(
        "unpaired_alpaca",
        "instruction, output, label or kto_tag, also input; rows of one prompt are compared",
        frozenset({"instruction", "input", "output", "label", "kto_tag", "system", "history"}),
        lambda row: are(row, str, "instruction", "output") and is_rating(row),
        _unpaired_alpaca,
    ),
)
