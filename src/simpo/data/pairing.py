"""Ranked or scored answers to pairs, by a stated policy: which answers are compared, and by how much they differ.

best_worst  the best answer against the worst: one pair for each prompt
all         every better answer against every worse one
adjacent    every answer against the next worse one

Ratings of single replies as good or bad have two levels only, so every good reply is paired with every bad one.

Answers of equal score are a tie and never make a pair, and neither do two whose scores differ by less than
`min_margin`. Of several best answers the first counts, of several worst the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any, get_args

from simpo.data.reasons import BadRow, shown
from simpo.data.shapes import Answer, Pairing, Parts, Ranked, check_prompt

PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
# Where a row that is a pair already says how far apart its replies are.
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen_reward", "rejected_reward"),
)
# 0.9 - 0.4 is below 0.5 in binary.
_ROUNDING = 1e-9


def pairs_of(ranked: Ranked, pairing: Pairing, min_margin: float) -> list[Parts | BadRow]:
    """The pairs of one prompt's answers, each answer without text as a `BadRow`; raises it where no pair is left."""
    check_prompt(ranked.prompt)
    blank: list[Parts | BadRow] = [
        BadRow("empty_answer", f"{answer.where} is empty")
        for answer in ranked.answers
        if not answer.text.strip()
    ]
    scores = _scores(ranked)
    order = sorted(
        (index for index, answer in enumerate(ranked.answers) if answer.text.strip()),
        key=lambda index: -scores[index],
    )
    if len(order) < 2:
        if blank:
            raise blank[0]  # type: ignore[misc]
        raise BadRow("unranked", f"the row compares {len(order)} answers, not two or more")
    found: list[Parts | BadRow] = []
    reasons: set[str] = set()
    for better, worse in _compared(order, "all" if ranked.rated else pairing):
        reason = _no_pair(
            ranked.answers[better], ranked.answers[worse], scores[better] - scores[worse], min_margin
        )
        if reason is None:
            found.append(_pair(ranked, better, worse))
        else:
            reasons.add(reason)
    if not found:
        raise _none_found(ranked, [scores[index] for index in order], reasons, min_margin)
    return [*found, *blank]


def _compared(order: Sequence[int], pairing: Pairing) -> Iterable[tuple[int, int]]:
    if pairing == "best_worst":
        return [(order[0], order[-1])]
    return combinations(order, 2) if pairing == "all" else pairwise(order)


def _no_pair(better: Answer, worse: Answer, margin: float, min_margin: float) -> str | None:
    if margin <= 0:
        return "tie"
    if better.text == worse.text:
        return "identical"
    return "small_margin" if margin < min_margin - _ROUNDING else None


def _none_found(ranked: Ranked, scores: Sequence[float], reasons: set[str], min_margin: float) -> BadRow:
    if "small_margin" in reasons:
        return BadRow(
            "small_margin",
            f"the best and the worst answer differ by {scores[0] - scores[-1]:g}, less than {min_margin:g}",
            _said(ranked),
        )
    if "identical" in reasons:
        text = shown(ranked.answers[0].text, 40)
        return BadRow("identical", f"the answers that are compared are equal: {text}")
    return BadRow("tie", f"no answer is better than another ({len(scores)} answers)", _said(ranked))


def _said(ranked: Ranked) -> dict[str, Any]:
    """What the annotators of two answers chose, where that makes no pair: there is no chosen reply to tell it by."""
    if len(ranked.answers) != 2 or not ranked.opinions:
        return {}
    notes = [{key: value for key, value in note.items() if key != "first"} for note in _notes(ranked, 0, 1)]
    return {"annotations": notes}


def _scores(ranked: Ranked) -> tuple[float, ...]:
    """The answers' scores; from the opinions where the row itself gives none.

    Of two answers the better one is what more than half of all opinions prefer, its score the share of them; of more
    answers the score is the mean over the opinions.
    """
    given = [answer.score for answer in ranked.answers if answer.score is not None]
    if len(given) == len(ranked.answers):
        return tuple(given)
    if not ranked.opinions:
        raise BadRow("unlabelled", "no annotator compared the answers")
    count = len(ranked.opinions)
    if len(ranked.answers) != 2:
        return tuple(
            sum(scores) / count for scores in zip(*(one.scores for one in ranked.opinions), strict=True)
        )
    first, second = (
        sum(one.scores[index] > one.scores[1 - index] for one in ranked.opinions) / count for index in (0, 1)
    )
    return (first, second) if max(first, second) > 0.5 else (0.0, 0.0)


def _pair(ranked: Ranked, better: int, worse: int) -> Parts:
    chosen, rejected = ranked.answers[better], ranked.answers[worse]
    extra = {f"{key}_chosen": value for key, value in chosen.extra.items()}
    extra |= {f"{key}_rejected": value for key, value in rejected.extra.items()}
    if ranked.opinions:
        extra["annotations"] = [dict(note) for note in _notes(ranked, better, worse)]
    return Parts(ranked.prompt, (chosen.text, rejected.text), extra)


def _notes(ranked: Ranked, better: int, worse: int) -> Iterator[Mapping[str, str]]:
    """Each opinion on a pair: who saw which reply first, and took which.

    `order` is "unknown" where it was shuffled or not recorded: then `first` says which stands first in the row, and
    nothing can be learnt of a liking for the first.
    """
    first = min(better, worse)
    second = max(better, worse)
    for opinion in ranked.opinions:
        lead = opinion.scores[first] - opinion.scores[second]
        note = {
            "annotator": opinion.annotator,
            "first": "chosen" if first == better else "rejected",
            "choice": "tie" if lead == 0 else "first" if lead > 0 else "second",
        }
        yield note if opinion.ordered else {**note, "order": "unknown"}


def merged(pieces: Sequence[Ranked]) -> Ranked:
    """The rows of one item as one: opinions on the same answers together, or the answers that each row brought.

    An answer that is given twice counts once, with the mean of its scores; one rated both good and bad is left out.
    """
    first = pieces[0]
    if all(answer.score is None for answer in first.answers):
        return replace(first, opinions=tuple(opinion for piece in pieces for opinion in piece.opinions))
    by_text: dict[str, list[Answer]] = {}
    for piece in pieces:
        for answer in piece.answers:
            by_text.setdefault(answer.text, []).append(answer)
    answers = tuple(_one_answer(same) for same in by_text.values())
    if first.rated:
        answers = tuple(answer for answer in answers if answer.score in (0, 1))
    return replace(first, answers=answers)


def _one_answer(same: Sequence[Answer]) -> Answer:
    scores = [answer.score for answer in same if answer.score is not None]
    return replace(same[0], score=math.fsum(scores) / len(scores)) if scores else same[0]


def stated_margin(row: Mapping[str, Any]) -> float | None:
    """How much better the chosen reply of a pair is, where the row has scores of both, or a `margin`."""
    for chosen, rejected in _SCORES:
        scores = number(row.get(chosen)), number(row.get(rejected))
        if scores[0] is not None and scores[1] is not None:
            return scores[0] - scores[1]
    return number(row.get("margin"))


def number(value: object) -> float | None:
    """A finite number, given as such or (in CSV) as text; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def check_margin(row: Mapping[str, Any], min_margin: float) -> None:
    """Raise `BadRow` for a pair whose own scores are closer than `min_margin` (0 takes the file at its word)."""
    margin = stated_margin(row) if min_margin > 0 else None
    if margin is not None and margin < min_margin - _ROUNDING:
        reason = "tie" if margin == 0 else "small_margin"
        raise BadRow(reason, f"the scores of the two replies differ by {margin:g}, less than {min_margin:g}")
