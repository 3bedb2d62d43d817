"""Replies built from parts of known quality, so that length and quality are separate knobs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import wording
from .grammar import pick, render, tidy
from .intents import Action
from .tickets import Ticket

# What each part of the rubric is worth; the judge uses the same weights.
WEIGHTS = {
    "right_action": 0.40,
    "facts": 0.20,
    "no_forbidden_promise": 0.15,
    "no_filler": 0.10,
    "courteous": 0.10,
    "stops": 0.05,
}
INVENTED = "invented"  # stands for a stated value that is not in the ticket
_FILLER_CREDIT = (1.0, 0.55, 0.25, 0.0, 0.0)
_TONE_CREDIT = {"courteous": 1.0, "curt": 0.4, "defensive": 0.0}


@dataclass(frozen=True, slots=True)
class Quality:
    """The knobs of one reply; `fillers` and `reason` lengthen it, `facts` is the share of needed facts "
    "stated."""

    right: bool
    facts: float
    promise: bool
    tone: str  # courteous, curt or defensive
    fillers: int
    reason: bool

    @property
    def score(self) -> float:
        """The true rubric score, 0 to 1; the judge has to recover it from the text alone."""
        credit = max(1.0 if self.right else 0.0, self.facts)
        return (
            WEIGHTS["right_action"] * self.right
            + WEIGHTS["facts"] * self.facts
            + WEIGHTS["no_forbidden_promise"] * (not self.promise) * credit
            + WEIGHTS["no_filler"] * _FILLER_CREDIT[self.fillers] * credit
            + WEIGHTS["courteous"] * _TONE_CREDIT[self.tone]
            + WEIGHTS["stops"]
        )


@dataclass(frozen=True, slots=True)
class Style:
    """How one kind of agent writes: chances of each knob."""

    right: float
    facts: tuple[float, float, float]  # weights of all, some and none
    promise: float
    tone: tuple[float, float, float]  # weights of courteous, curt and defensive
    fillers: tuple[int, ...]
    reason: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A text and the quality it was built to have."""

    text: str
    quality: Quality


STYLES = {
    "tight": Style(0.90, (0.85, 0.15, 0.0), 0.02, (0.95, 0.05, 0.0), (0,), 0.50),
    "normal": Style(0.75, (0.55, 0.35, 0.10), 0.10, (0.80, 0.15, 0.05), (0, 0, 1), 0.45),
    "bare": Style(0.65, (0.10, 0.45, 0.45), 0.05, (0.30, 0.60, 0.10), (0,), 0.05),
    "wordy": Style(0.70, (0.40, 0.40, 0.20), 0.20, (0.95, 0.0, 0.05), (2, 2, 3), 0.50),
    "sloppy": Style(0.30, (0.25, 0.45, 0.30), 0.45, (0.70, 0.25, 0.05), (0, 0, 1), 0.25),
    "defensive": Style(0.55, (0.30, 0.45, 0.25), 0.05, (0.0, 0.15, 0.85), (0, 0, 1), 0.40),
    # What agents typed into the help desk: mostly right, on the wordy side, of mixed quality.
    "agent": Style(0.86, (0.60, 0.28, 0.12), 0.10, (0.90, 0.06, 0.04), (0, 1, 1, 2, 2, 2, 3), 0.65),
}


def draw_reply(ticket: Ticket, style: Style, rng: random.Random) -> Reply:
    """A reply in a style: knobs first, then words for them."""
    right = rng.random() < style.right
    level = rng.choices(("all", "some", "none"), style.facts)[0]
    tone = rng.choices(("courteous", "curt", "defensive"), style.tone)[0]
    promise = rng.random() < style.promise
    fillers = rng.choice(style.fillers) if tone != "curt" else 0
    reason = rng.random() < style.reason
    return write_reply(ticket, right, level, tone, promise, fillers, reason, rng)


def write_reply(
    ticket: Ticket,
    right: bool,
    level: str,
    tone: str,
    promise: bool,
    fillers: int,
    reason: bool,
    rng: random.Random,
) -> Reply:
    """Words for given knobs; `level` says whether all, some or none of the action's facts are stated."""
    others = [action for action in ticket.intent.actions if action.name != ticket.case.action]
    action = ticket.action if right else rng.choice(others) if rng.random() < 0.75 else None
    if action is None:
        core, stated = _deflect(ticket, rng, level)
    else:
        core, stated = _act(ticket, action, rng, level, reason)
    if promise:
        category = ticket.intent.category
        core.append(
            pick(wording.PROMISES[category], wording.RESERVED_PROMISES[category], rng, ticket.held_out)
        )
    text = _frame(ticket, core, tone, fillers, rng)
    if ticket.slots["item"] in text:  # many sentences name the item, whether it is asked for or not
        stated |= {"item"}
    share = len(stated.intersection(ticket.action.needs)) / len(ticket.action.needs)
    facts = max(0.0, share - 0.25) if INVENTED in stated else share
    return Reply(text, Quality(right, facts, promise, tone, fillers, reason and action is not None))


