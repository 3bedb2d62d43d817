"""Tickets: facts drawn from a seed, a system message that states them, and what the customer writes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import values, wording
from .billing import BILLING
from .grammar import pick, render, tidy
from .intents import Action, Case, Intent
from .prices import PRICES
from .returns import CONTENTS
from .shipping import PARCELS

INTENTS: tuple[Intent, ...] = BILLING + PRICES + PARCELS + CONTENTS
TONES = ("calm", "annoyed", "terse", "chatty")
_CENTS = ("00", "00", "50", "90", "95", "99")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Everything about one ticket; `prompt` starts with the system message and ends in a user turn."""

    id: str
    intent: Intent
    case: Case
    slots: Mapping[str, str]
    held_out: bool
    system: str
    turns: tuple[tuple[str, str], ...]
    opener: str  # the template of the user's text, so that a paraphrase can avoid it

    @property
    def action(self) -> Action:
        """What the policy asks for, given the facts."""
        return self.intent.by_name[self.case.action]

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The conversation up to the reply."""
        turns = [{"role": role, "content": content} for role, content in self.turns]
        return [{"role": "system", "content": self.system}, *turns]

    def record(self) -> dict[str, object]:
        """What the judge needs to know, as it stands in the files."""
        facts = {name: fact_text(name, self.slots) for name in self.action.needs}
        return {
            "case": self.case.name,
            "action": self.case.action,
            "facts": facts,
            "item": self.slots["item"],
            "part": self.slots["part"],
            "order": self.slots["order"],
            "customer": self.slots["name"],
            "carrier": self.slots["carrier"],
            "city": self.slots["city"],
        }


def fact_text(name: str, slots: Mapping[str, str]) -> str:
    """The value of a fact in words a reply would use."""
    return f"{slots[name]} business days" if name == "days" else slots[name]


def draw_ticket(seed: int, stream: str, index: int, held_out: bool) -> Ticket:
    """Ticket number `index` of a stream; the same arguments always give the same ticket."""
    rng = random.Random(f"{seed}/{stream}/{index}/facts")
    intent = rng.choice(INTENTS)
    case = rng.choice(intent.cases)
    slots = _draw_slots(rng, intent, case, held_out)
    header = rng.choice(wording.HEADERS["account" if intent.account else "order"])
    system = " ".join((header, rng.choice(case.state), "Policy: " + rng.choice(intent.policy)))
    talk = random.Random(f"{seed}/{stream}/{index}/talk")
    opener = pick(intent.openers, intent.reserved_openers, talk, held_out)
    turns = _write_turns(talk, intent, case, slots, held_out, opener)
    ticket_id = f"{stream}-{index:06d}"
    return Ticket(ticket_id, intent, case, slots, held_out, render(system, slots, rng, ()), turns, opener)


def paraphrase(ticket: Ticket, seed: int) -> Ticket:
    """The same ticket with the customer's text written anew from another template."""
    rng = random.Random(f"{seed}/{ticket.id}/paraphrase")
    openers = [
        text for text in ticket.intent.openers + ticket.intent.reserved_openers if text != ticket.opener
    ]
    opener = rng.choice(openers)
    turns = _write_turns(rng, ticket.intent, ticket.case, ticket.slots, True, opener)
    return replace(ticket, turns=turns, opener=opener)


def _draw_slots(rng: random.Random, intent: Intent, case: Case, held_out: bool) -> dict[str, str]:
    """Values for every slot, believable together and, for held-out tickets, partly never seen in training."""
    first = rng.choice(values.RESERVED_FIRST_NAMES if held_out else values.FIRST_NAMES)
    last = rng.choice(values.RESERVED_LAST_NAMES if held_out else values.LAST_NAMES)
    product = pick(values.PRODUCTS, values.RESERVED_PRODUCTS, rng, held_out)
    wrong = rng.choice([other for other in values.PRODUCTS if other is not product])
    slots = {
        "first": first,
        "name": f"{first} {last}",
        "order": ("A" if intent.account else "H")
        + str(rng.randrange(2000, 19999) * 5 + _order_digit(rng, held_out)),
        "item": product.name,
        "part": product.part,
        "wrong": wrong.name,
        "carrier": pick(values.CARRIERS, values.RESERVED_CARRIERS, rng, held_out),
        "city": pick(values.CITIES, values.RESERVED_CITIES, rng, held_out),
        "code": pick(values.CODES, values.RESERVED_CODES, rng, held_out),
        "days": str(rng.randrange(2, 9)),
    }
    slots.update(_draw_dates(rng, case.limit))
    slots.update(_draw_amounts(rng, product, intent, case, held_out))
    return slots


def _order_digit(rng: random.Random, held_out: bool) -> int:
    # Numbers divisible by five are kept for held-out tickets, so no order id is on both sides.
    return 0 if held_out else rng.randrange(1, 5)


def _draw_dates(rng: random.Random, limit: str) -> dict[str, str]:
    """Dates of one month around today; `later` and `earlier` serve replies that get the case wrong."""
    month = rng.choice(values.MONTHS)
    today = rng.randrange(11, 20)
    past = today - rng.randrange(4, 10)
    ahead, behind, arrive = rng.randrange(1, 5), rng.randrange(1, 4), rng.randrange(5, 9)
    deadline = today + ahead if limit == "future" else today - behind
    days = {
        "today": today,
        "past": past,
        "limit": deadline,
        "later": today + ahead,
        "earlier": today - behind,
    }
    days["arrive"] = today + arrive
    return {name: f"{month} {day}" for name, day in days.items()}


