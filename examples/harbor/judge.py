"""The rubric judge: what a reply is worth, read from its text and the facts of its ticket.

It knows nothing of how a reply was made, so that it can read what a language model wrote. It goes by
patterns: transparent, fast and deterministic, and blind to anything that no pattern names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import judge_patterns as p
from .replies import WEIGHTS

MAX_CHARS = 6000  # more than ten times a long reply; the rest is not read and `stops` is 0
_SEGMENT_CHARS = 600
_COMFORTABLE_CHARS = 450  # beyond this a support reply is too long, whatever it says
_PHRASE_FACTS = ("carrier", "city", "plan2", "code", "part", "item")


def score(prompt: Sequence[Mapping[str, str]], reply: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Score of a reply in 0 to 1, its parts, and whether the customer would likely escalate.

    `row` is a row of the preference or SFT files; only `row["ticket"]` is read. `prompt` serves to tell an
    invented amount, date or order id from one that was there. Any text is accepted; time is linear
    in its length.
    """
    if not reply.strip():
        return {"score": 0.0, "parts": dict.fromkeys(WEIGHTS, 0.0), "escalates": True}
    ticket = row["ticket"]
    text = _plain(reply[:MAX_CHARS])
    segments = [s[:_SEGMENT_CHARS] for s in (part.strip() for part in p.SENTENCE_BREAK.split(text)) if s]
    parts = {
        "right_action": _right_action(segments, ticket),
        # An amount inside a forbidden promise is counted there, not as an invented fact as well.
        "facts": _facts("\n".join(s for s in segments if not _promises(s)), prompt, ticket),
        "no_forbidden_promise": 0.0 if any(_promises(segment) for segment in segments) else 1.0,
        "no_filler": _no_filler(segments),
        "courteous": _courteous(text),
        "stops": _stops(reply, segments),
    }
    # A text that says nothing to the point earns nothing for the sins it did not commit.
    substance = max(parts["right_action"], parts["facts"])
    clean = ("no_forbidden_promise", "no_filler")
    total = sum(
        WEIGHTS[name] * value * (substance if name in clean else 1.0) for name, value in parts.items()
    )
    return {"score": round(total, 4), "parts": parts, "escalates": _escalates(parts)}


def _plain(text: str) -> str:
    """Lower case, straight quotes, single blanks within lines."""
    text = text.lower().replace("\u2019", "'").replace("\u00a0", " ")
    return text.replace("can not", "cannot")


def _right_action(segments: Sequence[str], ticket: Mapping[str, Any]) -> float:
    """1 where the reply takes the action the policy asks for, 0.5 where it also takes one that excludes "
    "it."""
    right = str(ticket["action"])
    part = str(ticket.get("part", "")).lower()
    if part and right in ("send_part", "reship"):
        # "a replacement hinge" is the part; "a replacement" is the whole item.
        segments = [_name_part(segment, part) for segment in segments]
    if not any(_asserts(segment, right) for segment in segments):
        return 0.0
    conflicts = p.CONFLICTS.get(right, ())
    return 0.5 if any(_asserts(segment, other) for segment in segments for other in conflicts) else 1.0


def _name_part(segment: str, part: str) -> str:
    for adjective in ("replacement ", "new ", ""):
        segment = segment.replace(adjective + part, "part")
    return segment


def _asserts(segment: str, action: str) -> bool:
    """Whether one sentence takes the action: not denied, not conditional, not offered as a choice."""
    if p.OFFER.search(segment):
        return False
    condition = p.CONDITION.search(segment)
    if action in p.PLAIN_ACTIONS:
        before = segment[: condition.start()] if condition and condition.start() > 0 else segment
        return p.PLAIN_ACTIONS[action].search(before) is not None
    if condition or p.GENERALITY.search(segment):
        return False
    return any(not _denied(segment, m.start(), m.end()) for m in p.COMMITMENTS[action].finditer(segment))