def _act(
    ticket: Ticket, action: Action, rng: random.Random, level: str, reason: bool
) -> tuple[list[str], frozenset[str]]:
    """The sentences that carry out an action, and the needed facts they state correctly."""
    slots = dict(ticket.slots)
    if action.limit and action.limit != ticket.case.limit:
        # A wrong answer gives a date that fits its own story, not one that would be absurd on its face.
        slots["limit"] = slots["later" if action.limit == "future" else "earlier"]
    stated = _choose_facts(action.needs, level, rng)
    template = pick(action.texts, action.reserved, rng, ticket.held_out)
    sentences = [render(template, slots, rng, stated)]
    if reason:
        sentences.insert(rng.randrange(2), render(rng.choice(action.reasons), slots, rng, ()))
    true = frozenset(name if slots[name] == ticket.slots[name] else INVENTED for name in stated)
    return sentences, true


def _choose_facts(needs: tuple[str, ...], level: str, rng: random.Random) -> frozenset[str]:
    if level == "all":
        return frozenset(needs)
    return frozenset(rng.sample(needs, rng.randrange(1, len(needs)))) if level == "some" else frozenset()


def _deflect(ticket: Ticket, rng: random.Random, level: str) -> tuple[list[str], frozenset[str]]:
    """A reply that does nothing for the customer."""
    category = ticket.intent.category
    template = pick(wording.DEFLECT[category], wording.RESERVED_DEFLECT[category], rng, ticket.held_out)
    stated = frozenset(("order",)) if level != "none" else frozenset()
    return [render(template, ticket.slots, rng, stated)], stated


def _frame(ticket: Ticket, body: list[str], tone: str, fillers: int, rng: random.Random) -> str:
    """Greeting, tone, padding and closing around the sentences that matter."""

    def say(common: tuple[str, ...], reserved: tuple[str, ...]) -> str:
        return render(pick(common, reserved, rng, ticket.held_out), ticket.slots, rng, ())

    pool = wording.FILLER + (wording.RESERVED_FILLER if ticket.held_out else ())
    padding = rng.sample(pool, fillers)
    cut = rng.randrange(fillers + 1)
    middle = padding[:cut] + body + padding[cut:]
    if tone == "curt":
        return tidy(" ".join([*middle, say(wording.CURT, wording.RESERVED_CURT)]))
    if tone == "defensive":
        return tidy(" ".join([say(wording.DEFENSIVE, wording.RESERVED_DEFENSIVE), *middle]))
    greeting = say(wording.REPLY_GREETINGS, wording.RESERVED_REPLY_GREETINGS)
    sorry = ticket.intent.name in wording.TROUBLE and rng.random() < 0.75
    opening = (
        say(wording.SORRY, wording.RESERVED_SORRY)
        if sorry
        else say(wording.WELCOME, wording.RESERVED_WELCOME)
    )
    closing = say(wording.CLOSINGS, wording.RESERVED_CLOSINGS)
    shape = rng.random()  # some agents skip the opening, some the closing
    sentences = ([opening] if shape < 0.93 else []) + middle + ([closing] if shape > 0.12 else [])
    return greeting + "\n" + tidy(" ".join(sentences))