def _draw_amounts(
    rng: random.Random, product: values.Product, intent: Intent, case: Case, held_out: bool
) -> dict[str, str]:
    """The price of the order, a second amount where the intent has one, and the plans of a membership."""
    if intent.name in ("plan_change", "renewal_refund"):
        ladder = pick(values.LADDERS, values.RESERVED_LADDERS, rng, held_out)
        low, high = sorted(rng.sample(range(len(ladder)), 2))
        old, new = (high, low) if case.name == "downgrade" else (low, high)
        months = 12 if intent.name == "renewal_refund" else 1
        plans = {"plan": ladder[old][0], "plan2": ladder[new][0]}
        return plans | {"amount": f"${ladder[old][1] * months}", "amount2": f"${ladder[new][1] * months}"}
    dollars = rng.randrange(product.low, product.high)
    dollars += (0 if dollars % 4 == 0 else 4 - dollars % 4) if held_out else (dollars % 4 == 0)
    second = max(4, round(dollars * rng.choice((10, 15, 20, 25)) / 100))
    amounts = {"amount": f"${dollars}.{rng.choice(_CENTS)}", "amount2": f"${second}.{rng.choice(_CENTS)}"}
    return amounts | {"plan": "Basic", "plan2": "Plus"}


def _write_turns(
    rng: random.Random, intent: Intent, case: Case, slots: Mapping[str, str], held_out: bool, opener: str
) -> tuple[tuple[str, str], ...]:
    """One user turn, or for about one ticket in six a short exchange before it."""
    tone = "terse" if _is_terse(opener) else rng.choice(TONES)
    text = _write_message(rng, tone, intent, slots, held_out, opener)
    if rng.random() >= 0.16:
        return (("user", text),)
    kind = "account" if intent.account else "order"
    asked, answered = _pick_exchange(
        wording.FIRST_TURNS[kind], wording.RESERVED_FIRST_TURNS[kind], rng, held_out
    )
    first = _with_typos(render(asked, slots, rng, ()), rng, tone, slots["city"])
    second = _write_message(
        rng, "terse" if tone == "chatty" else tone, intent, slots, held_out, opener, greet=False
    )
    return (("user", first), ("assistant", answered), ("user", second))


def _is_terse(opener: str) -> bool:
    """Whether a template is written in shorthand and so fits no other tone."""
    return opener[0].islower() or opener[-1] not in ".!?>"


def _pick_exchange(
    common: Sequence[tuple[str, str]], reserved: Sequence[tuple[str, str]], rng: random.Random, held_out: bool
) -> tuple[str, str]:
    return rng.choice(reserved) if held_out and rng.random() < 0.3 else rng.choice(common)


def _write_message(
    rng: random.Random,
    tone: str,
    intent: Intent,
    slots: Mapping[str, str],
    held_out: bool,
    opener: str,
    greet: bool = True,
) -> str:
    """The customer's message in one of four tones."""

    def say(common: Sequence[str], reserved: Sequence[str], chance: float) -> str:
        return pick(common, reserved, rng, held_out) if rng.random() < chance else ""

    facts = [name for name in slots if rng.random() < (0.15 if tone == "terse" else 0.6)]
    body = render(opener, slots, rng, facts)
    parts = [body]
    if tone == "calm":
        parts = [body, say(wording.THANKS, wording.RESERVED_THANKS, 0.6)]
    elif tone == "annoyed":
        parts = [body, say(wording.ANNOYANCE, wording.RESERVED_ANNOYANCE, 0.9)]
    elif tone == "chatty":
        context = say(wording.CONTEXT[intent.category], wording.RESERVED_CONTEXT[intent.category], 0.7)
        before = say(wording.PREAMBLES, wording.RESERVED_PREAMBLES, 0.6)
        parts = [before, body, context, say(wording.THANKS, wording.RESERVED_THANKS, 0.7)]
    text = render(" ".join(part for part in parts if part), slots, rng, facts)
    if greet and tone != "terse":
        greeting = say(wording.GREETINGS, wording.RESERVED_GREETINGS, 0.2 if tone == "annoyed" else 0.6)
        text = f"{greeting}\n{text}".lstrip()
    return _with_typos(text, rng, tone, slots["city"])


def _with_typos(text: str, rng: random.Random, tone: str, city: str) -> str:
    """The text as typed in a hurry; words with digits or capitals inside keep their letters."""
    if tone == "terse" and rng.random() < 0.6:
        words = [word[0].lower() + word[1:] if word[1:].islower() else word for word in text.split(" ")]
        text = " ".join("i" if word == "I" else word for word in words).rstrip(".")
    if rng.random() < 0.65:
        return tidy(text) if tone != "terse" else text
    once = mistype_once(text, rng, city)
    return mistype_once(once, rng, city) if rng.random() < 0.3 else once


def mistype_once(text: str, rng: random.Random, city: str) -> str:
    """The text with one typing error, if it has a word that can carry one.

    The city is spared: the customer's message is the only place where it stands.
    """
    spared = city.lower().split()
    words = text.split(" ")
    candidates = [
        i
        for i, word in enumerate(words)
        if len(word) > 4 and word.isalpha() and word.islower() and word not in spared
    ]
    if candidates:
        at = rng.choice(candidates)
        words[at] = _mistype(words[at], rng)
    return " ".join(words)


def _mistype(word: str, rng: random.Random) -> str:
    """The word with two letters swapped, one dropped or one doubled, never the first."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.choice(("swap", "drop", "double"))
    if kind == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == "drop" else word[: at + 1] + word[at:]