def _denied(segment: str, start: int, end: int) -> bool:
    """Whether a negation in the same clause governs the words at `start`."""
    before = segment[max(0, start - 60) : start]
    breaks = list(p.CLAUSE_BREAK.finditer(before))
    clause = before[breaks[-1].end() :] if breaks else before
    return bool(p.NEGATION.search(clause)) or bool(p.NEGATED_AFTER.search(segment[end : end + 80]))


def _facts(text: str, prompt: Sequence[Mapping[str, str]], ticket: Mapping[str, Any]) -> float:
    """Share of the needed facts that the reply states, less a quarter for each invented value (two at "
    "most)."""
    needed = ticket["facts"]
    if not needed:
        return 1.0
    found = sum(_states(text, str(name), str(value).lower()) for name, value in needed.items())
    known = _plain("\n".join(str(message["content"]) for message in prompt))
    known += "\n" + "\n".join(str(value).lower() for value in needed.values())
    invented = sum(len(values(text) - values(known)) for values in (_amounts, _dates, _order_ids))
    return max(0.0, round(found / len(needed) - 0.25 * min(invented, 2), 4))


def _states(text: str, name: str, value: str) -> bool:
    if name == "order":
        return value in text
    if name in ("amount", "amount2"):
        return value.lstrip("$").removesuffix(".00") in _amounts(text)
    if name == "days":
        return value.split()[0] in {p.NUMBER_WORDS.get(m[1], m[1]) for m in p.DAY_COUNT.finditer(text)}
    if name in _PHRASE_FACTS:
        return value in text or (name in ("item", "part") and value.split()[-1] in p.WORD.findall(text))
    return bool(_dates(value) & _dates(text))


def _amounts(text: str) -> set[str]:
    return {m[1].removesuffix(".00") for m in p.MONEY.finditer(text)}


def _dates(text: str) -> set[str]:
    dates = {f"{m[1]} {int(m[2])}" for m in p.MONTH_DAY.finditer(text)}
    return dates | {f"{m[2]} {int(m[1])}" for m in p.DAY_MONTH.finditer(text)}


def _order_ids(text: str) -> set[str]:
    return set(p.ORDER_ID.findall(text))


def _promises(segment: str) -> bool:
    return bool(p.PROMISE.search(segment)) and not p.DENIED_PROMISE.search(segment)


def _no_filler(segments: Sequence[str]) -> float:
    """1 without padding, falling to 0 where half of the text is padding, repetition or excess length."""
    total = sum(map(len, segments)) or 1
    seen: set[str] = set()
    padding = 0
    for segment in segments:
        if segment in seen or p.FILLER.search(segment):
            padding += len(segment)
        seen.add(segment)
    padding += max(0, total - padding - _COMFORTABLE_CHARS)
    return round(max(0.0, 1.0 - 2.0 * padding / total), 4)


def _courteous(text: str) -> float:
    """1 with a courteous phrase or a greeting, 0.7 with a bare please, 0.4 without, 0 where the tone is "
    "defensive."""
    if p.RUDE.search(text):
        return 0.0
    if p.COURTESY.search(text) or p.GREETING.search(text):
        return 1.0
    return 0.7 if p.POLITE.search(text) else 0.4


def _stops(reply: str, segments: Sequence[str]) -> float:
    """1 where the text ends as a finished message: a sentence end, no loop, no turn of somebody else."""
    text = reply.strip()
    if len(text) > MAX_CHARS or p.ROLE_LEAK.search(text) or not p.ENDING.search(text[-60:]):
        return 0.0
    if len(segments) >= 4 and len(set(segments)) <= len(segments) // 2:
        return 0.0
    words = p.WORD.findall(text.lower())
    if len(words) >= 24:
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        return 1.0 if len(set(grams)) >= 0.75 * len(grams) else 0.0
    return 1.0


def _escalates(parts: Mapping[str, float]) -> bool:
    """A modelled customer: a wrong answer, a broken promise in the making, or a cold reply without facts."""
    if parts["right_action"] < 0.5 or parts["stops"] == 0.0:
        return True
    if parts["no_forbidden_promise"] == 0.0 and parts["facts"] < 1.0:
        return True
    return parts["facts"] < 0.5 and parts["courteous"] < 0.7
